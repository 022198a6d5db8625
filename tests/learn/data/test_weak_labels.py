"""Weak labels: what they keep of a mask, that they are right, repeatable, and what they cost."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg_fast.errors import DtypeError, RangeError, ShapeError, UsageError
from alseg_fast.learn.data.regions import connected_components
from alseg_fast.learn.data.weak_labels import annotation_seconds, weak_labels

KINDS = ("points", "scribbles", "boxes", "partial")


def draw_mask(seed, size=(40, 50), ignored=True):
    """Blobs of classes 1..3 on background 0 with a stripe that has no label."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(size, np.uint8)
    y, x = np.mgrid[: size[0], : size[1]]
    for _ in range(6):
        cy, cx, r = rng.integers(0, size[0]), rng.integers(0, size[1]), rng.integers(2, 9)
        mask[(y - cy) ** 2 + (x - cx) ** 2 <= r * r] = rng.integers(1, 4)
    if ignored:
        mask[:, 20:22] = 255
    return mask


def flood_components(mask):
    """Plain flood fill over eight neighbours, numbered in reading order."""
    ids = np.full(mask.shape, -1)
    n = 0
    for start in zip(*np.nonzero(mask != 255), strict=True):
        if ids[start] >= 0:
            continue
        queue = deque([start])
        ids[start] = n
        while queue:
            y, x = queue.popleft()
            for ny in range(max(0, y - 1), min(mask.shape[0], y + 2)):
                for nx in range(max(0, x - 1), min(mask.shape[1], x + 2)):
                    if ids[ny, nx] < 0 and mask[ny, nx] == mask[start]:
                        ids[ny, nx] = n
                        queue.append((ny, nx))
        n += 1
    return ids


@given(seed=st.integers(0, 10**6), height=st.integers(1, 12), width=st.integers(1, 12), n=st.integers(1, 3))
@settings(max_examples=80, deadline=None)
def test_components_against_a_flood_fill(seed, height, width, n):
    mask = np.random.default_rng(seed).choice([*range(n), 255], (height, width)).astype(np.uint8)
    assert np.array_equal(connected_components(mask), flood_components(mask))


def test_components_of_a_spiral():
    mask = np.zeros((41, 41), np.uint8)
    for ring in range(0, 20, 2):
        mask[ring : 41 - ring, ring : 41 - ring] = 1
        mask[ring + 1 : 40 - ring, ring + 1 : 40 - ring] = 0
        mask[ring + 1, ring] = 0  # a way inwards
        mask[ring + 2, ring + 1] = 1
    assert np.array_equal(connected_components(mask), flood_components(mask))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_labels_are_right_where_they_are_known(kind, seed):
    mask = draw_mask(seed)
    before = mask.copy()
    labels = weak_labels(mask, kind, seed=seed)
    assert np.array_equal(mask, before)
    assert labels.dtype == np.uint8
    assert labels.shape == mask.shape
    known = labels != 255
    assert known.any()
    assert np.array_equal(labels[known], mask[known])  # boxes too: their inside is unknown
    assert known.sum() < (mask != 255).sum()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_labels(kind):
    mask = draw_mask(1)
    first, again, other = (weak_labels(mask, kind, seed=s) for s in (5, 5, 6))
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) == (kind in ("scribbles", "boxes"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0, 1, 255])
def test_masks_of_one_value(kind, value):
    mask = np.full((6, 9), value, np.uint8)
    labels = weak_labels(mask, kind, seed=0)
    found = set(np.unique(labels).tolist())
    assert found <= {value, 255}
    if value == 255 or (kind == "boxes" and value == 1):
        assert found == {255}
    else:
        assert value in found


@pytest.mark.parametrize("kind", KINDS)
def test_one_pixel(kind):
    assert weak_labels(np.array([[0]], np.uint8), kind, seed=0).tolist() == [[0]]


# ---- points --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_region", [1, 3])
def test_points_of_every_component(per_region):
    mask = draw_mask(2)
    labels = weak_labels(mask, "points", seed=0, per_region=per_region)
    ids = flood_components(mask)
    for i in range(ids.max() + 1):
        inside = ids == i
        assert (labels[inside] != 255).sum() == min(per_region, inside.sum())


def test_points_of_every_class_and_without_background():
    mask = draw_mask(3)
    labels = weak_labels(mask, "points", seed=0, region="class", label_background=False)
    values, counts = np.unique(labels[labels != 255], return_counts=True)
    assert values.tolist() == sorted(set(np.unique(mask).tolist()) - {0, 255})
    assert (counts == 1).all()


def test_points_are_uniform():
    mask = np.zeros((1, 4), np.uint8)
    drawn = [int(np.flatnonzero(weak_labels(mask, "points", seed=s)[0] == 0)[0]) for s in range(400)]
    assert (np.abs(np.bincount(drawn, minlength=4) - 100) < 35).all()


def test_small_regions_are_overlooked():
    mask = np.zeros((9, 9), np.uint8)
    mask[1, 1] = 1
    mask[4:8, 4:8] = 2
    for kind in ("points", "scribbles"):
        labels = weak_labels(mask, kind, seed=0, min_pixels=2)
        assert set(np.unique(labels).tolist()) == {0, 2, 255}


# ---- scribbles -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_scribble_is_one_thin_path_in_every_component(seed):
    mask = draw_mask(seed)
    labels = weak_labels(mask, "scribbles", seed=0)
    ids = flood_components(mask)
    for i in range(ids.max() + 1):
        line = (labels != 255) & (ids == i)
        assert line.any()
        assert flood_components(np.where(line, 1, 255)).max() == 0  # in one piece
        y, x = np.nonzero(line)
        # a shortest path: no pixel touches more than two others
        near = np.maximum(np.abs(y[:, None] - y), np.abs(x[:, None] - x)) == 1
        assert (near.sum(1) <= 2).all()


def test_a_scribble_follows_the_middle_of_a_bar():
    mask = np.zeros((15, 60), np.uint8)
    mask[3:12, 5:55] = 1
    line = weak_labels(mask, "scribbles", seed=0, label_background=False) == 1
    y, x = np.nonzero(line)
    assert x.max() - x.min() > 40
    assert np.abs(np.median(y) - 7) <= 1
    assert y.min() >= 4
    half = weak_labels(mask, "scribbles", seed=0, label_background=False, length=0.5) == 1
    assert abs(half.sum() - line.sum() / 2) <= 1
    assert (line | ~half).all()


def test_a_scribble_goes_round_a_bend():
    mask = np.full((40, 40), 255, np.uint8)
    mask[2:38, 2:8] = mask[32:38, 2:38] = 1
    y, x = np.nonzero(weak_labels(mask, "scribbles", seed=0) == 1)
    assert y.min() < 8
    assert x.max() > 32


# ---- boxes ---------------------------------------------------------------------------------------------------------


def test_outside_all_boxes_is_background():
    mask = np.zeros((10, 12), np.uint8)
    mask[2, 3] = mask[3, 4] = mask[4, 5] = 2  # one component over corners
    mask[7:9, 8:11] = 1
    mask[0, 0] = 255
    expected = np.zeros_like(mask)
    expected[2:5, 3:6] = expected[7:9, 8:11] = 255
    expected[0, 0] = 255
    assert np.array_equal(weak_labels(mask, "boxes", seed=0), expected)
    full = weak_labels(mask, "boxes", seed=0, inside="class")
    expected[2:5, 3:6], expected[7:9, 8:11] = 2, 1
    assert np.array_equal(full, expected)


def test_the_smaller_box_is_on_top():
    mask = np.zeros((9, 9), np.uint8)
    mask[1:8, 1:8] = 1
    mask[3:5, 3:5] = 2
    full = weak_labels(mask, "boxes", seed=0, inside="class")
    assert np.array_equal(full, mask)


# ---- partial masks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["pixels", "blocks", "regions"])
@pytest.mark.parametrize("share", [1e-9, 0.3, 1.0])
def test_share_of_the_units(unit, share):
    mask = draw_mask(4)
    labels = weak_labels(mask, "partial", seed=1, share=share, unit=unit, block=8)
    known = mask != 255
    if unit == "pixels":
        ids = np.arange(mask.size).reshape(mask.shape)
    elif unit == "regions":
        ids = flood_components(mask)
    else:
        ids = np.arange(40)[:, None] // 8 * 7 + np.arange(50) // 8
    units = np.unique(ids[known])
    kept = np.unique(ids[labels != 255])
    assert len(kept) == max(1, int(share * len(units) + 0.5))
    assert np.array_equal(labels != 255, known & np.isin(ids, kept))


# ---- cost ----------------------------------------------------------------------------------------------------------


def test_cost_of_a_mask():
    mask = np.zeros((10, 30), np.uint8)
    mask[2:5, 2:5] = mask[2:5, 10:13] = 1
    mask[2:5, 20:23] = 2
    mask[8, 0] = 255
    assert annotation_seconds("tags", mask) == 2 * 1
    assert annotation_seconds("points", mask) == pytest.approx(4 * 2.4)
    assert annotation_seconds("points", mask, label_background=False, per_region=2) == pytest.approx(6 * 2.4)
    assert annotation_seconds("points", mask, region="class") == pytest.approx(3 * 2.4)
    assert annotation_seconds("boxes", mask) == 3 * 10
    assert annotation_seconds("masks", mask) == 3 * 78
    assert annotation_seconds("partial", mask, share=0.5, unit="blocks") == pytest.approx(3 * 78 / 2)
    assert annotation_seconds("scribbles", mask) == 4 * 10
    assert annotation_seconds("scribbles", mask, seconds=7.5) == 4 * 7.5


def test_points_cost_what_was_drawn():
    mask = draw_mask(7)
    options = {"per_region": 4, "min_pixels": 3}
    drawn = (weak_labels(mask, "points", seed=0, **options) != 255).sum()
    assert annotation_seconds("points", mask, **options) == pytest.approx(2.4 * drawn)


def test_cost_of_counts_and_of_nothing():
    assert annotation_seconds("masks", 3) == 234
    assert annotation_seconds("partial", 10, share=0.1) == pytest.approx(78)
    assert annotation_seconds("tags", 0) == 0
    assert annotation_seconds("masks", np.full((3, 3), 255, np.uint8)) == 0


# ---- wrong use -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "error", "message"),
    [
        ("lines", {}, RangeError, "kind must be one of points, scribbles, boxes, partial; got 'lines'"),
        ("points", {"share": 0.5}, UsageError, "points have no option 'share'; there are per_region"),
        ("points", {"per_region": 0}, RangeError, "per_region must be an integer >= 1; got 0"),
        ("points", {"region": "object"}, RangeError, "region must be one of component, class"),
        ("scribbles", {"inset": 1.0}, RangeError, r"inset must be in \[0, 1\); got 1.0"),
        ("scribbles", {"length": 0.0}, RangeError, r"length must be in \(0, 1\]; got 0.0"),
        ("boxes", {"inside": "half"}, RangeError, "inside must be one of unknown, class"),
        ("partial", {"share": 1.5}, RangeError, r"share must be in \(0, 1\]; got 1.5"),
        ("partial", {"unit": "rows"}, RangeError, "unit must be one of pixels, blocks, regions"),
    ],
)
def test_weak_labels_refuse(kind, options, error, message):
    with pytest.raises(error, match=message):
        weak_labels(np.zeros((3, 3), np.uint8), kind, seed=0, **options)


def test_options_change_the_cost_or_are_known():
    mask = draw_mask(0)
    for kind, options in (("scribbles", {"inset": 0.1}), ("boxes", {"inside": "class"}), ("partial", {"block": 4})):
        weak_labels(mask, kind, seed=0, **options)
        assert annotation_seconds(kind, mask, **options) == annotation_seconds(kind, mask)
    with pytest.raises(UsageError, match="weak labels have no option 'per_regoin'"):
        annotation_seconds("points", mask, per_regoin=2)
    with pytest.raises(RangeError, match="per_region must be an integer >= 1; got 0"):
        annotation_seconds("points", mask, per_region=0)


def test_masks_of_another_kind_are_refused():
    with pytest.raises(DtypeError, match="mask must be a uint8 array; got int64"):
        weak_labels(np.zeros((3, 3), np.int64), "points", seed=0)
    with pytest.raises(ShapeError, match=r"mask must have shape \[H, W\]"):
        weak_labels(np.zeros((3, 3, 1), np.uint8), "points", seed=0)
    with pytest.raises(RangeError, match="seed must be an integer >= 0; got -1"):
        weak_labels(np.zeros((3, 3), np.uint8), "points", seed=-1)
    with pytest.raises(RangeError, match="what must be at least 0; got -2"):
        annotation_seconds("tags", -2)


def test_weak_labels_of_real_masks(real_data):
    pytest.importorskip("torch")
    from alseg_fast.learn.data.pictures import read_mask
    from alseg_fast.learn.data.readers import read_dataset

    data = read_dataset("glas", real_data / "glas").split("test")
    for sample in data.samples[:2]:
        mask = read_mask(data, sample)
        known = {}
        for kind in KINDS:
            labels = weak_labels(mask, kind, seed=0)
            shown = labels != 255
            assert np.array_equal(labels[shown], mask[shown])
            known[kind] = shown.mean()
        assert known["points"] < known["scribbles"] < known["partial"] < 0.2
        assert annotation_seconds("points", mask) < annotation_seconds("masks", mask)
