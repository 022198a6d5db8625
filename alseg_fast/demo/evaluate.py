"""How useful uncertainty was, against ground truth: AUROC, selection gain, IoU. NumPy only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

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
    """Running counts of right and wrong pixels at each of 256 heatmap levels, over any number of images."""

    def __init__(self) -> None:
        self.wrong = np.zeros(_LEVELS, np.int64)
        self.right = np.zeros(_LEVELS, np.int64)

    def add(
        self,
        heatmap: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.integer],
        truth: npt.NDArray[np.integer],
        ignore: int | None = None,
    ) -> float:
        """Count one image.

        Args:
            heatmap: [h, w] uint8, higher = more uncertain; labels: [H, W] predicted ids. Both are brought to
                the size of truth by nearest neighbour.
            truth: [H', W'] true ids; pixels equal to ignore do not count.
        Returns: the share of wrong pixels among those that count; NaN if none does.
        Raises:
            ShapeError: an array is not 2-D or is empty. DtypeError: heatmap is not uint8.
        """
        for name, array in (("heatmap", heatmap), ("labels", labels), ("truth", truth)):
            if array.ndim != 2 or array.size == 0:
                raise ShapeError(
                    f"PixelCounts.add: {name} must have shape [H, W]; got {list(array.shape)}. Pass one image."
                )
        if heatmap.dtype != np.uint8:
            raise DtypeError(
                f"PixelCounts.add: heatmap must be uint8; got {heatmap.dtype}. Quantise it to 256 levels first."
            )
        wrong = resize_nearest(labels, truth.shape) != truth
        level = resize_nearest(heatmap, truth.shape)
        if ignore is not None:
            counted = truth != ignore
            wrong, level = wrong[counted], level[counted]
        n_wrong = np.bincount(level[wrong].ravel(), minlength=_LEVELS)
        self.wrong += n_wrong
        self.right += np.bincount(level.ravel(), minlength=_LEVELS) - n_wrong
        return float(wrong.mean()) if wrong.size else float("nan")

    def auroc(self) -> float:
        """The AUROC of uncertainty as a detector of wrong pixels, exact for the 8-bit heatmaps counted."""
        return auroc_of_counts(self.wrong, self.right)


Maps = tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer], npt.NDArray[np.integer]]


def pixel_error_auroc(maps: Iterable[Maps], ignore: int | None = None) -> float:
    """The AUROC of uncertainty as a detector of wrong pixels, over all images together.

    Args:
        maps: for each image (heatmap [h, w] uint8, predicted labels [H, W], truth [H', W']); see PixelCounts.
    Raises:
        RangeError: no pixel is wrong, or all are. ShapeError, DtypeError: as PixelCounts.add.
    """
    counts = PixelCounts()
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


class SelectionGain(NamedTuple):
    """Mean wrong share of the picked images and of the pool, and their ratio (1 = no better than random)."""

    picked: float
    pool: float
    ratio: float


def selection_gain(error_rates: Mapping[str, float], picked: Collection[str]) -> SelectionGain:
    """How much worse the model does on the picked images than on images drawn at random.

    The expectation of a random draw without replacement is the pool's mean, so no random draws are made.

    Args:
        error_rates: image id -> share of wrong pixels, for the whole pool; picked: ids of the picks.
    Raises:
        RangeError: nothing is picked, a pick is twice in the list or not in the pool, a rate is not finite,
            or the model makes no error at all.
    """
    ids = list(picked)
    if not ids or len(set(ids)) != len(ids):
        raise RangeError(
            f"selection_gain: picked must name at least one image, each once; got {len(ids)} names, "
            f"{len(set(ids))} different. Pass the picks of one selection."
        )
    unknown = [i for i in ids if i not in error_rates]
    if unknown:
        raise RangeError(
            f"selection_gain: picked must be in error_rates; got {unknown[0]!r}. Pass the rates of the whole pool."
        )
    rates = np.array(list(error_rates.values()), np.float64)
    if not np.isfinite(rates).all() or rates.sum() <= 0:
        raise RangeError(
            "selection_gain: error_rates must be finite and not all zero; got "
            f"{'all zero' if np.isfinite(rates).all() else 'NaN or infinity'}. "
            "Leave images without truth out."
        )
    chosen, pool = float(np.mean([error_rates[i] for i in ids])), float(rates.mean())
    return SelectionGain(chosen, pool, chosen / pool)


def confusion(
    pred: npt.NDArray[np.integer], truth: npt.NDArray[np.integer], n_classes: int, ignore: int | None = None
) -> npt.NDArray[np.int64]:
    """Counts [C, C]: row = true class, column = predicted class.

    Args:
        pred, truth: integer ids of one shape; pixels whose truth is ignore do not count.
    Raises:
        ShapeError: the shapes differ. RangeError: an id that counts is outside 0..n_classes - 1.
    """
    if pred.shape != truth.shape:
        raise ShapeError(
            f"confusion: pred must have the shape of truth, {list(truth.shape)}; got {list(pred.shape)}. "
            "Resize one of them."
        )
    p, t = pred.ravel().astype(np.int64), truth.ravel().astype(np.int64)
    if ignore is not None:
        counted = t != ignore
        p, t = p[counted], t[counted]
    for name, ids in (("pred", p), ("truth", t)):
        if ids.size and not (ids.min() >= 0 and ids.max() < n_classes):
            raise RangeError(
                f"confusion: {name} must be in 0..{n_classes - 1}; got {ids.min()}..{ids.max()}. "
                "Name the id to ignore, or give more classes."
            )
    return np.bincount(t * n_classes + p, minlength=n_classes * n_classes).reshape(n_classes, n_classes)


def mean_iou(counts: npt.NDArray[np.integer]) -> float:
    """Mean over classes of intersection / union; classes absent from truth and prediction are left out.

    Args:
        counts: [C, C] from ``confusion``, summed over images.
    Raises:
        ShapeError: counts is not square. RangeError: no pixel was counted.
    """
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ShapeError(f"mean_iou: counts must be [C, C]; got {list(counts.shape)}. Pass the sum of confusion().")
    hit = np.diag(counts).astype(np.float64)
    union = counts.sum(0) + counts.sum(1) - hit
    if not (union > 0).any():
        raise RangeError("mean_iou: counts must hold at least one pixel; got none. Every pixel was ignored.")
    return float((hit[union > 0] / union[union > 0]).mean())
