"""Cells of a block: k-means on the embedding, so that a search can pass over cells by the triangle inequality."""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.js_knn.common import Cells, embed
from ..kernels.nearest_centroid import nearest_centroid
from .inputs import BLOCK_ROWS, channel_scale

CELLS_FROM = 4096
"""Rows from which a block gets cells: below, a scan takes a fraction of a millisecond and cells cannot save much."""
CELLS_PER_ROOT = 1.0
"""Cells = this * sqrt(rows): then ranking the cells of a query costs about as much as scanning one of them."""
SAMPLED_PER_CELL = 64
MOST_SAMPLED = 1 << 15
"""The sample that the centroids come from; a centroid may lie anywhere, only the speed of a search depends on it."""
ROUNDS = 4
"""Lloyd iterations; later ones move the centroids little."""

Take = Callable[[NDArray[np.int64]], NDArray[Any]]


def cell_count(rows: int, cells: str | int | None) -> int:
    """How many cells a block of so many rows gets; 0: none.

    Args:
        cells: "auto", None (none), or a number for blocks of at least twice as many rows.
    """
    if cells is None:
        return 0
    if isinstance(cells, int):
        return cells if rows >= 2 * cells else 0
    return max(1, round(CELLS_PER_ROOT * isqrt(rows))) if rows >= CELLS_FROM else 0


def make_cells(
    take: Take, rows: int, count: int, weights: NDArray[np.float64], seed: int
) -> tuple[NDArray[np.int64], Cells]:
    """The order of the rows (cell after cell, nearest to the centroid first) and the cells in that order.

    Args:
        take: numbers of rows -> [m, D] their histograms; called for a few thousand rows at a time.
        weights: [C] of the embedding, sum 1.
    """
    channels = len(weights)
    rng = np.random.default_rng(seed)
    size = min(rows, MOST_SAMPLED, SAMPLED_PER_CELL * count)
    sample = take(np.sort(rng.choice(rows, size, replace=False)))
    scale = channel_scale(sample, channels)
    points = embed(sample, scale, weights).astype(np.float32)
    centroids = points[rng.choice(size, count, replace=False)]
    for _ in range(ROUNDS):
        cell, _ = nearest_centroid("cpu", sample, scale, weights, centroids, 0)
        centroids = _means(points, cell, centroids)
    del sample, scale, points
    cell = np.empty(rows, np.int32)
    distance = np.empty(rows, np.float32)
    for start in range(0, rows, BLOCK_ROWS):
        part = slice(start, min(start + BLOCK_ROWS, rows))
        block = take(np.arange(part.start, part.stop))
        found = nearest_centroid("cpu", block, channel_scale(block, channels), weights, centroids, 0)
        cell[part], distance[part] = found
    order = np.lexsort((distance, cell))
    sizes = np.bincount(cell, minlength=count)
    used = np.flatnonzero(sizes)
    offsets = np.concatenate(([0], np.cumsum(sizes[used]))).astype(np.int64)
    return order, Cells(offsets, np.ascontiguousarray(centroids[used]), distance[order], weights, nearest=True)


def _means(points: NDArray[np.float32], cell: NDArray[np.int32], before: NDArray[np.float32]) -> NDArray[np.float32]:
    """[L, D] mean of the points of each cell; a cell without points keeps its centroid."""
    order = np.argsort(cell, kind="stable")
    used, starts = np.unique(cell[order], return_index=True)
    sums = np.add.reduceat(points[order].astype(np.float64), starts, axis=0)
    centroids = before.copy()
    centroids[used] = sums / np.diff(np.append(starts, len(cell)))[:, None]
    return centroids
