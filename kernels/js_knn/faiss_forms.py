"""The one place that chooses how FAISS holds and searches a block, and the search that both devices share."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from ..js_rerank.numba_cpu import rerank_pairs
from .common import Block, KnnResult
from .faiss_cells import CellForm
from .faiss_flat import FlatForm
from .faiss_gpu import GpuForm
from .faiss_library import matrix_products, own_threads
from .faiss_rows import embed_float32
from .two_stage import Floats, Form, Queries, Task, search


def make_form(block: Block, weights: Floats, pool: ThreadPoolExecutor, device: str) -> Form:
    """On a GPU a flat index; on the CPU an inverted file where the block has cells, else blockwise products."""
    if device == "cuda":
        return GpuForm(block, weights, pool)
    if block.cells is not None and len(block.cells.offsets) > 2:
        return CellForm(block, block.cells, weights, pool)
    return FlatForm(block, pool)


def search_blocks(
    device: str,
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
    """Same as ``reference.js_knn`` on one device; a row that is reranked in two rounds counts twice in `reranked`."""
    embedded = embed_float32(queries, query_scale, weights, 0, len(queries))
    task = Task(Queries(queries, query_scale, weights, embedded), k, exclude, within, rerank_pairs, num_threads)
    with own_threads(num_threads) as pool, matrix_products(queries.shape[1]):
        return search(task, [make_form(b, weights, pool, device) for b in blocks if len(b.key)], candidates)
