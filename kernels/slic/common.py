"""What the implementations are handed: the grid of seeds, the weights as integers, the colour tables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

BLOCK = 32  # pixels of a row that share their candidates
MOST_COST = 10000  # of a distance along one axis, so that a sum of costs stays below 2^15
ADAPTIVE_SCALE = 64  # adaptive: cost of a colour distance as large as the cluster's largest, and of one grid step
FIRST_FARTHEST = 160  # adaptive: the largest colour distance of a cluster that has not been measured
_GRID_ROUNDS = 6
MOST_SHARE = 1.1  # of the number of segments asked for
ROWS_PER_CELL, MOST_ROW_STEP = 4, 16  # at least so many rows of a cell are looked at while the centres move
FIELD_BITS, INDEX_BITS, A_BITS, B_BITS = 21, 13, 6, 7

_D65 = (0.950456, 1.0, 1.088754)
_SRGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """Everything that is rounded once, so that all implementations start from the same integers."""

    band_rows: NDArray[np.int32]  # [B + 1] first row of each band of cells, and H
    band_clusters: NDArray[np.int32]  # [B + 1] first cluster of each band, and K
    row_step: int  # every so many rows are looked at while the centres move
    color_shift: int  # colours are multiplied by 2^color_shift
    spatial_weight: int  # cost of a distance of one pixel, times 2^16
    adaptive: bool
    blur: bool
    n_iter: int
    min_area: int  # in pixels; smaller segments are merged
    most_segments: int  # as long as there are more, all but the largest ones are merged


def plan_bands(size: tuple[int, int], n_clusters: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Bands of cells that are nearly square, exactly `n_clusters` cells in all."""
    height, width = size
    n = round(sqrt(n_clusters * height / width))
    n = min(max(n, ceil(n_clusters / width), 1), height, n_clusters)
    i = np.arange(n + 1, dtype=np.int64)
    return (height * i // n).astype(np.int32), (n_clusters * i // n).astype(np.int32)


def gain_of(farthest: Ints) -> Ints:
    """2^16 times the factor of a cluster's colour distances, from the largest of them."""
    return np.minimum(65535, (ADAPTIVE_SCALE << 16) // farthest)


def make_plan(
    size: tuple[int, int],
    n_clusters: int,
    n_segments: int,
    *,
    compactness: float,
    adaptive: bool,
    blur: bool,
    n_iter: int,
    min_size: float,
    sample: bool,
) -> Plan:
    """The plan of an image whose grid has `n_clusters` cells to give `n_segments`.

    `sample`: only some rows are looked at while the centres move.
    """
    height, width = size
    rows, clusters = plan_bands(size, n_clusters)
    step = sqrt(height * width / n_clusters)
    # The distances that matter are of four grid steps at most, and blocks are wider than small cells are.
    shift = next(s for s in (4, 3, 2, 1, 0) if s == 0 or 2 * compactness * 2**s * 4 <= MOST_COST)
    scale = ADAPTIVE_SCALE if adaptive else 2 * compactness * 2**shift
    return Plan(
        band_rows=rows,
        band_clusters=clusters,
        row_step=min(MOST_ROW_STEP, max(1, int(np.diff(rows).min()) // ROWS_PER_CELL)) if sample else 1,
        color_shift=4 if adaptive else shift,
        spatial_weight=round(scale * 65536 / step),
        adaptive=adaptive,
        blur=blur,
        n_iter=n_iter,
        min_area=int(min_size * height * width / n_clusters),
        most_segments=max(1, int(MOST_SHARE * n_segments)),
    )


@cache
def lab_tables() -> tuple[NDArray[np.uint64], NDArray[np.int16]]:
    """to_xyz [3, 256]: what a channel's value adds to X, Y, Z, in three fields of one integer; roots [8192, 4]:
    by a value of X, Y or Z, 2.55 L, 2^6 500 f and 2^7 200 f, f being the cube root."""
    value = np.arange(256) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    matrix = np.array(_SRGB_TO_XYZ) / np.array(_D65)[:, None]
    matrix /= matrix.sum(axis=1, keepdims=True)  # white is exactly 1
    top = (2**INDEX_BITS - 1) << (FIELD_BITS - INDEX_BITS)
    shares = np.rint(matrix[:, :, None] * linear * top).astype(np.uint64)  # [XYZ, channel, 256]
    half = np.uint64(1 << (FIELD_BITS - INDEX_BITS - 1))
    shares[:, 0] += half
    to_xyz = shares[0] | shares[1] << np.uint64(FIELD_BITS) | shares[2] << np.uint64(2 * FIELD_BITS)
    t = np.arange(2**INDEX_BITS) / (2**INDEX_BITS - 1)
    root = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    parts = [2.55 * np.maximum(116 * root - 16, 0), 2**A_BITS * 500 * root, 2**B_BITS * 200 * root, 0 * root]
    return np.ascontiguousarray(to_xyz), np.rint(np.stack(parts, axis=1)).astype(np.int16)


def lab_to_bytes(rgb: Ints) -> Ints:
    """[..., 3] 0..255 RGB -> CIELAB as bytes: 2.55 L, a + 128, b + 128."""
    to_xyz, roots = lab_tables()
    total = (to_xyz[0][rgb[..., 0]] + to_xyz[1][rgb[..., 1]] + to_xyz[2][rgb[..., 2]]).astype(np.int64)
    x, y, z = (roots[total >> shift & 8191].astype(np.int64) for shift in (8, 8 + FIELD_BITS, 8 + 2 * FIELD_BITS))
    a = (x[..., 1] - y[..., 1] + (128 << A_BITS) + (1 << A_BITS - 1)) >> A_BITS
    b = (y[..., 2] - z[..., 2] + (128 << B_BITS) + (1 << B_BITS - 1)) >> B_BITS
    return np.stack([y[..., 0], a, b], axis=-1)


def grid_for_mask(mask: NDArray[np.bool_], n_segments: int) -> int:
    """How many cells the whole grid needs for about `n_segments` of them to lie at least half inside the mask."""
    height, width = mask.shape
    inside = np.zeros((height + 1, width + 1), np.int64)
    inside[1:, 1:] = mask.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    n = n_segments * mask.size / int(inside[-1, -1])
    best, best_error = 1, n_segments + 1
    for _ in range(_GRID_ROUNDS):
        n = min(max(n, 1.0), float(mask.size))
        count = max(_cells_inside(inside, round(n)), 1)
        if abs(count - n_segments) < best_error:
            best, best_error = round(n), abs(count - n_segments)
        n *= n_segments / count
    return best


def _cells_inside(inside: Ints, n_clusters: int) -> int:
    """Cells of the grid whose pixels lie at least half inside the mask, from its running sums [H + 1, W + 1]."""
    height, width = inside.shape[0] - 1, inside.shape[1] - 1
    rows, clusters = plan_bands((height, width), n_clusters)
    count = 0
    for band, n in enumerate(np.diff(clusters)):
        x = width * np.arange(n + 1, dtype=np.int64) // n
        top, bottom = rows[band], rows[band + 1]
        held = np.diff(inside[bottom, x] - inside[top, x])
        count += int((2 * held >= np.diff(x) * (bottom - top)).sum())
    return count
