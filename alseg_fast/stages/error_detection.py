"""Uncertainty as a detector of wrong pixels: the area under the ROC curve, from label maps, uncertainty maps and truth.

NumPy only.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ..errors import DtypeError, RangeError, ShapeError

_LEVELS = 256


def auroc(scores: npt.ArrayLike, positives: npt.ArrayLike) -> float:
    """Area under the ROC curve: the probability that a positive scores above a negative, ties counting half.

    Exact, from ranks (Mann and Whitney 1947); sorts once.

    Args:
        scores: [...] numbers, higher = more suspect; positives: the same shape, true where it is positive.
    Raises:
        ShapeError: the shapes differ.
        RangeError: a score is NaN, or there is no positive or no negative.
    """
    s, y = np.asarray(scores), np.asarray(positives).astype(bool)
    if s.shape != y.shape:
        raise ShapeError(
            f"auroc: positives must have the shape of scores, {list(s.shape)}; got {list(y.shape)}. "
            "Pass one truth value a score."
        )
    if np.isnan(s).any():
        raise RangeError("auroc: scores must not be NaN; got NaN. Leave such elements out.")
    _, level, count = np.unique(s, return_inverse=True, return_counts=True)
    positive = np.bincount(level.ravel(), weights=y.ravel(), minlength=len(count)).astype(np.int64)
    return auroc_of_counts(positive, count - positive)


def auroc_of_counts(positive: npt.ArrayLike, negative: npt.ArrayLike) -> float:
    """The same from counts: how many positives and negatives have each score, scores ascending.

    Exact for scores that take few values (8-bit heatmaps), in constant memory for any number of pixels.

    Args:
        positive, negative: [L] non-negative integers.
    Raises:
        ShapeError: the arrays are not 1-D of one length.
        RangeError: a count is negative, or all of one kind are zero.
    """
    p, n = np.asarray(positive, np.int64), np.asarray(negative, np.int64)
    if p.ndim != 1 or p.shape != n.shape:
        raise ShapeError(
            f"auroc_of_counts: positive and negative must be 1-D of one length; got {list(p.shape)} and "
            f"{list(n.shape)}. Count both over the same score levels."
        )
    if (p < 0).any() or (n < 0).any():
        raise RangeError("auroc_of_counts: counts must not be negative; got a negative one. Pass counts.")
    n_positive, n_negative = int(p.sum()), int(n.sum())
    if n_positive == 0 or n_negative == 0:
        raise RangeError(
            f"auroc: there must be a positive and a negative; got {n_positive} positives and {n_negative} "
            "negatives. The area is not defined without both."
        )
    below = np.cumsum(n) - n
    pairs = 2 * n_positive * n_negative  # doubled, so that a tie counts a whole one
    if pairs < 2**63:
        return int(np.dot(p, 2 * below + n)) / pairs
    # More pixels than 64 bits can pair: Python integers, one level at a time.
    return sum(int(a) * (2 * int(b) + int(c)) for a, b, c in zip(p, below, n, strict=True)) / pairs


class PixelCounts:
    """Running counts of right and wrong pixels at each level of uncertainty, over any number of images."""

    def __init__(self, *, levels: int = _LEVELS, limit: float | None = None) -> None:
        """
        Args:
            levels: number of levels that are told apart; 256 for 8-bit heatmaps, more for floating-point maps.
            limit: the largest value a floating-point map can take, such as ln C for entropy in nats of C classes;
                None takes 8-bit heatmaps only.
        Raises: RangeError: fewer than 2 levels, fewer than 256 without a limit, or a limit that is not positive.
        """
        least = 2 if limit is not None else _LEVELS
        if levels < least:
            raise RangeError(f"PixelCounts: levels must be at least {least}; got {levels}. Tell more values apart.")
        if limit is not None and not 0 < limit < float("inf"):
            raise RangeError(
                f"PixelCounts: limit must be positive and finite; got {limit}. Pass the measure's maximum."
            )
        self.wrong = np.zeros(levels, np.int64)
        self.right = np.zeros(levels, np.int64)
        self._limit = limit

    def add(
        self,
        heatmap: npt.NDArray[np.generic],
        labels: npt.NDArray[np.integer],
        truth: npt.NDArray[np.integer],
        ignore: int | None = None,
    ) -> float:
        """Count one image.

        Args:
            heatmap: [h, w], higher = more uncertain: uint8, or floating point in 0..limit where a limit was given
                (values a little outside by rounding count as the end they are nearest to); labels: [H, W]
                predicted ids. Both are brought to the size of truth by nearest neighbour.
            truth: [H', W'] true ids; pixels equal to ignore do not count.
        Returns: the share of wrong pixels among those that count; NaN if none does.
        Raises:
            ShapeError: an array is not 2-D or is empty. DtypeError: heatmap is of another dtype.
            RangeError: a value of a floating-point map that counts is NaN.
        """
        for name, array in (("heatmap", heatmap), ("labels", labels), ("truth", truth)):
            if array.ndim != 2 or array.size == 0:
                raise ShapeError(
                    f"PixelCounts.add: {name} must have shape [H, W]; got {list(array.shape)}. Pass one image."
                )
        if self._limit is None and heatmap.dtype != np.uint8:
            raise DtypeError(
                f"PixelCounts.add: heatmap must be uint8; got {heatmap.dtype}. Quantise it to 256 levels first."
            )
        if self._limit is not None and heatmap.dtype.kind != "f":
            raise DtypeError(
                f"PixelCounts.add: heatmap must be floating point where a limit is given; got {heatmap.dtype}. "
                "Leave limit out for 8-bit heatmaps."
            )
        wrong = resize_nearest(labels, truth.shape) != truth
        level = resize_nearest(heatmap, truth.shape)
        if ignore is not None:
            counted = truth != ignore
            wrong, level = wrong[counted], level[counted]
        n_levels = len(self.wrong)
        place = self._quantise(level, self._limit) if self._limit is not None else level.astype(np.int64)
        n_wrong = np.bincount(place[wrong].ravel(), minlength=n_levels)
        self.wrong += n_wrong
        self.right += np.bincount(place.ravel(), minlength=n_levels) - n_wrong
        return float(wrong.mean()) if wrong.size else float("nan")

    def _quantise(self, values: npt.NDArray[np.generic], limit: float) -> npt.NDArray[np.int64]:
        share = values.astype(np.float64) / limit
        if np.isnan(share).any():
            raise RangeError("PixelCounts.add: heatmap must not be NaN; got NaN. Name the pixels to ignore in truth.")
        return np.rint(np.clip(share, 0.0, 1.0) * (len(self.wrong) - 1)).astype(np.int64)

    def auroc(self) -> float:
        """The AUROC of uncertainty as a detector of wrong pixels, exact for the levels counted.

        Raises: RangeError: no pixel is wrong, or all are.
        """
        return auroc_of_counts(self.wrong, self.right)


Maps = tuple[npt.NDArray[np.generic], npt.NDArray[np.integer], npt.NDArray[np.integer]]


def pixel_error_auroc(
    maps: Iterable[Maps], ignore: int | None = None, *, levels: int = _LEVELS, limit: float | None = None
) -> float:
    """The AUROC of uncertainty as a detector of wrong pixels, over all images together.

    Args:
        maps: for each image (heatmap [h, w], predicted labels [H, W], truth [H', W']); see PixelCounts.
        levels, limit: see PixelCounts.
    Raises:
        RangeError: no pixel is wrong, or all are. ShapeError, DtypeError: as PixelCounts.add.
    """
    counts = PixelCounts(levels=levels, limit=limit)
    for heatmap, labels, truth in maps:
        counts.add(heatmap, labels, truth, ignore)
    return counts.auroc()


def resize_nearest(array: npt.NDArray[np.generic], size: tuple[int, ...]) -> npt.NDArray[np.generic]:
    """[h, w] -> [H, W]: output pixel i takes source pixel floor((2 i + 1) h / (2 H)), at its centre."""
    if array.shape == tuple(size):
        return array
    rows, columns = (
        (2 * np.arange(to, dtype=np.int64) + 1) * have // (2 * to) for have, to in zip(array.shape, size, strict=True)
    )
    resized: npt.NDArray[np.generic] = array[rows[:, None], columns[None, :]]
    return resized
