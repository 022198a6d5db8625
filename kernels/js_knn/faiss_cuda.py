"""FAISS finds candidates on a GPU, Numba reranks them on the CPU, the certificate decides: see `two_stage`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .common import Block, KnnResult
from .faiss_forms import search_blocks


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
    """Same as ``reference.js_knn``; a row that is reranked in two rounds counts twice in `reranked`."""
    return search_blocks("cuda", queries, query_scale, blocks, k, weights, exclude, within, candidates, num_threads)
