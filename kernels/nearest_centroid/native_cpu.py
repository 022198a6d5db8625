"""The C++ implementation: a matrix product of embedded rows and centroids, of which the least is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty


def nearest_centroid(
    hist: NDArray[Any],
    scale: NDArray[np.float64],
    weights: NDArray[np.float64],
    centroids: NDArray[np.float32],
    num_threads: int = 0,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Same as ``reference.nearest_centroid``; all arrays must be C-contiguous."""
    cell: NDArray[np.int32] = empty((len(hist),), np.int32)
    distance: NDArray[np.float32] = empty((len(hist),), np.float32)
    _native.nearest_centroid(
        hist=hist,
        scale=scale,
        weights=weights,
        centroids=centroids,
        num_threads=num_threads,
        cell=cell,
        distance=distance,
    )
    return cell, distance
