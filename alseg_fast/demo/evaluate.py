"""How useful uncertainty was, against ground truth: selection gain, IoU. NumPy only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import RangeError, ShapeError


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
