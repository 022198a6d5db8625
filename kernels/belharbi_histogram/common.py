"""What the implementations share: sizes, and the filters and the soft edges of the bins as integers."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

HEIGHT = 128  # pixels that images are resized to
BINS = 256  # of each channel
SATURATION = 3
ONE = 1 << 16  # what a pixel adds to the bins
COEFFICIENT_BITS = 22  # of Pillow's filters, and of the Gaussian here
SIGMA, SLOPE = 0.9, 1e5
WHITE = 255 << COEFFICIENT_BITS  # the smoothed value 1
BIN_WIDTH = WHITE // BINS
EDGE, EDGE_STEP_BITS = 1 << 18, 5  # values this near an edge of a bin count in both; steps of the table

Ints = NDArray[np.int64]


def width_for(height: int, width: int) -> int:
    """Width of an image that is resized to a height of 128: rounded down, at least 1."""
    return max(1, width * HEIGHT // height)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Catmull-Rom: the cubic filter of a = -1/2."""
    a, x = -0.5, np.abs(x)
    inner = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    outer = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, inner, np.where(x < 2.0, outer, 0.0))


@lru_cache(maxsize=256)
def cubic_taps(n_in: int, n_out: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Pillow's BICUBIC along one axis: first source index [n_out], weights [n_out, taps] in 2^-22.

    The filter widens with the reduction (antialiasing), ends at the border, and its weights are divided by their sum
    in float64, added in order, before they are rounded.
    """
    if n_in == n_out:  # left as it is
        return np.arange(n_out, dtype=np.int32), np.full((n_out, 1), 1 << COEFFICIENT_BITS, np.int32)
    scale = n_in / n_out
    stretch = max(scale, 1.0)
    support = 2.0 * stretch
    centre = (np.arange(n_out) + 0.5) * scale
    first = np.maximum(0, np.trunc(centre - support + 0.5)).astype(np.int64)
    last = np.minimum(n_in, np.trunc(centre + support + 0.5)).astype(np.int64)
    tap = np.arange(int((last - first).max()))
    inside = tap < (last - first)[:, None]
    weight = _cubic((tap + first[:, None] - centre[:, None] + 0.5) * (1.0 / stretch)) * inside
    total = np.cumsum(weight, axis=1)[:, -1:]
    weight = np.where(total != 0.0, weight / np.where(total != 0.0, total, 1.0), weight)
    weight *= 1 << COEFFICIENT_BITS
    taps = np.trunc(weight + np.where(weight < 0, -0.5, 0.5)).astype(np.int32)
    return first.astype(np.int32), np.ascontiguousarray(taps)


@cache
def gaussian_weights() -> tuple[int, int, int]:
    """Weights of the centre, of each of the 4 neighbours, and of each of the 4 corners; their sum is 2^22."""
    line = np.exp(-(np.arange(-1, 2) ** 2) / (2 * SIGMA**2))
    line /= line.sum()
    side, corner = (round(float(line[0] * line[i]) * 2**COEFFICIENT_BITS) for i in (1, 0))
    return 2**COEFFICIENT_BITS - 4 * side - 4 * corner, side, corner


@cache
def edge_shares() -> NDArray[np.int32]:
    """By the distance to an edge, in steps of 2^5 of 2^-22/255: how much of ONE the bin on this side of it gets."""
    distance = np.arange((EDGE >> EDGE_STEP_BITS) + 1) * (1 << EDGE_STEP_BITS) / WHITE
    return np.rint(ONE / (1 + np.exp(-SLOPE * distance))).astype(np.int32)
