"""The definition, in float64 NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..js_knn.common import embed


def nearest_centroid(
    hist: NDArray[Any],
    scale: NDArray[np.float64],
    weights: NDArray[np.float64],
    centroids: NDArray[np.float32],
    num_threads: int = 0,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The Euclidean nearest of centroids [L, D] to each row of the embedding (``js_knn/common.py``) of hist [n, D]
    with scale [n, C] and weights [C] -> cell [n] int32, of equally near ones the lower, and distance [n] float32.

    Two centroids whose distances differ by less than the rounding of a float may be taken for each other.
    """
    rows = embed(hist, scale, weights)
    squares = np.array([((rows - c) ** 2).sum(axis=1) for c in centroids.astype(np.float64)])
    cell = squares.argmin(axis=0)
    distance = np.sqrt(squares[cell, np.arange(len(rows))])
    return cell.astype(np.int32), distance.astype(np.float32)
