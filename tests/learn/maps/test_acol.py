"""The two-branch head against a plain loop, its gradient, and flat maps."""

import numpy as np
import pytest

from alseg_fast.errors import RangeError, ShapeError

torch = pytest.importorskip("torch")
from torch.nn import functional as F  # noqa: E402

from alseg_fast.learn.losses.classification import tag_loss  # noqa: E402
from alseg_fast.learn.networks.acol import AcolHead  # noqa: E402

TAGS = torch.tensor([[1, 0, 1], [0, 1, 0]])


def make_head(**options):
    head = AcolHead(5, 3, **{"hidden": 0, **options})
    head.initialise(torch.Generator().manual_seed(7))
    return head


def features(seed=0, dtype=torch.float32):
    return torch.rand((2, 5, 6, 7), generator=torch.Generator().manual_seed(seed), dtype=dtype)


def plain_minmax(a):
    return (a - a.min()) / (a.max() - a.min()) if a.max() - a.min() > 1e-5 else np.zeros_like(a)


@pytest.mark.parametrize("hidden", [0, 4, None])
@pytest.mark.parametrize("with_tags", [False, True])
@pytest.mark.parametrize("smooth", [False, True])
def test_outputs_are_those_of_the_plain_loop(hidden, with_tags, smooth):
    head, x = make_head(hidden=hidden, smooth=smooth), features()
    with torch.no_grad():
        out = head(x, TAGS if with_tags else None)
        seen = F.avg_pool2d(x, 3, 1, 1) if smooth else x
        maps = head.first(seen).numpy()
        erased = np.zeros((2, 6, 7), bool)
        for b in range(2):
            chosen = np.flatnonzero(TAGS[b]) if with_tags else [maps[b].mean((1, 2)).argmax()]
            for k in chosen:
                erased[b] |= plain_minmax(maps[b, k]) >= 0.6
        others = head.second(seen * torch.from_numpy(~erased)[:, None]).numpy()
    assert np.array_equal(out.erased.numpy(), erased)
    assert 0 < erased.mean() < 1
    np.testing.assert_allclose(out.tag_logits.numpy(), maps.mean((2, 3)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(out.second_logits.numpy(), others.mean((2, 3)), rtol=1e-5, atol=1e-6)
    for b, k in np.ndindex(2, 3):
        fused = np.maximum(plain_minmax(maps[b, k]), plain_minmax(others[b, k]))
        np.testing.assert_allclose(out.cams[b, k].numpy(), fused, rtol=1e-5, atol=1e-6)


def test_gradients_of_every_output():
    head = make_head(hidden=2, smooth=True).double()
    x = features(dtype=torch.float64).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda f: head(f, TAGS)[:3], (x,))


@pytest.mark.parametrize("single_tag", [False, True])
def test_gradient_of_the_loss_of_both_branches(single_tag):
    head = make_head(hidden=2).double()
    tags = torch.tensor([[1, 0, 0], [0, 1, 0]]) if single_tag else TAGS

    def loss(x):
        out = head(x, tags)
        both = (out.tag_logits, out.second_logits)
        return sum(tag_loss(logits, tags, single_tag=single_tag) for logits in both)

    x = features(dtype=torch.float64).requires_grad_(True)
    assert torch.autograd.gradcheck(loss, (x,))
    loss(x).backward()
    assert all(p.grad.any() for p in head.parameters())


def test_the_second_branch_learns_only_from_what_is_left():
    head = make_head(smooth=False)
    x = features().requires_grad_(True)
    out = head(x, TAGS)
    out.second_logits.sum().backward()
    assert torch.equal((x.grad == 0).all(1), out.erased)
    assert all(p.grad is None for p in head.first.parameters())


def test_flat_maps_erase_nothing_and_are_zero():
    constant = torch.full((2, 5, 6, 7), 0.3)
    head = make_head(smooth=False)
    for x in (constant, torch.zeros_like(constant)):
        out = head(x.requires_grad_(True), TAGS)
        assert not out.erased.any()
        assert not out.cams.detach().any()
        sum(part.sum() for part in out[:3]).backward()
        assert torch.isfinite(x.grad).all()


def test_no_tags_erase_nothing():
    out = make_head()(features(), torch.zeros(2, 3))
    assert not out.erased.any()


def test_threshold_one_erases_the_peak_alone():
    out = make_head(threshold=1.0, smooth=False)(features(), torch.tensor([[1, 0, 0], [0, 0, 1]]))
    assert out.erased.flatten(1).sum(1).tolist() == [1, 1]


def test_first_weights_come_from_the_generator():
    first, again = make_head(hidden=3), make_head(hidden=3)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    other = AcolHead(5, 3, hidden=3)
    other.initialise(torch.Generator().manual_seed(8))
    assert not torch.equal(first.first[0].weight, other.first[0].weight)


class Picture(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.head = torch.nn.Conv2d(3, 5, 3, stride=2, padding=1), make_head(hidden=4)

    def forward(self, images):
        return self.head(torch.relu(self.encoder(images))).cams


def test_maps_survive_the_export(tmp_path):
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    from alseg_fast.export import to_onnx

    network = Picture().eval()
    to_onnx(network, tmp_path / "acol.onnx", input_size=(12, 14))
    session = ort.InferenceSession(tmp_path / "acol.onnx", providers=["CPUExecutionProvider"])
    images = torch.randn((3, 3, 12, 14), generator=torch.Generator().manual_seed(2))
    (got,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        expected = network(images).numpy()
    np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)


def test_wrong_arguments_are_named():
    for arguments, text in (
        ({"in_channels": 0, "n_tags": 2}, "in_channels must be at least 1"),
        ({"in_channels": 2, "n_tags": 0}, "n_tags must be at least 1"),
        ({"in_channels": 2, "n_tags": 2, "threshold": 0.0}, r"threshold must be in \(0, 1\]"),
        ({"in_channels": 2, "n_tags": 2, "pooling_dropout": 1.0}, r"pooling_dropout must be in \[0, 1\)"),
        ({"in_channels": 2, "n_tags": 2, "hidden": -1}, "hidden must be at least 0"),
    ):
        with pytest.raises(RangeError, match=text):
            AcolHead(**arguments)
    with pytest.raises(ShapeError, match=r"tags must have shape \[B, K\]"):
        make_head()(features(), TAGS[:1])
