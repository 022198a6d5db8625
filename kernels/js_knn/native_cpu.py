"""The C++ implementation: a matrix product of embedded rows that is compared with each query's limit as it is made.

Rows are embedded and multiplied a few at a time; a pair whose dot product does not rule it out has its divergence
computed in float with a proven bound of the error, and what may still be among the nearest, in double.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty
from .common import Block, KnnResult


def _parts(block: Block) -> tuple[Any, ...]:
    cells = block.cells
    partition: tuple[Any, ...] = (None, None, None, None, False)
    if cells is not None:
        partition = (cells.offsets, cells.centroids, cells.distance, cells.weights, cells.nearest)
    return (block.hist, block.scale, block.key, block.alive, *partition)


def js_knn(
    queries: NDArray[np.float32],
    query_scale: NDArray[np.float64],
    blocks: Sequence[Block],
    k: int,
    weights: NDArray[np.float64],
    exclude: NDArray[np.int64] | None = None,
    within: NDArray[np.float64] | None = None,
    candidates: int = 0,
    num_threads: int = 0,
) -> KnnResult:
    """Same as ``reference.js_knn``; all arrays must be C-contiguous."""
    n = len(queries)
    result = KnnResult(
        keys=empty((n, k), np.int64),
        distances=empty((n, k), np.float64),
        certified=empty((n,), np.bool_),
        visited=empty((n,), np.int64),
        reranked=empty((n,), np.int64),
        rounds=np.zeros(n, np.int32),
    )
    _native.js_knn(
        queries=queries,
        query_scale=query_scale,
        blocks=[_parts(block) for block in blocks],
        k=k,
        weights=weights,
        exclude=exclude,
        within=within,
        candidates=candidates,
        num_threads=num_threads,
        keys=result.keys,
        distances=result.distances,
        certified=result.certified,
        visited=result.visited,
        reranked=result.reranked,
    )
    return result
