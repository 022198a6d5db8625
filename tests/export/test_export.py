"""Exported graphs against full torch passes: places of dropout, flips, batches, what is refused."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the export needs torch")
onnx = pytest.importorskip("onnx", reason="the export needs onnx")
ort = pytest.importorskip("onnxruntime", reason="the export is checked with onnxruntime")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from alseg_fast.demo.network import ExampleNetwork  # noqa: E402
from alseg_fast.errors import ModelError, RangeError, ShapeError, UsageError  # noqa: E402
from alseg_fast.export import stochastic_passes, to_onnx  # noqa: E402
from alseg_fast.export.masks import gain, keep_mask  # noqa: E402
from alseg_fast.runtimes.onnx import load_model  # noqa: E402

SIZE = (16, 24)


class Head(nn.Module):
    """Dropout2d before the last convolution."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1))
        self.drop = nn.Dropout2d(0.5)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        return self.head(self.drop(F.relu(self.trunk(x))))


class UNet(nn.Module):
    """Element dropout in encoder and decoder; the first skip comes from the trunk, the second from the rest."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 1, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.down1 = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(), nn.Dropout(0.2))
        self.down2 = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(inplace=True), nn.Dropout(0.2, inplace=True))
        self.up1 = nn.Sequential(nn.ConvTranspose2d(8, 8, 2, 2), nn.ReLU(), nn.Dropout(0.3))
        self.up2 = nn.ConvTranspose2d(16, 6, 2, 2)
        self.head = nn.Conv2d(12, 3, 1)

    def forward(self, x):
        a = self.stem(x)
        b = self.down1(a)
        c = self.up1(self.down2(b))
        return self.head(torch.cat([self.up2(torch.cat([c, b], 1)), a], 1))


class Residual(nn.Module):
    """The first dropout lies inside a residual block."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.Dropout2d(0.3), nn.ReLU(), nn.Conv2d(8, 8, 1))
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = self.stem(x)
        logits = self.head(F.relu(x + self.block(x)))
        return F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False)


class Functional(nn.Module):
    """One shared convolution, functional dropout with and without a training flag; logits in a dict."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 1, 1)

    def forward(self, x):
        x = F.dropout(F.relu(self.stem(x)), 0.1, training=self.training)
        x = F.dropout2d(self.conv(x), p=0.4, training=False)
        return {"aux": x.mean((2, 3)), "out": self.conv(torch.dropout(F.relu(x), 0.25, False))}


class Attention(nn.Module):
    """Attention over pixels with the batch taken from a tensor of the trunk; dropout in scores and features."""

    def __init__(self, batch_first, hidden=False):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=batch_first)
        self.layer, self.batch_first, self.hidden = layer, batch_first, hidden
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        x = self.patch(x)
        n, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)  # [N, L, E]
        q = tokens.view(n, h * w, 2, c // 2).transpose(1, 2)
        p = 0.3 if self.training or not self.hidden else 0.0
        tokens = tokens + F.scaled_dot_product_attention(q, q, q, dropout_p=p).transpose(1, 2).reshape(n, h * w, c)
        y = self.layer(tokens) if self.batch_first else self.layer(tokens.transpose(0, 1)).transpose(0, 1)
        return self.head(y.transpose(1, 2).reshape(n, c, h, w))


class MergedHeads(nn.Module):
    """Dropout over an axis that holds N * heads entries."""

    def __init__(self):
        super().__init__()
        self.patch, self.head = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        x = self.patch(x)
        n, c, h, w = x.shape
        q = x.reshape(n * 2, c // 2, h * w)
        scores = F.dropout((q.transpose(1, 2) @ q).softmax(-1), 0.3)
        return self.head((q @ scores.transpose(1, 2)).reshape(n, c, h, w))


class MultiHead(nn.Module):
    """nn.MultiheadAttention, whose dropout is off in eval mode, by both of its ways."""

    def __init__(self):
        super().__init__()
        self.patch, self.head = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 3, 1)
        self.attend = nn.MultiheadAttention(8, 2, dropout=0.3)

    def forward(self, x):
        x = self.patch(x)
        n, c, h, w = x.shape
        q = x.flatten(2).permute(2, 0, 1)
        q = q + self.attend(q, q, q, need_weights=False)[0]
        q = q + self.attend(q, q, q, need_weights=True)[0]
        return self.head(q.permute(1, 2, 0).reshape(n, c, h, w))


NETWORKS = {
    "head": Head,
    "unet": UNet,
    "residual": Residual,
    "functional": Functional,
    "attention, batch first": lambda: Attention(True),
    "attention, batch second": lambda: Attention(False),
    "merged heads": MergedHeads,
    "multi-head": MultiHead,
    "fx": lambda: torch.fx.symbolic_trace(UNet()),
    "example": lambda: ExampleNetwork(5, dropout=0.3),
}


def make(name):
    torch.manual_seed(0)
    network = NETWORKS[name]()
    for m in network.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.1)
            m.running_var.uniform_(0.5, 2)
    return network


def images(n, seed=1):
    return np.random.default_rng(seed).standard_normal((n, 3, *SIZE), np.float32)


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small gain nothing from threads, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(path, x):
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": x})[0]


def output_of(name):
    return "out" if name == "functional" else None


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_graph_equals_separate_torch_passes(name, n, tmp_path):
    network, x = make(name), images(n)
    written = to_onnx(network, tmp_path / "m.onnx", input_size=SIZE, mc_passes=9, seed=7, output=output_of(name))
    expected = stochastic_passes(network, torch.from_numpy(x), n_passes=9, seed=7, output=output_of(name)).numpy()
    got = run(tmp_path / "m.onnx", x)
    assert got.shape == expected.shape == (n, 9, *expected.shape[2:])
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())
    # The passes differ, or the comparison would say nothing.
    assert np.abs(expected[:, 0] - expected[:, 1]).max() > 1e-3 * np.abs(expected).max()
    assert written.n_passes == 9
    assert written.difference < 1e-5


def test_stochastic_passes_equal_a_loop_by_hand():
    """The U-Net with its dropout modules exchanged for plain products with the masks."""

    class Product(nn.Module):
        def __init__(self, place, p):
            super().__init__()
            self.place, self.p, self.index = place, p, 0

        def forward(self, x):
            keep = keep_mask(3, self.place, self.index, x.shape[1:], self.p)
            return torch.where(torch.from_numpy(keep), x / (1 - self.p), 0.0)

    network, x = make("unet"), torch.from_numpy(images(2))
    got = stochastic_passes(network, x, n_passes=3, seed=3)
    network.eval()
    products = [Product(i, p) for i, p in enumerate((0.2, 0.2, 0.3))]
    network.down1[2], network.down2[2], network.up1[2] = products
    for t in range(3):
        for product in products:
            product.index = t
        with torch.no_grad():
            torch.testing.assert_close(got[:, t], network(x), rtol=1e-5, atol=1e-6)


def test_masks_have_the_probability_and_differ():
    keep = keep_mask(1, 2, 3, (100_001,), 0.3)
    assert abs(keep.mean() - 0.7) < 0.006  # four standard deviations
    for other in ((0, 2, 3), (1, 1, 3), (1, 2, 4)):
        assert abs((keep == keep_mask(*other, (100_001,), 0.3)).mean() - 0.58) < 0.007
    assert not keep_mask(1, 2, 3, (9,), 1.0).any()
    assert keep_mask(1, 2, 3, (9,), 0.0).all()
    assert gain(0.75) == 4
    assert gain(1.0) == 0
    # Files of earlier versions must stay reproducible.
    np.testing.assert_array_equal(np.packbits(keep_mask(5, 1, 2, (32,), 0.5)), [131, 24, 246, 252])


def test_same_seed_same_file_other_seed_other_passes(tmp_path):
    network, x = make("head"), images(1)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        to_onnx(network, tmp_path / name, input_size=SIZE, mc_passes=4, seed=seed)
        torch.rand(1)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert np.abs(run(tmp_path / "a", x) - run(tmp_path / "c", x)).max() > 1e-3


def test_passes_do_not_depend_on_their_number_or_on_other_images(tmp_path):
    network, x = make("unet"), images(3)
    for t in (4, 8):
        to_onnx(network, tmp_path / f"{t}.onnx", input_size=SIZE, mc_passes=t)
    four, eight = run(tmp_path / "4.onnx", x), run(tmp_path / "8.onnx", x)
    np.testing.assert_allclose(eight[:, :4], four, atol=1e-6)
    np.testing.assert_allclose(run(tmp_path / "8.onnx", x[2:]), eight[2:], atol=1e-5)


@pytest.mark.parametrize("mc_passes", [1, 3])
@pytest.mark.parametrize("batch", [None, 2])
def test_flips_equal_flips_by_hand(mc_passes, batch, tmp_path):
    network, x = make("unet"), images(2)
    flips = ("horizontal", "both", "vertical")
    written = to_onnx(
        network, tmp_path / "m.onnx", input_size=SIZE, mc_passes=mc_passes, flips=flips, seed=5, batch=batch
    )
    got = run(tmp_path / "m.onnx", x)
    assert got.shape[1] == written.n_passes == 4 * mc_passes
    axes = {"horizontal": [3], "both": [2, 3], "vertical": [2]}
    for f, flip in enumerate(("plain", *flips)):
        view = torch.flip(torch.from_numpy(x), axes.get(flip, []))
        if mc_passes > 1:
            scores = stochastic_passes(network, view, n_passes=3, seed=5).flatten(0, 1)
        else:
            with torch.no_grad():
                scores = network.eval()(view)
        back = torch.flip(scores, axes.get(flip, [])).unflatten(0, (2, mc_passes)).numpy()
        np.testing.assert_allclose(got[:, f * mc_passes : (f + 1) * mc_passes], back, atol=1e-5)
    if mc_passes > 1:
        whole = stochastic_passes(network, torch.from_numpy(x), n_passes=3, seed=5, flips=flips)
        np.testing.assert_allclose(got, whole.numpy(), atol=1e-5)


def test_one_pass_is_the_network_with_dropout_off(tmp_path):
    network, x = make("functional"), images(2)
    written = to_onnx(network, tmp_path / "m.onnx", input_size=SIZE, output="out")
    assert (written.n_passes, written.places, written.mask_bytes) == (1, (), 0)
    again = network.conv(F.relu(network.conv(F.relu(network.stem(torch.from_numpy(x))))))
    np.testing.assert_allclose(run(tmp_path / "m.onnx", x), again.detach().numpy(), atol=1e-5)


def test_trunk_runs_once_and_masks_stay_packed(tmp_path):
    written = to_onnx(make("head"), tmp_path / "m.onnx", input_size=SIZE, mc_passes=50)
    graph = onnx.load(tmp_path / "m.onnx").graph
    scan = next(node for node in graph.node if node.op_type == "Scan")
    body = next(a.g for a in scan.attribute if a.name == "body")
    assert [node.op_type for node in graph.node].count("Conv") == 2
    assert [node.op_type for node in body.node].count("Conv") == 1
    assert {t.name: tuple(t.dims) for t in graph.initializer}["alseg/dropout0/masks"] == (7, 1, 8, 1, 1)
    assert written.mask_bytes == 7 * 8
    trunk, rest = 8 * 12 * 8 * (3 * 9 + 8 * 9), 8 * 12 * 4 * 8
    assert written.trunk_share == pytest.approx(trunk / (trunk + rest))
    assert written.saved_share == pytest.approx(trunk / (trunk + rest) * 49 / 50)


def test_trunk_work_is_counted_behind_computed_reshapes(tmp_path):
    written = to_onnx(make("merged heads"), tmp_path / "m.onnx", input_size=SIZE, mc_passes=2)
    tokens = 4 * 6
    trunk = tokens * 8 * 3 * 16 + 2 * tokens * tokens * 4
    rest = 2 * tokens * tokens * 4 + tokens * 3 * 8
    assert written.trunk_share == pytest.approx(trunk / (trunk + rest))


def test_the_engine_reads_the_file_without_options(tmp_path):
    names = ("sky", "road", "tree", "car")
    to_onnx(
        make("head"), tmp_path / "m.onnx", input_size=SIZE, mc_passes=3, flips=("horizontal",), classes=names,
        mean=(0.1, 0.2, 0.3), std=0.5, scale=1, channel_order="bgr", resize="letterbox", activation="sigmoid",
    )  # fmt: skip
    spec = load_model(tmp_path / "m.onnx", device="cpu").spec
    assert (spec.n_passes, spec.output_layout, spec.output_size, spec.classes) == (6, "NTCHW", (8, 12), names)
    assert (spec.mean, spec.std, spec.scale) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5), 1.0)
    assert (spec.channel_order, spec.resize, spec.activation) == ("bgr", "letterbox", "sigmoid")
    assert (spec.input_size, spec.fixed_size, spec.batch, spec.warnings) == (SIZE, True, None, ())


def test_grey_network_of_fixed_batch(tmp_path):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout(0.5), nn.Conv2d(4, 2, 1))
    to_onnx(network, tmp_path / "m.onnx", input_size=SIZE, mc_passes=2, batch=2, channel_order="grey")
    spec = load_model(tmp_path / "m.onnx", device="cpu").spec
    assert (spec.batch, spec.channels, spec.n_passes) == (2, 1, 2)


def test_the_module_is_left_as_it_was(tmp_path):
    network = make("attention, batch first").train()
    network.head.eval()
    flags = [m.training for m in network.modules()]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    torch.manual_seed(4)
    generator = torch.get_rng_state()
    to_onnx(network, tmp_path / "m.onnx", input_size=SIZE, mc_passes=2, training=["layer"])
    with pytest.raises(ModelError):
        to_onnx(network, tmp_path / "m.onnx", input_size=SIZE, output="none")
    assert [m.training for m in network.modules()] == flags
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), generator)
    for key, value in network.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_dropout_of_training_mode_only_is_named(tmp_path):
    network, path = nn.Sequential(nn.Conv2d(3, 3, 1), Attention(True, hidden=True)), tmp_path / "m.onnx"
    network.register_module("extra", nn.BatchNorm2d(3))
    before = network.extra.running_mean.clone()
    with pytest.raises(ModelError, match=r"submodules '1' call theirs in training mode only"):
        to_onnx(network, path, input_size=SIZE, mc_passes=2)
    assert torch.equal(network.extra.running_mean, before)
    assert len(to_onnx(network, path, input_size=SIZE, mc_passes=2, training=[]).places) == 4
    assert len(to_onnx(network, path, input_size=SIZE, mc_passes=2, training=["1"]).places) == 5
    with pytest.raises(UsageError, match="training must name submodules; got 'two'"):
        to_onnx(network, path, input_size=SIZE, mc_passes=2, training=["two"])


def test_certain_dropout_gives_zeros(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(1.0), nn.Conv2d(4, 2, 1))
    to_onnx(network, tmp_path / "m.onnx", input_size=SIZE, mc_passes=2)
    bias = network[2].bias.detach().numpy()
    np.testing.assert_allclose(run(tmp_path / "m.onnx", images(1))[0, 1, :, 3, 5], bias, rtol=1e-6)


class FixedBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return F.dropout(self.conv(x).reshape(int(x.shape[0]), 4, -1), 0.5).reshape(int(x.shape[0]), 4, *SIZE)


class ReusedInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.drop = nn.Conv2d(3, 4, 1), nn.Dropout(0.5, inplace=True)

    def forward(self, x):
        x = torch.sigmoid(self.conv(x))
        return self.drop(x) + 2 * x


def test_a_graph_that_differs_is_not_written(tmp_path):
    path = tmp_path / "m.onnx"
    with pytest.raises(ModelError, match=r"must run on a batch of 3.*give it with batch="):
        to_onnx(FixedBatch(), path, input_size=SIZE, mc_passes=2)
    with pytest.raises(ModelError, match=r"must equal torch within 0\.0002.*in-place dropout"):
        to_onnx(ReusedInput(), path, input_size=SIZE, mc_passes=2)
    assert list(tmp_path.iterdir()) == []
    assert to_onnx(FixedBatch(), path, input_size=SIZE, mc_passes=2, batch=4).n_passes == 2


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"mc_passes": 0}, UsageError, "mc_passes must be an integer of 1 to 65535; got 0."),
        ({"mc_passes": True}, UsageError, "mc_passes must be an integer"),
        ({"seed": -1}, UsageError, "seed must be an integer of 0 to 2^64 - 1; got -1."),
        ({"batch": 0}, UsageError, "batch must be an integer"),
        ({"opset": 17}, UsageError, "opset must be one of 18, 19, 20; got 17."),
        ({"input_size": (16,)}, UsageError, "input_size must be (H, W) in pixels"),
        ({"input_size": (0, 16)}, UsageError, "input_size must be (H, W) in pixels"),
        ({"flips": ("diagonal",)}, UsageError, "flips must be different ones of horizontal, vertical, both;"),
        ({"flips": ("both", "both")}, UsageError, "flips must be different ones"),
        ({"max_mask_bytes": 7}, RangeError, "at most max_mask_bytes = 7 bytes; got 8 for 1 dropout places and 2"),
        ({"output": "out"}, ModelError, "must give a tensor at output 'out'; got Tensor"),
        ({"activation": "tanh"}, UsageError, "activation must be softmax"),
        ({"classes": ("a", "b")}, ModelError, "2 classes stated (metadata) but output 'logits' has 4 channels"),
    ],
)
def test_requests_that_cannot_be_met(change, error, message, tmp_path):
    request = {"input_size": SIZE, "mc_passes": 2, **change}
    with pytest.raises(error) as caught:
        to_onnx(make("head"), tmp_path / "m.onnx", **request)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def conv(*rest):
    return nn.Sequential(nn.Conv2d(3, 4, 1), *rest)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (conv(), "module must have a dropout with p above 0"),
        (conv(nn.Dropout(0.0), nn.Identity()), "module must have a dropout with p above 0"),
        (conv(nn.Flatten(), nn.Dropout(0.5)), "must give scores (N, C, h, w); got [1, 1536] for one image"),
        (conv(nn.AlphaDropout(0.5)), "must not call alpha dropout"),
        (conv(nn.FeatureAlphaDropout(0.5)), "must not call alpha dropout"),
        (conv(nn.Dropout(0.5)).half(), "parameters must be float32 on the CPU; got 0.weight torch.float16"),
        (conv(nn.Dropout(0.5)).to("meta"), "parameters must be float32 on the CPU; got 0.weight torch.float32 on meta"),
        (nn.ModuleDict({"rnn": nn.LSTM(3, 3, 2, dropout=0.1)}), "submodule 'rnn' is a LSTM with dropout 0.1"),
    ],
)
def test_modules_that_cannot_be_exported(module, message, tmp_path):
    with pytest.raises(ModelError) as caught:
        to_onnx(module, tmp_path / "m.onnx", input_size=SIZE, mc_passes=2)
    assert message in str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_and_compiled_modules_hide_their_dropout(tmp_path):
    for hide, message in (
        (torch.jit.script, r"submodule '0' is TorchScript\. Give the eager module"),
        (lambda module: torch.compile(module, backend="eager"), "submodule '0' is compiled"),
    ):
        network = nn.Sequential(hide(Head().eval()), nn.Dropout(0.5))
        with pytest.raises(ModelError, match=message):
            to_onnx(network, tmp_path / "m.onnx", input_size=SIZE, mc_passes=2)


def test_dropout_beside_the_scores_is_no_dropout(tmp_path):
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            x = self.conv(x)
            return x, F.dropout(x, 0.5)

    with pytest.raises(ModelError, match="on the way to its scores"):
        to_onnx(Beside(), tmp_path / "m.onnx", input_size=SIZE, mc_passes=2)


def test_wrong_arguments_of_stochastic_passes():
    network = make("head")
    with pytest.raises(ShapeError, match=r"x must be \[N, channels, H, W\] float32; got \[3, 16, 24\]"):
        stochastic_passes(network, torch.zeros(3, *SIZE), n_passes=2)
    with pytest.raises(UsageError, match="n_passes must be an integer"):
        stochastic_passes(network, torch.zeros(1, 3, *SIZE), n_passes=0)
    with pytest.raises(ModelError, match=r"stochastic_passes: module must have a dropout"):
        stochastic_passes(conv(), torch.zeros(1, 3, *SIZE), n_passes=1)
    with pytest.raises(UsageError, match=r"module must be a torch\.nn\.Module; got str"):
        stochastic_passes("net", torch.zeros(1, 3, *SIZE), n_passes=1)
