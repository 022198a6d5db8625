"""Every recipe from config to exported network, on drawn pictures."""

import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from alseg_fast.errors import AlsegError, UsageError  # noqa: E402

NETWORK = {"encoder": "light", "pooling": "average", "decoder": "unet"}


def read_png(path):
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image)


def falls(losses, name="loss"):
    values = [step[name] for step in losses]
    return np.mean(values[-3:]) < np.mean(values[:3])


def test_classifier_learns_and_exports_its_maps(config_of, train, tmp_path):
    config = config_of("classifier", stages={"classifier": {"steps": 12}}, network={**NETWORK, "decoder": "none"})
    result, heard = train(config)
    assert falls(heard.losses["classifier"])
    assert result["figures"]["cam, true tags, test"]["tag_accuracy"] > 0.6
    assert (tmp_path / "run" / "cam.onnx").exists()


def test_classifier_with_hide_and_seek_and_equivariance(config_of, train):
    config = config_of(
        "classifier",
        stages={"classifier": {"steps": 3}},
        network=NETWORK,
        augment={"hide": {"sizes": [0, 12]}},
        options={"equivariance_weight": 1.0},
    )
    _, heard = train(config)
    assert set(heard.losses["classifier"][0]) == {"loss", "tags", "equivariance"}
    assert heard.losses["classifier"][0]["equivariance"] > 0


def test_segmentation_of_full_masks(config_of, train, tmp_path):
    config = config_of("segmentation", stages={"segmentation": {"steps": 16}}, network=NETWORK)
    result, heard = train(config)
    assert falls(heard.losses["segmentation"])
    assert {"segmentation, test", "segmentation, true tags, test"} == set(result["figures"])
    assert (tmp_path / "run" / "network.onnx").exists()


@pytest.mark.parametrize("kind", ["points", "scribbles", "boxes", "partial"])
def test_segmentation_of_weak_labels(config_of, train, kind):
    config = config_of(
        "segmentation", stages={"segmentation": {"steps": 2}}, network=NETWORK, data={"weak": {"kind": kind}}
    )
    result, _ = train(config)
    assert result["weak_label_seconds"] > 0


def test_segmentation_without_any_mask_says_what_to_do(config_of, train):
    config = config_of("segmentation", stages={"segmentation": {"steps": 2}}, network=NETWORK, masks=False)
    with pytest.raises(UsageError, match="data must have images with masks"):
        train(config)


def test_segmentation_of_masks_made_elsewhere(config_of, train, tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    config = config_of("segmentation", stages={"segmentation": {"steps": 2}}, network=NETWORK, data={"labelled": 0})
    for i in range(4):
        shutil.copy(tmp_path / "pictures" / f"{i}-mask.png", folder / f"p{i}.png")
    values = {**config.model_dump(), "options": {"pseudo_masks": str(folder)}}
    result, heard = train(type(config).model_validate(values))
    # All images are pseudo-labelled: their weight is lambda = 0.1.
    assert 0 < heard.losses["segmentation"][0]["masks"] < 0.5
    assert result["images"]["labelled"] == 0


def test_separated_keeps_the_classifier_as_it_was(config_of, train, tmp_path):
    config = config_of(
        "separated",
        two=True,
        stages={"classifier": {"steps": 6}, "segmentation": {"steps": 12}},
        network=NETWORK,
        data={"labelled": 4, "validation": 0.25},
    )
    result, heard = train(config)
    assert falls(heard.losses["segmentation"])
    figures = result["figures"]
    assert {"cam, true tags, test", "cam, published rule, test", "segmentation, test"} <= set(figures)
    assert {"cam, true tags, validation threshold, test", "segmentation, validation threshold, test"} <= set(figures)
    assert result["facts"] == {"pixel_labelled": 4, "validation_images": 2, "segmentation_steps": 12}
    first = last_network(tmp_path / "run" / "checkpoints" / "classifier")
    second = last_network(tmp_path / "run" / "checkpoints" / "segmentation")
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=0)
    assert [name for name in second if name.startswith("decoder.")]


def last_network(folder):
    from alseg_fast.learn.training.checkpoint import Checkpoints

    return Checkpoints(folder).newest()["method"]["network"]


def test_joint_has_both_losses_in_every_step(config_of, train, tmp_path):
    config = config_of(
        "joint", two=True, stages={"joint": {"steps": 8}}, network=NETWORK, data={"labelled": 4, "validation": 0.25}
    )
    result, heard = train(config)
    assert all({"tags", "masks"} <= set(step) for step in heard.losses["joint"])
    assert falls(heard.losses["joint"])
    assert {"cam, true tags, test", "segmentation, test"} <= set(result["figures"])
    assert (tmp_path / "run" / "cam.onnx").exists()
    assert (tmp_path / "run" / "network.onnx").exists()


@pytest.mark.parametrize(
    "refine",
    [{"low": 0.3, "high": 0.5}, {"threshold": "gmm"}, {"crf": {"use": True}}],
    ids=["band", "gmm", "crf"],
)
def test_four_steps_write_masks_and_learn_from_them(config_of, train, tmp_path, refine):
    config = config_of(
        "four_step",
        stages={"classifier": {"steps": 10}, "segmentation": {"steps": 3}},
        network=NETWORK,
        options={"refine": refine},
    )
    result, _ = train(config)
    masks = sorted((tmp_path / "run" / "files" / "pseudo_masks").glob("*.png"))
    made = result["facts"]["pseudo_masks"]
    assert len(masks) == made["written"]
    assert made["written"] + made["empty_maps"] == 8
    for path in masks:
        mask = read_png(path)
        assert mask.shape == (48, 48)
        assert set(np.unique(mask)) <= {0, 1, 2, 255}
    assert 0 < result["figures"]["pseudo-masks"]["named"] <= 1


def test_erasing_unites_what_rounds_find(config_of, train, tmp_path):
    config = config_of(
        "erasing",
        stages={"classifier": {"steps": 6}},
        network={**NETWORK, "decoder": "none"},
        options={"rounds": 2, "min_score": 0.0, "max_drop": 1.0},
    )
    result, heard = train(config)
    assert set(heard.losses) == {"round-1", "round-2"}
    first, second = result["facts"]["new_pixels"]
    assert first > 0
    assert second >= 0
    assert len(list((tmp_path / "run" / "files" / "erased" / "round-1").glob("*.png"))) > 0
    for path in (tmp_path / "run" / "files" / "pseudo_masks" / "round-2").glob("*.png"):
        before = read_png(tmp_path / "run" / "files" / "pseudo_masks" / "round-1" / path.name)
        after = read_png(path)
        assert ((before == 0) | (after == before) | (after == 255)).all()


COSA = {
    "warmup_steps": 2,
    "head_lr_factor": 1.0,
    "teacher": {"decay": 0.9},
    "assign": {"scales": [1.0], "flip": False},
    "threshold": {"kind": "gmm"},
    "energy": {"weight": 0.05},
}
COSA_NETWORK = {"encoder": "light", "pooling": "max", "decoder": "largefov", "aux_tags": True}


def test_cosa_with_everything_on(config_of, train, tmp_path):
    config = config_of("cosa", stages={"cosa": {"steps": 5}}, network=COSA_NETWORK, options=COSA)
    result, heard = train(config)
    steps = heard.losses["cosa"]
    assert set(steps[1]) == {"loss", "tags", "aux_tags"}
    assert set(steps[2]) == {"loss", "tags", "aux_tags", "cam_to_seg", "seg_to_cam", "contrastive", "energy"}
    assert {
        "cam, predicted tags, fixed threshold, test",
        "cam, true tags, fitted threshold, training images",
        "segmentation, test",
    } <= set(result["figures"])
    assert 0.05 <= result["facts"]["fitted"]["threshold"] <= 0.95


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"assign": {"by": "nobody"}}, set()),
        ({"assign": {"by": "own", "scales": [1.0]}, "contrastive": {"weight": 0.0}}, {"cam_to_seg", "energy"}),
        (
            {"assign": {"by": "teacher", "swap_back": False, "aux_scales": "last"}, "energy": {"weight": 0.0}},
            {"cam_to_seg", "contrastive"},
        ),
        ({"assign": {"label_size": "images", "back_form": "signed"}, "reliability": {"use": False}}, None),
    ],
    ids=["nobody", "own", "no-swap-back", "image-size"],
)
def test_cosa_parts_can_be_switched_off(config_of, train, changes, parts):
    options = {**COSA, "warmup_steps": 0, **changes}
    config = config_of("cosa", stages={"cosa": {"steps": 2}}, network=COSA_NETWORK, options=options)
    _, heard = train(config)
    found = set(heard.losses["cosa"][-1]) - {"loss", "tags", "aux_tags"}
    assert found == (parts if parts is not None else {"cam_to_seg", "seg_to_cam", "contrastive", "energy"})


def test_a_recipe_without_its_stage_says_which(config_of, train):
    config = config_of("joint", stages={"classifier": {"steps": 1}}, network=NETWORK)
    with pytest.raises(UsageError, match=r"joint needs stages\.joint"):
        train(config)


def test_separated_without_pixel_labels_is_an_error(config_of, train):
    config = config_of(
        "separated",
        two=True,
        stages={"classifier": {"steps": 1}, "segmentation": {"steps": 1}},
        network=NETWORK,
        data={"labelled": 0},
    )
    with pytest.raises(AlsegError, match="images with masks"):
        train(config)


def test_a_finished_training_returns_its_result(config_of, train, tmp_path):
    config = config_of("joint", two=True, stages={"joint": {"steps": 1}}, network=NETWORK)
    first, _ = train(config)
    again, heard = train(config)
    assert again == json.loads(json.dumps(first))
    assert heard.losses == {}
