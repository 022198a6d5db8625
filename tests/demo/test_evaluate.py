"""The measures of usefulness, against their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg_fast.demo.evaluate import confusion, mean_iou, selection_gain
from alseg_fast.errors import DtypeError, RangeError, ShapeError
from alseg_fast.stages.error_detection import PixelCounts, auroc, auroc_of_counts, pixel_error_auroc, resize_nearest


def auroc_by_pairs(scores, positives):
    """The definition: the share of (positive, negative) pairs in the right order, ties half."""
    wins = pairs = 0.0
    for s, is_positive in zip(scores, positives, strict=True):
        for r, is_other_positive in zip(scores, positives, strict=True):
            if is_positive and not is_other_positive:
                pairs += 1
                wins += 1.0 if s > r else 0.5 if s == r else 0.0
    return wins / pairs


scored = st.lists(
    st.tuples(st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6)), st.booleans()),
    min_size=2,
    max_size=40,
).filter(lambda rows: len({positive for _, positive in rows}) == 2)


@given(scored)
@settings(deadline=None)
def test_auroc_is_the_share_of_ordered_pairs(rows):
    scores, positives = zip(*rows, strict=True)
    assert auroc(scores, positives) == pytest.approx(auroc_by_pairs(scores, positives), abs=1e-12)


@given(scored)
@settings(deadline=None)
def test_auroc_of_reversed_scores_is_the_complement(rows):
    scores, positives = zip(*rows, strict=True)
    assert auroc([-s for s in scores], positives) == pytest.approx(1 - auroc(scores, positives), abs=1e-12)


def test_auroc_of_infinite_scores_and_of_matrices():
    assert auroc([[np.inf, 1.0], [-np.inf, 0.0]], [[True, True], [False, False]]) == 1.0
    assert auroc(np.zeros(7), np.arange(7) < 3) == 0.5


def test_counts_give_the_same_as_scores():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 9, 500)
    positives = rng.random(500) < scores / 12
    counts = [np.bincount(scores[positives == kind], minlength=9) for kind in (True, False)]
    assert auroc_of_counts(*counts) == auroc(scores, positives)


def test_counts_too_large_for_64_bits_stay_exact():
    huge = 10**13
    assert auroc_of_counts([0, huge], [huge, huge]) == 0.75


def test_pixel_auroc_counts_every_image_at_the_size_of_its_truth():
    rng = np.random.default_rng(1)
    images, flat_scores, flat_wrong = [], [], []
    for h, w in ((6, 9), (4, 4)):
        truth = rng.integers(0, 4, (2 * h, 3 * w)).astype(np.uint8)
        labels = rng.integers(0, 3, (h, w)).astype(np.uint8)
        heatmap = rng.integers(0, 256, (h, w)).astype(np.uint8)
        images.append((heatmap, labels, truth))
        grow = np.ones((2, 3), np.uint8)
        counted = truth != 3
        flat_scores.append(np.kron(heatmap, grow)[counted])
        flat_wrong.append((np.kron(labels, grow) != truth)[counted])
    expected = auroc(np.concatenate(flat_scores), np.concatenate(flat_wrong))
    assert pixel_error_auroc(images, ignore=3) == expected


def test_counting_an_image_returns_its_wrong_share():
    counts = PixelCounts()
    truth = np.array([[0, 1], [2, 255]], np.uint8)
    assert counts.add(np.zeros((2, 2), np.uint8), np.array([[0, 0], [2, 2]], np.uint8), truth, 255) == pytest.approx(
        1 / 3
    )
    assert math.isnan(counts.add(truth, truth, np.full((2, 2), 255, np.uint8), 255))
    assert (counts.wrong.sum(), counts.right.sum()) == (1, 2)


@pytest.mark.parametrize(("have", "to"), [((5, 7), (3, 20)), ((4, 4), (4, 4)), ((1, 3), (6, 1))])
def test_nearest_takes_the_pixel_under_the_centre(have, to):
    array = np.arange(have[0] * have[1]).reshape(have)
    got = resize_nearest(array, to)
    for y in range(to[0]):
        for x in range(to[1]):
            source = (math.floor((y + 0.5) * have[0] / to[0]), math.floor((x + 0.5) * have[1] / to[1]))
            assert got[y, x] == array[source]


def test_selection_gain_agrees_with_many_random_draws():
    rng = np.random.default_rng(2)
    rates = {f"i{k}": float(v) for k, v in enumerate(rng.random(50))}
    worst = sorted(rates, key=lambda i: -rates[i])[:10]
    gain = selection_gain(rates, worst)
    draws = [np.mean(rng.choice(list(rates.values()), 10, replace=False)) for _ in range(4000)]
    assert gain.pool == pytest.approx(np.mean(draws), abs=0.01)
    assert gain.picked == pytest.approx(np.mean([rates[i] for i in worst]))
    assert gain.ratio == pytest.approx(gain.picked / gain.pool)
    assert selection_gain(rates, list(rates)).ratio == pytest.approx(1.0)


def test_mean_iou_worked_by_hand():
    truth = np.array([0, 0, 0, 1, 1, 3, 9])
    pred = np.array([0, 0, 1, 1, 1, 0, 2])
    counts = confusion(pred, truth, 5, ignore=9)
    assert counts.tolist() == [[2, 1, 0, 0, 0], [0, 2, 0, 0, 0], [0] * 5, [1, 0, 0, 0, 0], [0] * 5]
    # class 0: 2 / 4, class 1: 2 / 3, class 3: 0 / 1; classes 2 and 4 occur nowhere.
    assert mean_iou(counts) == pytest.approx((2 / 4 + 2 / 3 + 0) / 3)


MAP = np.zeros((2, 2), np.uint8)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: auroc([1.0, 2.0], [True]),
            ShapeError,
            "positives must have the shape of scores, [2]; got [1]",
        ),
        (lambda: auroc([1.0, np.nan], [True, False]), RangeError, "scores must not be NaN"),
        (lambda: auroc([1.0, 2.0], [True, True]), RangeError, "got 2 positives and 0 negatives"),
        (lambda: auroc_of_counts([1, 2], [1]), ShapeError, "1-D of one length; got [2] and [1]"),
        (lambda: auroc_of_counts([1, -2], [1, 1]), RangeError, "counts must not be negative"),
        (lambda: PixelCounts().add(MAP[0], MAP, MAP), ShapeError, "heatmap must have shape [H, W]; got [2]"),
        (
            lambda: PixelCounts().add(MAP.astype(float), MAP, MAP),
            DtypeError,
            "heatmap must be uint8; got float64",
        ),
        (lambda: pixel_error_auroc([(MAP, MAP, MAP)]), RangeError, "got 0 positives and 4 negatives"),
        (lambda: selection_gain({"a": 0.5}, []), RangeError, "picked must name at least one image"),
        (lambda: selection_gain({"a": 0.5}, ["a", "a"]), RangeError, "each once; got 2 names, 1 different"),
        (lambda: selection_gain({"a": 0.5}, ["b"]), RangeError, "picked must be in error_rates; got 'b'"),
        (lambda: selection_gain({"a": 0.0}, ["a"]), RangeError, "got all zero"),
        (lambda: selection_gain({"a": math.nan}, ["a"]), RangeError, "got NaN or infinity"),
        (lambda: confusion(MAP, MAP[0], 3), ShapeError, "pred must have the shape of truth, [2]; got [2, 2]"),
        (lambda: confusion(MAP + 3, MAP, 3), RangeError, "pred must be in 0..2; got 3..3"),
        (lambda: mean_iou(np.zeros((2, 3), int)), ShapeError, "counts must be [C, C]; got [2, 3]"),
        (lambda: mean_iou(np.zeros((2, 2), int)), RangeError, "at least one pixel"),
    ],
)
def test_misuse_names_the_argument(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)
