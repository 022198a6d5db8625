"""A block on the GPU: FAISS's flat index finds the candidates, the CPU decides among them from the block's own rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ...errors import BackendError
from .common import Block, embed
from .faiss_flat import FlatForm
from .faiss_library import faiss
from .faiss_rows import product_error
from .two_stage import Floats, Found, Indices, Keep, Pairs, Queries

_ROWS_ADDED_AT_ONCE = 1 << 18
_made: WeakKeyDictionary[Block, tuple[bytes, Any]] = WeakKeyDictionary()
_lock = Lock()  # GPU indexes and their resources serve one thread at a time
_resources: list[Any] = []


def gpu_index(flat: FlatForm, weights: Floats) -> Any:
    """The embedded living rows of a block on device 0, float16 where the block's are; kept as long as the block."""
    block = flat.block
    known = _made.get(block)
    if known is not None and known[0] == weights.tobytes():
        return known[1]
    if not _resources:
        _resources.append(faiss.StandardGpuResources())
    settings = faiss.GpuIndexFlatConfig()
    settings.device = 0
    settings.useFloat16 = block.hist.dtype == np.float16
    index = faiss.GpuIndexFlatIP(_resources[0], block.hist.shape[1], settings)
    for first in range(0, flat.n, _ROWS_ADDED_AT_ONCE):
        index.add(flat.embed(first, min(first + _ROWS_ADDED_AT_ONCE, flat.n), weights))
    _made[block] = (weights.tobytes(), index)
    return index


class GpuForm:
    """Candidates from the GPU, up to as many as it can select; searches by radius run on the CPU."""

    widest = 2048  # FAISS's limit

    def __init__(self, block: Block, weights: Floats, pool: ThreadPoolExecutor) -> None:
        self.block = block
        self.flat = FlatForm(block, pool)
        self.error = product_error(block.hist.shape[1], half=block.hist.dtype == np.float16)
        with _lock:
            self.index = gpu_index(self.flat, weights)

    def nearest(self, queries: Queries, m: int, exactly: bool) -> Found:
        if exactly and min(m, self.flat.n) > self.widest:
            return self.flat.nearest(queries, m, exactly)
        m = min(m, self.flat.n, self.widest)
        with _lock:
            products, rows = self.index.search(queries.embedded, m)
        h2 = 1.0 - products.astype(np.float64)
        unseen = np.full(len(queries), np.inf) if m == self.flat.n else h2[:, -1] - self.error
        names = self.flat.name(rows.astype(np.int64))
        self.check_precision(queries, names[:, 0], h2[:, 0])
        return Found(names, h2, unseen, np.full(len(queries), self.flat.n))

    def check_precision(self, queries: Queries, rows: Indices, h2: Floats) -> None:
        """The bounds hold for float32 arithmetic; a GPU told to use less (TF32) must not spoil a proof."""
        points = embed(queries.hist, queries.scale, queries.weights)
        others = embed(self.block.hist[rows], self.block.scale[rows], queries.weights)
        off = float(np.abs(1.0 - (points * others).sum(axis=1) - h2).max(initial=0.0))
        if off > self.error:
            raise BackendError(
                f"js_knn: inner products of the GPU must be within {self.error:.2g} of the true ones; got {off:.2g}. "
                "Unset NVIDIA_TF32_OVERRIDE, or search on the CPU."
            )

    def closer(self, queries: Queries, limit: Floats, keep: Keep) -> tuple[list[Pairs], Indices]:
        return self.flat.closer(queries, limit, keep)
