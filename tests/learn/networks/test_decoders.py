"""Segmentation decoders: the published sizes and costs, output sizes, gradients."""

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from alseg_fast.errors import RangeError, UsageError  # noqa: E402
from alseg_fast.learn.networks.belharbi import BelharbiDecoder  # noqa: E402
from alseg_fast.learn.networks.build import build_network  # noqa: E402
from alseg_fast.learn.networks.icnet import average_regions  # noqa: E402
from alseg_fast.learn.networks.largefov import LargeFovDecoder  # noqa: E402
from alseg_fast.learn.networks.staged import Features  # noqa: E402
from alseg_fast.learn.networks.unet import UNetDecoder  # noqa: E402

SMALL = {
    "unet": {"width": 4},
    "belharbi": {"base": 2, "leak": 4},
    "largefov": {"head_width": 8},
    "icnet": {"width": 8},
}


def gmac(module, *inputs):
    """10^9 multiply-adds of one call."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs)
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize(("base", "leak", "cost"), [(24, 64, 20.7), (12, 32, 18.5)])
def test_published_head_costs_what_was_published(base, leak, cost):
    network = build_network(
        encoder="resnet18", n_tags=2, n_classes=2, decoder="belharbi", base=base, leak=leak, dropout=0.2
    ).to("meta")
    x = torch.empty(1, 3, 374, 374, device="meta")
    features = network.features(x)
    assert round(gmac(network.encoder, x), 1) == 5.2
    assert round(gmac(network.decoder, x, features), 1) == cost
    assert network.decoder(x, features).logits.shape == (1, 1, 374, 374)


def published_head(state, images, stages):
    """The published head from its description: plain functions on the decoder's tensors."""

    def conv(x, name, **keywords):
        return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **keywords)

    def norm(x, name):
        return F.batch_norm(x, *(state[f"{name}.{n}"] for n in ("running_mean", "running_var", "weight", "bias")))

    def resized(x, size):
        return F.interpolate(x, size, mode="bilinear", align_corners=True)

    own = F.relu(conv(F.relu(conv(images, "image.0.0", padding=1)), "image.1.0", padding=1))
    x, entered = own, []
    for i, stage in enumerate(stages):
        leak = F.relu(conv(stage, f"side.{i}.0"))
        entered.append(resized(x, leak.shape[2:]))
        x = torch.cat([entered[-1], leak], 1)
        for j in (0, 3):
            x = F.relu(norm(conv(x, f"down.{i}.{j}", stride=2, padding=1), f"down.{i}.{j + 1}"))
    for i, skip in enumerate(entered[:0:-1]):
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        x = F.relu(conv(torch.cat([resized(x, skip.shape[2:]), skip], 1), f"up.{i}.0", padding=1))
    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
    x = torch.cat([resized(x, images.shape[2:]), own], 1)
    return conv(F.relu(conv(x, "last.0.0", padding=1)), "last.1")


def test_published_head_computes_its_description():
    generator = torch.Generator().manual_seed(0)
    widths = (5, 6, 7, 8, 9)
    decoder = BelharbiDecoder(widths, 1, base=3, leak=4)
    decoder.initialise(generator)
    for name, value in decoder.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.1)
    images = torch.randn(2, 3, 101, 130, generator=generator)
    sizes = ((51, 65), (26, 33), (13, 17), (7, 9), (4, 5))
    stages = tuple(torch.rand(2, w, *s, generator=generator) for w, s in zip(widths, sizes, strict=True))
    with torch.no_grad():
        got = decoder.eval()(images, Features(stages)).logits
        expected = published_head(decoder.state_dict(), images, stages)
    assert got.std() > 0
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def test_published_head_has_14_places_of_element_wise_dropout():
    network = build_network(n_tags=0, n_classes=2, decoder="belharbi", dropout=0.2, **SMALL["belharbi"])
    seen = []
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.register_forward_hook(lambda m, args, out: seen.append((m.p, args[0].shape[1])))
    network(torch.randn(1, 3, 96, 96))
    # As they are called: each stage of the encoder, each block down, each convolution up.
    assert seen == [(0.2, c) for c in (*network.encoder.widths, 4, 8, 16, 32, 64, 256, 128, 128, 64)]


def test_dropout_of_a_stage_reaches_the_next_stage():
    network = build_network(n_tags=2, n_classes=2, decoder="none", dropout=0.9, seed=0)
    x = torch.randn(1, 3, 64, 64)
    torch.manual_seed(0)
    first = network.features(x).stages[-1]
    assert not torch.equal(first, network.features(x).stages[-1])
    shared = build_network(n_tags=2, n_classes=3, dropout=0.9, encoder_dropout=False, seed=0)
    assert torch.equal(shared.features(x).stages[-1], shared.features(x).stages[-1])
    assert not torch.equal(shared(x).seg_logits, shared(x).seg_logits)
    shared.eval()
    assert torch.equal(shared(x).seg_logits, shared(x).seg_logits)


@pytest.mark.parametrize("decoder", ["unet", "belharbi", "largefov", "icnet"])
@pytest.mark.parametrize("size", [(64, 64), (71, 85)])
def test_sizes_and_gradients(decoder, size):
    network = build_network(n_tags=2, n_classes=4, decoder=decoder, seed=0, **SMALL[decoder])
    x = torch.randn(2, 3, *size)
    out = network(x)
    full = {"unet": size, "belharbi": size, "largefov": out.cams.shape[2:], "icnet": out.seg_logits.shape[2:]}[decoder]
    assert out.seg_logits.shape == (2, 4, *full)
    if decoder == "icnet":
        assert all(abs(side / 4 - got) < 2 for side, got in zip(size, full, strict=True))
        assert [a.shape[1] for a in out.aux_seg_logits] == [4, 4]
        assert out.aux_seg_logits[0].shape[2] < out.aux_seg_logits[1].shape[2] < full[0]
    else:
        assert out.aux_seg_logits == ()
    sum(z.square().mean() for z in (out.seg_logits, *out.aux_seg_logits)).backward()
    for name, parameter in network.decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_two_classes_are_one_logit():
    for n_classes, channels in ((2, 1), (3, 3), (20, 20)):
        out = build_network(n_tags=0, n_classes=n_classes, width=4)(torch.randn(1, 3, 32, 32))
        assert out.seg_logits.shape == (1, channels, 32, 32)
        assert out.tag_logits is out.cams is out.aux_tag_logits is out.aux_cams is None


def test_unet_without_full_resolution_ends_at_the_first_stage():
    out = build_network(n_tags=0, n_classes=3, width=4, full_resolution=False)(torch.randn(1, 3, 32, 48))
    assert out.seg_logits.shape == (1, 3, 16, 24)


def test_cascade_shows_the_encoder_a_smaller_picture():
    network = build_network(n_tags=2, n_classes=3, decoder="icnet", width=8)
    stages = network.features(torch.randn(1, 3, 128, 192)).stages
    assert [tuple(s.shape[2:]) for s in stages] == [(32, 48), (16, 24), (8, 12), (4, 6), (4, 6)]
    classifier = build_network(n_tags=2, n_classes=3, decoder="none", cascade=True, width=8)
    network.load_state_dict(classifier.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(network.eval()(x).cams, classifier.eval()(x).cams)


@pytest.mark.parametrize("n", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (12, 18), (13, 4)])
def test_region_means_are_adaptive_average_pooling(n, size):
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(average_regions(x, n), F.adaptive_avg_pool2d(x, n), rtol=1e-6, atol=1e-7)


def test_largefov_is_as_described():
    decoder = LargeFovDecoder((8,), 21)
    shapes = {name: tuple(p.shape) for name, p in decoder.named_parameters() if name.endswith("weight")}
    assert shapes == {
        "first.weight": (512, 8, 3, 3),
        "second.weight": (512, 512, 3, 3),
        "classifier.weight": (21, 512, 1, 1),
    }
    assert decoder.first.dilation == decoder.second.dilation == (5, 5)
    assert decoder.first.bias is not None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BelharbiDecoder((8,) * 5, 1, base=0), "base must be an integer >= 1; got 0"),
        (lambda: BelharbiDecoder((8,) * 5, 1, leak=2.5), "leak must be an integer >= 1; got 2.5"),
        (lambda: UNetDecoder((8, 8), 1, width=0), "width must be an integer >= 1; got 0"),
        (lambda: LargeFovDecoder((8,), 1, dilation=0), "dilation must be an integer >= 1; got 0"),
        (lambda: build_network(n_tags=2, n_classes=3, decoder="icnet", width=2), "width must be an integer >= 4"),
    ],
)
def test_bad_widths_are_refused(make, message):
    with pytest.raises(RangeError, match=message):
        make()


def test_pictures_too_small_for_the_published_head_are_refused():
    network = build_network(n_tags=2, n_classes=2, decoder="belharbi", output_stride=32, **SMALL["belharbi"])
    with pytest.raises(RangeError, match="last stage must be at least 3 cells high and wide; got 2"):
        network(torch.zeros(1, 3, 64, 96))
    with pytest.raises(UsageError, match="the encoder must have 5 stages; got 2"):
        BelharbiDecoder((8, 8), 1)
