"""Every kind of network, exported, is scored by the engine with the label map that torch gives."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from torch.nn import functional as F  # noqa: E402

import alseg_fast as alseg  # noqa: E402
from alseg_fast.errors import ModelError, UsageError  # noqa: E402
from alseg_fast.export import stochastic_passes  # noqa: E402
from alseg_fast.learn.networks.build import build_network  # noqa: E402
from alseg_fast.learn.networks.export import export_network  # noqa: E402
from alseg_fast.runtimes.onnx import load_model  # noqa: E402
from alseg_fast.stages.prepare import fill, place  # noqa: E402
from support import draw_picture  # noqa: E402

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
SIZE = (96, 112)
PICTURES = [draw_picture(i, size).copy() for i, size in enumerate((SIZE, (130, 101), (70, 180)))]
TAGS = ("one", "two", "three")
KINDS = [
    {"decoder": "unet", "width": 4},
    {"decoder": "unet", "width": 4, "norm": "batch", "full_resolution": False},
    {"decoder": "unet", "width": 4, "n_classes": 2},
    {"decoder": "unet", "width": 4, "dropout": 0.2, "mc_passes": 4},
    {"decoder": "unet", "width": 4, "dropout": 0.2, "encoder_dropout": False, "mc_passes": 4},
    {"decoder": "belharbi", "base": 2, "leak": 4, "n_classes": 2, "dropout": 0.2, "mc_passes": 4},
    {"decoder": "belharbi", "encoder": "resnet18", "base": 2, "leak": 4, "n_classes": 2},
    {"decoder": "largefov", "head_width": 16, "output_stride": 16, "aux_tags": True},
    {"decoder": "icnet", "width": 16},
    {"decoder": "icnet", "width": 16, "dropout": 0.2, "mc_passes": 3},
    {"decoder": "largefov", "encoder": "vit_tiny", "head_width": 16, "aux_tags": True, "pooling": "max"},
    {"decoder": "unet", "width": 4, "n_tags": 0, "output_stride": 32},
]


def network_with_opinions(head, **keywords):
    """Random weights whose scores differ over the pictures: centred, so that every class wins somewhere."""
    network = build_network(seed=3, **{"n_tags": 3, "n_classes": 4, **keywords}).eval()
    if head == "cam":
        return network
    pictures = torch.stack([torch.from_numpy(p[:70, :100]).permute(2, 0, 1) for p in PICTURES]).float()
    x = F.interpolate(pictures / 255 - torch.tensor(MEAN)[:, None, None], SIZE)
    with torch.no_grad():
        last = [m for m in network.decoder.modules() if isinstance(m, torch.nn.Conv2d)][-1]
        logits = network.scorer()(x / torch.tensor(STD)[:, None, None])
        last.bias -= logits.mean((0, 2, 3))
        spread = logits.std((0, 2, 3), keepdim=True).clamp_min(1e-6)
        last.weight.div_(spread.view(-1, 1, 1, 1))
        last.bias.div_(spread.flatten())
    return network


def inputs(path):
    """The pictures [3, H, W] as the engine prepares them."""
    spec = load_model(path).spec
    assert spec.input_size == SIZE
    assert spec.mean == pytest.approx(MEAN)
    assert spec.std == pytest.approx(STD)
    tensors = []
    for picture in PICTURES:
        slot = np.empty((3, *SIZE), np.float32)
        fill(spec, picture, place(spec, picture.shape[1], picture.shape[0]), slot)
        stretched = F.interpolate(
            torch.from_numpy(picture).permute(2, 0, 1)[None].float(), SIZE, mode="bilinear", antialias=True
        )[0]
        plain = (stretched / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        np.testing.assert_allclose(slot, plain.numpy(), atol=0.02)
        tensors.append(torch.from_numpy(slot))
    return torch.stack(tensors)


def agreement(results, expected):
    """Share of pixels of all pictures with the same label."""
    for result, labels in zip(results, expected, strict=True):
        assert result.ok, result.error
        assert result.maps["labels"].shape == labels.shape
    same = [np.mean(r.maps["labels"] == e) for r, e in zip(results, expected, strict=True)]
    return min(same)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_segmentation_labels_are_those_of_torch(kind, tmp_path):
    kind = dict(kind)
    passes = kind.pop("mc_passes", 1)
    network = network_with_opinions("segmentation", **kind)
    n_classes = network.config["n_classes"]
    names = tuple(f"class {i}" for i in range(n_classes))
    written = export_network(
        network, tmp_path / "m.onnx", input_size=SIZE, classes=names, mean=MEAN, std=STD, mc_passes=passes, seed=5
    )
    assert written.difference < 1e-4
    x = inputs(tmp_path / "m.onnx")
    with torch.no_grad():
        if passes > 1:
            assert len(written.places) >= 2
            scores = stochastic_passes(network.scorer(), x, n_passes=passes, seed=5)
        else:
            scores = network.scorer()(x)[:, None]
    expected = []
    for score, picture in zip(scores.double(), PICTURES, strict=True):
        z = F.interpolate(score, picture.shape[:2], mode="bilinear", align_corners=False)
        p = z.softmax(1).mean(0).argmax(0) if n_classes > 2 else (z.sigmoid().mean(0)[0] >= 0.5).long()
        expected.append(p.numpy())
    present = np.unique(np.concatenate([e.ravel() for e in expected]))
    assert len(present) >= 2, "a label map of one class compares nothing"
    scorer = alseg.Scorer(tmp_path / "m.onnx", device="cpu", workers=1)
    assert scorer.classes == (names if n_classes > 2 else scorer.classes)
    assert scorer.spec.activation == ("softmax" if n_classes > 2 else "sigmoid")
    assert agreement(scorer.score_images(PICTURES, maps=True), expected) >= 0.999


@pytest.mark.parametrize(
    "kind",
    [
        {"pooling": "wildcat"},
        {"pooling": "average", "decoder": "unet", "width": 4},
        {"pooling": "max", "encoder": "vit_tiny"},
        {"pooling": "acol", "hidden": 8},
        {"pooling": "wildcat_published", "cascade": True, "decoder": "none"},
    ],
    ids=lambda kind: "-".join(map(str, kind.values())),
)
def test_activation_maps_are_those_of_torch(kind, tmp_path):
    network = network_with_opinions("cam", **{"decoder": "none", **kind})
    export_network(network, tmp_path / "m.onnx", head="cam", input_size=SIZE, classes=TAGS, mean=MEAN, std=STD)
    x = inputs(tmp_path / "m.onnx")
    with torch.no_grad():
        cams = network.scorer("cam")(x).double().relu()
    cams = cams / cams.amax((2, 3), keepdim=True).clamp_min(1e-5)
    present = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0]])
    cams = cams * torch.from_numpy(present)[:, :, None, None]
    scorer = alseg.Scorer(tmp_path / "m.onnx", device="cpu", workers=1)
    assert scorer.spec.activation == "cam"
    expected = []
    for maps, picture in zip(cams, PICTURES, strict=True):
        full = F.interpolate(maps[None], picture.shape[:2], mode="bilinear", align_corners=False)[0]
        ground = torch.full((1, *full.shape[1:]), scorer.spec.background, dtype=full.dtype)
        expected.append(torch.cat([ground, full]).argmax(0).numpy())
    assert len(np.unique(np.concatenate([e.ravel() for e in expected]))) >= 2
    results = scorer.score_images(PICTURES, maps=True, image_labels=present)
    assert agreement(results, expected) >= 0.999


def test_stochastic_passes_share_an_encoder_without_dropout(tmp_path):
    shares = {}
    for name, places in (("all", True), ("decoder", False)):
        network = build_network(n_tags=2, n_classes=3, width=4, dropout=0.3, encoder_dropout=places, seed=0)
        facts = {"input_size": (32, 32), "classes": ("a", "b", "c"), "mean": MEAN, "std": STD, "mc_passes": 2}
        shares[name] = export_network(network, tmp_path / f"{name}.onnx", **facts).trunk_share
    assert shares["all"] < 0.2 < 0.5 < shares["decoder"]


def test_export_leaves_a_frozen_network_as_it_was(tmp_path):
    network = build_network(n_tags=2, n_classes=3, width=4, seed=0).freeze_classifier().train()
    modes = [m.training for m in network.modules()]
    export_network(network, tmp_path / "m.onnx", input_size=(32, 32), classes=("a", "b", "c"), mean=MEAN, std=STD)
    assert [m.training for m in network.modules()] == modes
    assert network.decoder.training
    assert not network.encoder.training


def test_bad_requests_are_refused(tmp_path):
    network = build_network(n_tags=3, n_classes=4, width=4)
    facts = {"input_size": (32, 32), "mean": MEAN, "std": STD}
    for head, classes, message in [
        ("segmentation", TAGS, "classes must be 4 names for head='segmentation'; got .*Give the data set's classes"),
        ("cam", ("a", "b"), "classes must be 3 names for head='cam'; got .*Give the data set's tag names"),
        ("cam", "abc", "classes must be 3 names"),
    ]:
        with pytest.raises(UsageError, match=message):
            export_network(network, tmp_path / "m.onnx", head=head, classes=classes, **facts)
    with pytest.raises(ModelError, match="must have a dropout with p above 0"):
        export_network(network, tmp_path / "m.onnx", classes=tuple("abcd"), mc_passes=3, **facts)
    bare = build_network(n_tags=3, n_classes=4, decoder="none")
    with pytest.raises(UsageError, match="head='segmentation' must be part of the network"):
        export_network(bare, tmp_path / "m.onnx", classes=tuple("abcd"), **facts)
    assert not (tmp_path / "m.onnx").exists()
