"""Uncertainty as a detector of wrong pixels, from floating-point maps; 8-bit maps are in demo/test_evaluate.py."""

import numpy as np
import pytest

from alseg_fast.errors import DtypeError, RangeError
from alseg_fast.stages.error_detection import PixelCounts, auroc, pixel_error_auroc


def test_floating_point_maps_give_what_their_own_ranks_give():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (20, 30))
    truth = rng.integers(0, 3, (20, 30))
    truth[:2] = 255
    entropy = rng.uniform(0, np.log(3), (20, 30)).astype(np.float32) + 0.2 * (labels != truth).astype(np.float32)
    counted = truth != 255
    exact = auroc(np.minimum(entropy, np.log(3))[counted], (labels != truth)[counted])
    got = pixel_error_auroc([(entropy, labels, truth)], 255, levels=1 << 16, limit=float(np.log(3)))
    assert got == pytest.approx(exact, abs=1e-4)
    coarse = pixel_error_auroc([(entropy, labels, truth)], 255, levels=2, limit=float(np.log(3)))
    assert abs(coarse - exact) > 1e-3  # two levels cannot do it: the number of levels is used


def test_values_outside_by_rounding_count_at_the_ends():
    counts = PixelCounts(levels=4, limit=1.0)
    counts.add(np.array([[-1e-7, 1.0000001]]), np.array([[0, 1]]), np.array([[0, 0]]))
    assert (counts.right.tolist(), counts.wrong.tolist()) == ([1, 0, 0, 0], [0, 0, 0, 1])
    assert counts.auroc() == 1.0


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: PixelCounts(levels=8), RangeError, "levels must be at least 256; got 8"),
        (lambda: PixelCounts(levels=1, limit=1.0), RangeError, "levels must be at least 2; got 1"),
        (lambda: PixelCounts(limit=0.0), RangeError, "limit must be positive and finite; got 0.0"),
        (lambda: _add(PixelCounts(limit=1.0), np.zeros((1, 2), np.uint8)), DtypeError, "must be floating point"),
        (lambda: _add(PixelCounts(), np.zeros((1, 2))), DtypeError, "must be uint8; got float64"),
        (lambda: _add(PixelCounts(limit=1.0), np.full((1, 2), np.nan)), RangeError, "must not be NaN"),
    ],
)
def test_bad_requests_are_told(call, error, words):
    with pytest.raises(error, match=words):
        call()


def _add(counts, heatmap):
    return counts.add(heatmap, np.zeros((1, 2), int), np.zeros((1, 2), int))
