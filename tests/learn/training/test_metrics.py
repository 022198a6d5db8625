"""Figures of label maps and tags against plain NumPy, hand-made cases and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from alseg_fast.errors import DtypeError, RangeError, ShapeError  # noqa: E402
from alseg_fast.learn.training.metrics import (  # noqa: E402
    THRESHOLD_GRID,
    ConfusionMeter,
    choose_threshold,
    dice_per_image,
    threshold_scores,
)
from alseg_fast.learn.training.tag_metrics import tag_accuracy, tag_average_precision  # noqa: E402


def label_maps(seed, n_classes, n=3, size=(6, 7)):
    rng = np.random.default_rng(seed)
    truth = rng.choice([*range(n_classes), 255], (n, *size)).astype(np.uint8)
    return rng.integers(0, n_classes, (n, *size)).astype(np.uint8), truth


# ---- confusion -----------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10**6), n_classes=st.integers(2, 6))
@settings(max_examples=30, deadline=None)
def test_intersection_over_union(seed, n_classes):
    pred, truth = label_maps(seed, n_classes)
    meter = ConfusionMeter(n_classes)
    for p, t in zip(pred, truth, strict=True):
        meter.add(p, t)
    known = truth != 255
    expected = []
    for c in range(n_classes):
        a, b = (pred == c) & known, (truth == c) & known
        expected.append((a & b).sum() / (a | b).sum() if (a | b).any() else np.nan)
    np.testing.assert_allclose(meter.per_class, expected)
    assert meter.miou == pytest.approx(np.nanmean(expected))
    assert meter.pixel_accuracy == pytest.approx((pred == truth)[known].mean())
    assert meter.n_pixels == known.sum() == meter.matrix.sum()


def test_class_that_never_occurs_does_not_count():
    meter = ConfusionMeter(4)
    meter.add(np.array([0, 1, 1]), np.array([0, 1, 0]))
    assert np.isnan(meter.per_class[2:]).all()
    assert meter.miou == pytest.approx((1 / 2 + 1 / 2) / 2)


def test_nothing_counted_is_zero():
    meter = ConfusionMeter(3)
    meter.add(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8))
    assert (meter.n_pixels, meter.miou, meter.pixel_accuracy) == (0, 0.0, 0.0)


def test_torch_and_numpy_count_alike():
    pred, truth = label_maps(1, 3)
    ours, theirs = ConfusionMeter(3), ConfusionMeter(3)
    ours.add(pred, truth)
    theirs.add(torch.from_numpy(pred).long(), torch.from_numpy(truth).long())
    assert (ours.matrix == theirs.matrix).all()
    theirs.add_counts(ours.matrix)
    assert (theirs.matrix == 2 * ours.matrix).all()


def test_unlabelled_predictions():
    pred, truth = np.array([255, 1, 0, 255], np.uint8), np.array([1, 1, 0, 255], np.uint8)
    with pytest.raises(RangeError, match="pred must hold class ids; got 255 at 1 pixels"):
        ConfusionMeter(2).add(pred, truth)
    wrong, skip = (ConfusionMeter(2, unlabelled_prediction=w) for w in ("wrong", "skip"))
    wrong.add(pred, truth)
    skip.add(pred, truth)
    assert wrong.per_class.tolist() == [1.0, 0.5]
    assert wrong.pixel_accuracy == pytest.approx(2 / 3)
    assert skip.per_class.tolist() == [1.0, 1.0]


def test_confusion_meter_refuses():
    meter = ConfusionMeter(2)
    with pytest.raises(RangeError, match=r"truth must hold ids 0\.\.1 or 255; got 2"):
        meter.add(np.zeros(2, np.uint8), np.array([0, 2]))
    with pytest.raises(RangeError, match=r"pred must hold ids 0\.\.1 or 255; got -1"):
        meter.add(np.array([-1, 0]), np.array([0, 1]))
    with pytest.raises(ShapeError, match=r"pred must have shape \[3\] to match truth; got \[2\]"):
        meter.add(np.zeros(2, np.uint8), np.zeros(3, np.uint8))
    with pytest.raises(DtypeError, match="pred must be bool or integer; got float64"):
        meter.add(np.zeros(2), np.zeros(2, np.uint8))
    with pytest.raises(RangeError, match=r"n_classes must be 2\.\.255; got 1"):
        ConfusionMeter(1)


# ---- Dice ----------------------------------------------------------------------------------------------------------


def test_dice_by_hand():
    pred, truth = np.array([[1, 1, 0, 0]]), np.array([[1, 0, 1, 255]])
    assert dice_per_image(pred, truth) == pytest.approx(2 * 1 / (2 + 2))
    assert dice_per_image(truth == 1, truth == 1) == pytest.approx(1)
    assert dice_per_image(torch.from_numpy(pred), torch.from_numpy(truth)) == pytest.approx(0.5)


@pytest.mark.parametrize("filled", [False, True])
def test_empty_truth(filled):
    pred, truth = np.full((2, 2), filled), np.zeros((2, 2), np.uint8)
    assert dice_per_image(pred, truth) == 0  # the published rule, even where the prediction is empty too
    assert dice_per_image(pred, truth, empty="agreement") == (0 if filled else 1)
    with pytest.raises(RangeError, match="empty must be one of published, agreement"):
        dice_per_image(pred, truth, empty="nan")


# ---- threshold -----------------------------------------------------------------------------------------------------


def threshold_reference(probabilities, truths):
    scores = []
    for t in THRESHOLD_GRID:
        each = []
        for p, truth in zip(probabilities, truths, strict=True):
            known = truth != 255
            m, y = (p >= p.dtype.type(t))[known], (truth != 0)[known]
            fg = ((m & y).sum() + 1) / ((m | y).sum() + 1)
            bg = ((~m & ~y).sum() + 1) / ((~m | ~y).sum() + 1)
            each.append((fg + bg) / 2)
        scores.append(np.mean(each))
    return np.array(scores)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threshold_against_the_formula(dtype):
    rng = np.random.default_rng(0)
    truths = rng.choice([0, 0, 1, 1, 255], (4, 9, 11)).astype(np.uint8)
    probabilities = np.clip(0.3 + 0.3 * (truths == 1) + 0.2 * rng.normal(size=truths.shape), 0, 1)
    probabilities[0, 0] = THRESHOLD_GRID[:11]  # exactly on thresholds
    probabilities = probabilities.astype(dtype)
    expected = threshold_reference(probabilities, truths)
    np.testing.assert_allclose(threshold_scores(probabilities, truths), expected, rtol=1e-12)
    chosen = choose_threshold((p for p in probabilities), iter(truths))
    assert chosen == THRESHOLD_GRID[int(np.argmax(expected))]


def test_grid_is_the_published_one():
    assert len(THRESHOLD_GRID) == 95
    assert (THRESHOLD_GRID[0], THRESHOLD_GRID[1], THRESHOLD_GRID[-1]) == (0.05, 0.06, 0.99)


def test_of_equal_thresholds_the_lowest():
    assert choose_threshold([np.array([[0.0, 1.0]])], [np.array([[0, 1]])]) == 0.05


def test_one_class_images_have_a_threshold():
    p = np.array([[0.2, 0.3]])
    assert choose_threshold([p], [np.zeros((1, 2), np.uint8)]) == 0.31
    assert choose_threshold([p], [np.ones((1, 2), np.uint8)]) == 0.05
    assert choose_threshold([p], [np.full((1, 2), 255, np.uint8)]) == 0.05


def test_choose_threshold_refuses():
    good = np.array([[0.5]])
    with pytest.raises(RangeError, match="at least one image; got none"):
        choose_threshold([], [])
    with pytest.raises(RangeError, match=r"probabilities must be in 0\.\.1; got others at index 1"):
        choose_threshold([good, good * np.nan], [np.array([[1]])] * 2)
    with pytest.raises(ShapeError, match="truths must have the shapes of probabilities"):
        choose_threshold([good], [np.zeros((2, 2), np.uint8)])
    with pytest.raises(RangeError, match="grid must be ascending"):
        choose_threshold([good], [np.array([[1]])], grid=(0.5, 0.4))


# ---- tags ----------------------------------------------------------------------------------------------------------


def test_tag_accuracy():
    logits = np.array([[2.0, 1.0], [-1.0, 3.0], [0.5, -2.0], [9.0, 9.0]])
    tags = np.array([[1, 0], [1, 0], [1, 1], [0, 0]])
    assert tag_accuracy(logits[[0, 1]], tags[[0, 1]], single_tag=True) == 0.5
    assert tag_accuracy(torch.from_numpy(logits), torch.from_numpy(tags), single_tag=False) == pytest.approx(2 / 6)
    assert tag_accuracy(logits, np.zeros((4, 2)), single_tag=False) == 0


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_average_precision_against_scikit_learn(seed):
    reference = pytest.importorskip("sklearn.metrics").average_precision_score
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(12, 3)).round(1)  # ties
    tags = rng.random((12, 3)) < 0.4
    tags[0] = True
    tags[:, 2] &= np.arange(12) != 0  # perhaps a tag without any image
    known = tags.any(1)
    expected = [reference(tags[known, k], logits[known, k]) for k in range(3) if tags[known, k].any()]
    assert tag_average_precision(logits, tags) == pytest.approx(np.mean(expected))


def test_tag_metrics_refuse():
    with pytest.raises(RangeError, match="tag_logits must be numbers; got NaN"):
        tag_accuracy(np.array([[np.nan]]), np.array([[1]]), single_tag=True)
    with pytest.raises(ShapeError, match="tags must have shape"):
        tag_average_precision(np.zeros((2, 2)), np.zeros((2, 3)))
