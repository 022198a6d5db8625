"""The C++ implementation: runs of equal ids, and the places where neighbouring rows differ."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty

I64 = NDArray[np.int64]
Shapes = tuple[I64, NDArray[np.int32], I64, I64 | None]


def region_geometry(
    ids: NDArray[np.int32], n_segments: int, labels: NDArray[Any] | None, num_threads: int = 0
) -> Shapes | None:
    """Same as ``reference.region_geometry``; all arrays must be C-contiguous."""
    area, perimeter = empty((n_segments,), np.int64), empty((n_segments,), np.int64)
    boxes = empty((n_segments, 4), np.int32)
    edges = None if labels is None else empty((n_segments,), np.int64)
    ok = _native.region_geometry(
        ids=ids,
        n_segments=n_segments,
        labels=labels,
        num_threads=num_threads,
        area=area,
        boxes=boxes,
        perimeter=perimeter,
        label_edges=edges,
    )
    return (area, boxes, perimeter, edges) if ok else None


def region_colors(
    image: NDArray[np.uint8], ids: NDArray[np.int32], n_segments: int, num_threads: int = 0
) -> NDArray[np.float32] | None:
    """Same as ``reference.region_colors``; all arrays must be C-contiguous."""
    out = empty((n_segments, 3), np.float32)
    ok = _native.region_colors(image=image, ids=ids, n_segments=n_segments, num_threads=num_threads, out=out)
    return out if ok else None


def region_adjacency(
    ids: NDArray[np.int32], n_segments: int, num_threads: int = 0
) -> tuple[NDArray[np.int32], I64] | None:
    """Same as ``reference.region_adjacency``; ids must be C-contiguous."""
    found: tuple[NDArray[np.int32], I64] | None = _native.region_adjacency(ids, n_segments, num_threads)
    return found
