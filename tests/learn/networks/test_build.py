"""`build_network` and `WeakNetwork`: parts by name, first weights, freezing, bad requests."""

import copy
import itertools

import pytest

torch = pytest.importorskip("torch")

from alseg_fast.errors import RangeError, ShapeError, UsageError  # noqa: E402
from alseg_fast.learn.networks.build import build_network  # noqa: E402

X = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
SMALL = {
    "none": {},
    "unet": {"width": 4},
    "belharbi": {"base": 2, "leak": 4},
    "largefov": {"head_width": 8},
    "icnet": {"width": 8},
}


def state_of(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("encoder", ["light", "resnet18", "vit_tiny"])
@pytest.mark.parametrize("pooling", ["wildcat", "wildcat_published", "average", "max", "acol"])
def test_every_pooling_answers_logits_and_maps(encoder, pooling):
    network = build_network(encoder=encoder, n_tags=3, n_classes=4, pooling=pooling, decoder="none", seed=0)
    out = network(X, torch.tensor([[1.0, 0, 0], [0, 1.0, 1.0]]))
    h, w = (-(-side // network.encoder.strides[-1]) for side in X.shape[2:])
    assert out.tag_logits.shape == (2, 3)
    assert out.cams.shape == (2, 3, h, w)
    assert out.seg_logits is None
    assert (out.aux_tag_logits is not None) == (pooling == "acol")
    out.tag_logits.sum().backward()
    assert next(network.encoder.parameters()).grad.abs().sum() > 0


@pytest.mark.parametrize(("encoder", "channels"), [("light", 48), ("resnet18", 256), ("vit_tiny", 192)])
def test_auxiliary_tags_listen_to_an_earlier_block(encoder, channels):
    network = build_network(encoder=encoder, n_tags=3, n_classes=4, pooling="max", decoder="none", aux_tags=True)
    out = network(X)
    assert network.aux_head.classifier.in_channels == channels
    assert out.aux_tag_logits.shape == (2, 3)
    assert out.aux_cams.shape[:2] == (2, 3)
    out.aux_tag_logits.sum().backward()
    assert all(p.grad is None for p in network.tag_head.parameters())


def test_light_encoder_is_light():
    network = build_network(n_tags=2, n_classes=2, decoder="none")
    assert 300_000 < sum(p.numel() for p in network.encoder.parameters()) < 800_000
    assert network.encoder.strides == (2, 4, 8, 8, 8)
    assert network(X).cams.shape == (2, 2, 4, 6)
    for stride in (16, 32):
        other = build_network(n_tags=2, n_classes=2, decoder="none", output_stride=stride)
        assert other(X).cams.shape == (2, 2, 32 // stride, -(-48 // stride))


@pytest.mark.parametrize("decoder", ["none", "unet", "belharbi", "largefov", "icnet"])
def test_config_builds_the_same_network_again(decoder):
    network = build_network(
        n_tags=2, n_classes=3, decoder=decoder, dropout=0.1, kmax=0.2, output_stride=8, seed=4, **SMALL[decoder]
    )
    again = build_network(**network.config)
    again.load_state_dict(network.state_dict())
    network.eval(), again.eval()
    for ours, theirs in zip(network(X)[:5], again(X)[:5], strict=True):
        assert (ours is theirs is None) or torch.equal(ours, theirs)
    assert "seed" not in network.config
    assert "weights" not in network.config


def test_first_weights_follow_from_the_seed():
    build = {"n_tags": 2, "n_classes": 3, "decoder": "unet", "aux_tags": True}
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, same, other = (build_network(**build, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state()), "a seed leaves torch's generator alone"
    assert changed(one, same) == set()
    drawn = {name for name, value in one.items() if value.std() > 0}
    assert drawn == changed(one, other)
    torch.manual_seed(7)
    third = build_network(**build).state_dict()
    torch.manual_seed(7)
    assert changed(third, build_network(**build).state_dict()) == set()
    assert changed(third, build_network(**build).state_dict()) == drawn


def test_a_classifier_begins_alike_with_and_without_a_decoder():
    alone = build_network(n_tags=2, n_classes=3, decoder="none", aux_tags=True, seed=1).state_dict()
    whole = build_network(n_tags=2, n_classes=3, decoder="unet", aux_tags=True, seed=1).state_dict()
    assert changed(alone, whole) == set()


@pytest.mark.parametrize("encoder", ["light", "resnet18", "vit_tiny"])
def test_signals_neither_vanish_nor_explode_at_the_start(encoder):
    network = build_network(
        encoder=encoder, n_tags=3, n_classes=4, pooling="average", decoder="largefov", head_width=64, seed=0
    )
    out = network(X)
    assert 0.01 < out.cams.std() < 10
    assert 0.01 < out.seg_logits.std() < 10


@pytest.mark.parametrize("encoder", ["light", "resnet18"])
def test_frozen_classifier_survives_training(encoder):
    network = build_network(encoder=encoder, n_tags=2, n_classes=2, dropout=0.3, seed=0, aux_tags=True).eval()
    before = state_of(network)
    network.freeze_classifier()
    assert not network.training, "freezing does not change the mode of the rest"
    with torch.no_grad():
        cams = network(X).cams
    assert not any(p.requires_grad for p in network.classifier_parameters())
    for _ in range(2):
        network.train()
        assert network.training
        assert network.decoder.training
        assert not any(m.training for part in (network.encoder, network.tag_head) for m in part.modules())
        optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
        network(X).seg_logits.square().mean().backward()
        optimiser.step()
    assert not torch.equal(network(X).seg_logits, network(X).seg_logits), "dropout of the segmentation stays active"
    moved = changed(before, network.state_dict())
    assert moved
    assert all(name.startswith("decoder.") for name in moved)
    with torch.no_grad():
        assert torch.equal(network.eval()(X).cams, cams)
        assert torch.equal(copy.deepcopy(network).train().eval()(X).cams, cams)


def test_a_classifier_in_training_mode_would_have_moved():
    network = build_network(encoder="resnet18", n_tags=2, n_classes=2, seed=0)
    before = state_of(network)
    network.train()(X)
    assert any(name.startswith("encoder.bn1.running") for name in changed(before, network.state_dict()))


@pytest.mark.parametrize("decoder", ["unet", "belharbi", "largefov", "icnet"])
def test_reset_segmentation_gives_the_same_head_every_time(decoder):
    network = build_network(encoder="light", n_tags=2, n_classes=2, decoder=decoder, seed=0, **SMALL[decoder])
    first = state_of(network.reset_segmentation(3))
    with torch.no_grad():
        for value in network.decoder.state_dict().values():
            value.add_(1)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert changed(first, network.reset_segmentation(3).state_dict()) == set()
    assert torch.equal(state, torch.get_rng_state())
    other = changed(first, network.reset_segmentation(4).state_dict())
    assert other
    assert all(name.startswith("decoder.") for name in other)


def test_parameters_belong_to_one_side():
    network = build_network(n_tags=2, n_classes=3, aux_tags=True)
    sides = [set(map(id, side)) for side in (network.classifier_parameters(), network.segmentation_parameters())]
    assert not sides[0] & sides[1]
    assert sides[0] | sides[1] == set(map(id, network.parameters()))
    assert list(build_network(n_tags=2, n_classes=3, decoder="none").segmentation_parameters()) == []


@pytest.mark.parametrize("kind", [("light", "unet"), ("resnet18", "icnet"), ("vit_tiny", "largefov")])
def test_memory_format_changes_nothing(kind):
    network = build_network(encoder=kind[0], n_tags=2, n_classes=3, decoder=kind[1], seed=0, **SMALL[kind[1]]).eval()
    with torch.no_grad():
        plain = network(X)
        last = network.to(memory_format=torch.channels_last)(X.contiguous(memory_format=torch.channels_last))
    for ours, theirs in zip(plain[:5], last[:5], strict=True):
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_group_normalisation_treats_each_picture_alone():
    network = build_network(n_tags=2, n_classes=3, seed=0, pooling="average").train()
    with torch.no_grad():
        both, alone = network(X), network(X[1:])
    torch.testing.assert_close(both.seg_logits[1:], alone.seg_logits, rtol=1e-4, atol=1e-5)
    kinds = [type(m).__name__ for m in build_network(n_tags=2, n_classes=3, norm="batch").modules()]
    assert "BatchNorm2d" in kinds
    assert "GroupNorm" not in kinds


def test_scorers_answer_one_tensor():
    network = build_network(n_tags=2, n_classes=3, seed=0).eval()
    with torch.no_grad():
        out = network(X)
        assert torch.equal(network.scorer()(X), out.seg_logits)
        assert torch.equal(network.scorer("cam")(X), out.cams)


BAD = [
    ({"encoder": "vgg"}, RangeError, "encoder must be one of light, resnet18, .*; got 'vgg'"),
    ({"pooling": "mean"}, RangeError, "pooling must be one of wildcat, .*; got 'mean'"),
    ({"decoder": None}, RangeError, "decoder must be one of none, unet, .*; got None"),
    ({"n_tags": -1}, RangeError, "n_tags must be an integer >= 0; got -1"),
    ({"n_tags": True}, RangeError, "n_tags must be an integer >= 0; got True"),
    ({"n_classes": 1}, RangeError, r"n_classes must be an integer in 2\.\.255, background included; got 1"),
    ({"n_classes": 256}, RangeError, "n_classes must be .*; got 256"),
    ({"dropout": 1.0}, RangeError, r"dropout must be in \[0, 1\); got 1.0"),
    ({"dropout": float("nan")}, RangeError, "dropout must be .* got nan"),
    ({"n_tags": 0, "decoder": "none"}, UsageError, "n_tags must be at least 1 for a network without a decoder; got 0"),
    ({"n_tags": 0, "aux_tags": True}, UsageError, "n_tags must be at least 1 for aux_tags; got 0"),
    ({"aux_tags": True, "pooling": "acol"}, UsageError, "aux_tags must be off with pooling='acol'"),
    ({"aux_tags": True, "aux_block": 5}, RangeError, r"aux_block must be an integer in -5\.\.4; got 5"),
    ({"seed": 1.5}, RangeError, "seed must be an integer or None; got 1.5"),
    ({"base": 3}, UsageError, "options must belong to the chosen parts .*; got 'base'. They take: .*kmax"),
    ({"patch": 8}, UsageError, "got 'patch'"),
    ({"norm": "layer"}, RangeError, "kind must be one of group, batch; got 'layer'"),
    (
        {"encoder": "vit_tiny", "decoder": "largefov", "cascade": True},
        UsageError,
        "cascade must be off for an encoder of 1 stage",
    ),
]


@pytest.mark.parametrize(("request_", "error", "message"), BAD)
def test_bad_requests_are_refused(request_, error, message):
    with pytest.raises(error, match=message):
        build_network(**{"n_tags": 2, "n_classes": 3, **request_})


def test_options_of_parts_that_are_left_out_may_stay():
    whole = build_network(n_tags=2, n_classes=3, width=8, kmax=0.2)
    assert "decoder.classifier.weight" in whole.state_dict()
    build_network(n_tags=2, n_classes=3, decoder="none", width=8, base=4)
    build_network(n_tags=0, n_classes=3, kmax=0.2, threshold=0.5)
    with pytest.raises(UsageError, match="got 'widht'"):
        build_network(n_tags=2, n_classes=3, decoder="none", widht=8)


def test_missing_parts_and_wrong_images_are_named():
    tags, masks = build_network(n_tags=2, n_classes=3, decoder="none"), build_network(n_tags=0, n_classes=3)
    with pytest.raises(UsageError, match="head='segmentation' must be part of the network; it has none"):
        tags.scorer()
    with pytest.raises(UsageError, match="head='cam' must be part of the network; it has none"):
        masks.scorer("cam")
    with pytest.raises(RangeError, match="head must be one of segmentation, cam; got 'tags'"):
        tags.scorer("tags")
    with pytest.raises(UsageError, match="reset_segmentation: the network must have a decoder; it has none"):
        tags.reset_segmentation(0)
    for shape in itertools.chain([(3, 32, 32), (1, 1, 32, 32), (1, 3, 32)]):
        with pytest.raises(ShapeError, match=r"images must have shape \[B, 3, H, W\]; got"):
            tags(torch.zeros(shape))
