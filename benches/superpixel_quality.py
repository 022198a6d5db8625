"""How well superpixels follow what people drew: boundary recall, undersegmentation error, achievable accuracy.

All three compare a label map [H, W] with a drawing [H, W] of the same picture, both of non-negative integers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer[Any]]
TOLERANCE = 2  # pixels within which a boundary counts as found


class Quality(NamedTuple):
    """Of one picture, means over its drawings; or of many pictures, means over them."""

    segments: float
    recall: float  # higher is better
    undersegmentation: float  # lower is better
    accuracy: float  # higher is better


def find_boundaries(labels: Labels) -> NDArray[np.bool_]:
    """[H, W]: the right or the lower neighbour has another label."""
    found = np.zeros(labels.shape, bool)
    found[:, :-1] = labels[:, :-1] != labels[:, 1:]
    found[:-1] |= labels[:-1] != labels[1:]
    return found


def widen(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """[H, W]: True within so many pixels of a True one, by Euclidean distance."""
    height, width = mask.shape
    wide = np.zeros_like(mask)
    row = mask.copy()  # widened sideways by the half width of the disc at the vertical step that is being added
    reach = 0
    for step in range(min(pixels, height - 1), -1, -1):
        half = min(math.isqrt(pixels * pixels - step * step), width - 1)
        for shift in range(reach + 1, half + 1):
            row[:, shift:] |= mask[:, : width - shift]
            row[:, : width - shift] |= mask[:, shift:]
        reach = max(reach, half)
        wide[step:] |= row[: height - step]
        wide[: height - step] |= row[step:]
    return wide


def boundary_recall(reached: NDArray[np.bool_], drawing: Labels) -> float:
    """Share of the drawing's boundary pixels that a superpixel boundary reaches; 1 where it has no boundary.

    Args:
        reached: the superpixels' boundaries, widened by the tolerance.
    Source: Martin, Fowlkes and Malik (2004), as Achanta et al. (2012) use it.
    """
    drawn = find_boundaries(drawing)
    total = int(np.count_nonzero(drawn))
    return int(np.count_nonzero(drawn & reached)) / total if total else 1.0


def count_overlaps(labels: Labels, drawing: Labels) -> NDArray[np.int64]:
    """[superpixels, regions]: pixels that each superpixel shares with each region of the drawing."""
    n, m = int(labels.max()) + 1, int(drawing.max()) + 1
    pairs = labels.ravel().astype(np.int64) * m + drawing.ravel()
    return np.bincount(pairs, minlength=n * m).reshape(n, m)


def undersegmentation_error(overlaps: NDArray[np.int64]) -> float:
    """Pixels by which superpixels leak over the regions of the drawing, a share of the picture.

    For each region and each superpixel that touches it, the smaller of the parts inside and outside.
    Source: Neubert and Protzel (2012), "Superpixel benchmark and comparison", section 3.
    """
    outside = overlaps.sum(axis=1, keepdims=True) - overlaps
    return int(np.minimum(overlaps, outside).sum()) / int(overlaps.sum())


def achievable_accuracy(overlaps: NDArray[np.int64]) -> float:
    """Share of the pixels that are right when every superpixel takes its most frequent region.

    Source: Liu, Tuzel, Ramalingam and Chellappa (2011), equation 10.
    """
    return int(overlaps.max(axis=1).sum()) / int(overlaps.sum())


def measure_quality(labels: Labels, drawings: Sequence[Labels]) -> Quality:
    """Means over the drawings of one picture; `segments` counts the distinct labels."""
    reached = widen(find_boundaries(labels), TOLERANCE)
    recalls, errors, accuracies = [], [], []
    for drawing in drawings:
        recalls.append(boundary_recall(reached, drawing))
        overlaps = count_overlaps(labels, drawing)
        errors.append(undersegmentation_error(overlaps))
        accuracies.append(achievable_accuracy(overlaps))
    segments = int(np.count_nonzero(np.bincount(labels.ravel())))
    return Quality(segments, float(np.mean(recalls)), float(np.mean(errors)), float(np.mean(accuracies)))


def mean_quality(found: Sequence[Quality]) -> Quality:
    """Means over pictures."""
    return Quality(*(float(v) for v in np.mean(np.array(found, np.float64), axis=0)))
