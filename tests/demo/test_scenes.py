"""The drawn scenes: the same everywhere, well labelled, graded, and written as a pool."""

import csv
import hashlib
import subprocess
import sys
from collections import Counter

import numpy as np
import PIL
import pytest
from PIL import Image

from alseg_fast.demo.hardships import HARD_KINDS
from alseg_fast.demo.scenes import CLASSES, HARD_SHARE, PALETTE, SKY, draw_scene, pool_size, write_pool
from alseg_fast.errors import RangeError

SMALL = (120, 160)
GOLDEN = (
    "cd7b4fe817c20cb1",
    "841c6fd5a2cb7cfa",
    "8d0d258e3f905bd3",
    "adeb9909d3ac8621",
    "4e5fb7fb9e87fa0b",
    "7a0bcc251119cac5",
)


def digest(scene):
    return hashlib.sha256(scene.image.tobytes() + scene.labels.tobytes()).hexdigest()[:16]


def test_a_scene_is_an_image_and_a_class_for_every_pixel():
    scene = draw_scene(3, size=(130, 90))
    assert (scene.image.shape, scene.image.dtype) == ((130, 90, 3), np.uint8)
    assert (scene.labels.shape, scene.labels.dtype) == ((130, 90), np.uint8)
    assert scene.labels.max() < len(CLASSES) == len(PALETTE) == len(set(PALETTE))
    assert draw_scene(3).image.shape == (480, 640, 3)


def test_the_same_seed_draws_the_same_bits_in_another_process():
    code = (
        "import hashlib; from alseg_fast.demo.scenes import draw_scene;"
        "s = draw_scene(11, size=(120, 160), hard=0.7);"
        "print(hashlib.sha256(s.image.tobytes() + s.labels.tobytes()).hexdigest()[:16])"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert there == digest(draw_scene(11, size=SMALL, hard=0.7))
    assert there != digest(draw_scene(12, size=SMALL, hard=0.7))


@pytest.mark.skipif(
    (np.__version__, PIL.__version__) != ("2.4.6", "13.0.0"),
    reason="recorded with NumPy 2.4.6 and Pillow 13.0.0",
)
@pytest.mark.parametrize("seed", range(6))
def test_the_bits_are_those_recorded_elsewhere(seed):
    assert digest(draw_scene(seed, size=SMALL, hard=seed / 5)) == GOLDEN[seed]


def test_every_class_and_every_hardship_occurs():
    share, hardships = np.zeros(len(CLASSES)), Counter()
    for seed in range(60):
        scene = draw_scene(seed, size=SMALL, hard=0.8 if seed % 2 else 0.0)
        share += np.bincount(scene.labels.ravel(), minlength=len(CLASSES)) / scene.labels.size / 60
        hardships.update(scene.hardships)
    assert share.min() > 0.01
    assert set(hardships) == set(HARD_KINDS)


def test_about_a_quarter_of_the_scenes_is_hard_by_a_varying_degree():
    degrees = np.array([draw_scene(seed, size=(32, 32)).difficulty for seed in range(240)])
    hard = degrees[degrees > 0]
    assert abs(len(hard) / 240 - HARD_SHARE) < 0.08
    assert hard.min() >= 0.3
    assert hard.max() <= 1
    assert hard.std() > 0.1


def test_difficulty_can_be_asked_for():
    assert draw_scene(5, size=SMALL, hard=0).hardships == ()
    assert draw_scene(5, size=SMALL, hard=0.6).difficulty == 0.6
    assert 1 <= len(draw_scene(5, size=SMALL, hard=0.6).hardships) <= 3


def test_light_and_camera_change_the_image_and_not_the_truth():
    seen = set()
    for seed in range(60):
        easy, hard = draw_scene(seed, size=SMALL, hard=0.0), draw_scene(seed, size=SMALL, hard=1.0)
        if set(hard.hardships) <= {"night", "low_contrast", "sensor"} and "night" not in hard.hardships:
            seen.update(hard.hardships)
            assert np.array_equal(easy.labels, hard.labels)
            assert np.abs(easy.image.astype(int) - hard.image).mean() > 8
    assert seen == {"low_contrast", "sensor"}


def test_labels_follow_what_is_painted():
    # Pixels of one class look more like the class nearby than like another: sky is smoother than foliage.
    rough = {}
    for seed in range(20):
        scene = draw_scene(seed, size=SMALL, hard=0.0)
        steps = np.abs(np.diff(scene.image.astype(int).mean(2), axis=1))
        inside = scene.labels[:, 1:] == scene.labels[:, :-1]
        for i, name in enumerate(CLASSES):
            rough.setdefault(name, []).append(steps[inside & (scene.labels[:, 1:] == i)])
    mean = {name: np.concatenate(parts).mean() for name, parts in rough.items()}
    assert mean["sky"] * 2 < min(mean["foliage"], mean["rock"])


def test_sky_is_above_and_never_at_the_foot_of_a_scene():
    for seed in range(10):
        labels = draw_scene(seed, size=SMALL, hard=0.0).labels
        assert not (labels[-1] == SKY).any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seed": -1}, "seed must be at least 0; got -1"),
        ({"seed": 0, "size": (31, 64)}, "size must be (h, w), each 32..8192; got (31, 64)"),
        ({"seed": 0, "hard": 1.5}, "hard must be between 0 and 1; got 1.5"),
        ({"seed": 0, "hard": float("nan")}, "hard must be between 0 and 1; got nan"),
    ],
)
def test_what_cannot_be_drawn_is_named(arguments, words):
    with pytest.raises(RangeError) as caught:
        draw_scene(**arguments)
    assert words in str(caught.value)


def test_a_pool_holds_images_truth_and_a_manifest(tmp_path):
    summary = write_pool(tmp_path, 3, seed=40)
    with open(tmp_path / "manifest.csv", newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    assert [row["image_id"] for row in rows] == list(summary.image_ids) == [f"scene_{i:05d}.jpg" for i in range(3)]
    for i, row in enumerate(rows):
        scene = draw_scene(40 + i, size=pool_size(40 + i))
        image, mask = Image.open(tmp_path / row["uri"]), Image.open(tmp_path / row["mask_uri"])
        assert (image.format, image.size, mask.mode) == ("JPEG", mask.size, "P")
        assert np.array_equal(np.asarray(mask), scene.labels)
        assert np.abs(np.asarray(image).astype(int) - scene.image).mean() < 6
        assert tuple(mask.getpalette()[3 * i : 3 * i + 3]) == PALETTE[i]
        assert float(row["difficulty"]) == pytest.approx(scene.difficulty, abs=1e-3)
        assert row["hardships"] == "+".join(summary.hardships[i])


def test_a_pool_is_the_same_however_many_draw_it(tmp_path):
    for folder, workers in (("one", 1), ("two", 2)):
        write_pool(tmp_path / folder, 2, seed=7, workers=workers)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*"))
    assert len(files) == 5
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_pool_sizes_vary_and_some_are_upright():
    sizes = {pool_size(seed) for seed in range(100)}
    assert {(480, 640), (960, 1280), (640, 480)} <= sizes


@pytest.mark.parametrize("arguments", [{"n": 0}, {"n": 1, "seed": -1}, {"n": 1, "workers": 0}])
def test_a_pool_of_nothing_is_refused(tmp_path, arguments):
    with pytest.raises(RangeError, match="write_pool: n and workers must be at least 1"):
        write_pool(tmp_path / "pool", **arguments)
    assert not (tmp_path / "pool").exists()
