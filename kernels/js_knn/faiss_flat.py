"""All rows of a block, compared by FAISS in chunks that are embedded for the moment: no second copy of the rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from .common import Block
from .faiss_library import faiss
from .faiss_rows import embed_float32, product_error
from .two_stage import Floats, Found, Indices, Keep, Pairs, Queries

_CHUNKS, _SMALLEST_CHUNK, _LARGEST_CHUNK = 16, 4096, 65536
_PAIRS_A_PIECE = 1 << 22  # rows times queries that a search by radius may find at once


def with_threshold(queries: Queries, limit: Floats, error: float) -> Any:
    """Queries [Q, D + 1] whose product with (row, 1) is positive for every row with a true h2 <= limit."""
    threshold = np.clip(1.0 - limit - error, -1.0, 1.0)
    return np.ascontiguousarray(np.column_stack([queries.embedded, -threshold.astype(np.float32)]))


class FlatForm:
    """Every row is compared; matrix products of BLAS where there are queries enough."""

    widest = 0

    def __init__(self, block: Block, pool: ThreadPoolExecutor) -> None:
        self.block, self.pool = block, pool
        self.error = product_error(block.hist.shape[1])
        self.rows = None if block.alive is None else np.flatnonzero(block.alive)  # int64
        self.n = len(block.key) if self.rows is None else len(self.rows)
        size = min(_LARGEST_CHUNK, max(_SMALLEST_CHUNK, -(-self.n // _CHUNKS)))
        self.chunks = [(first, min(first + size, self.n)) for first in range(0, self.n, size)]

    def embed(self, first: int, last: int, weights: Floats, further: float | None = None) -> Any:
        """Living rows first .. last."""
        if self.rows is None:
            return embed_float32(self.block.hist, self.block.scale, weights, first, last, further=further)
        rows = self.rows[first:last]
        hist, scale = np.ascontiguousarray(self.block.hist[rows]), np.ascontiguousarray(self.block.scale[rows])
        return embed_float32(hist, scale, weights, 0, len(rows), further=further)

    def name(self, rows: Indices) -> Indices:
        """Numbers among the living rows -> numbers in the block."""
        return rows if self.rows is None else np.asarray(self.rows[rows], np.int64)

    def nearest(self, queries: Queries, m: int, exactly: bool) -> Found:
        """The nearest of each chunk: `exactly` m, else a share of twice m, which holds the nearest m unless they lie
        together; the bound says how far that goes.
        """
        share = m if exactly else max(m // 8 + 1, -(-2 * m // max(1, len(self.chunks))))

        def scan(chunk: tuple[int, int]) -> tuple[Floats, Indices]:
            first, last = chunk
            rows = self.embed(first, last, queries.weights)
            k = min(share, last - first)
            products, found = faiss.knn(queries.embedded, rows, k, metric=faiss.METRIC_INNER_PRODUCT)
            return 1.0 - products.astype(np.float64), found + first

        n_queries = len(queries)
        unseen = np.full(n_queries, np.inf)
        h2, rows = np.empty((n_queries, 0)), np.empty((n_queries, 0), np.int64)
        for (first, last), (new, found) in zip(self.chunks, self.pool.map(scan, self.chunks), strict=True):
            if share < last - first:
                unseen = np.minimum(unseen, new[:, -1] - self.error)
            h2, rows = np.concatenate([h2, new], axis=1), np.concatenate([rows, found], axis=1)
            if exactly and h2.shape[1] > 4 * m:
                kept = np.argpartition(h2, m - 1, axis=1)[:, :m]
                h2, rows = np.take_along_axis(h2, kept, axis=1), np.take_along_axis(rows, kept, axis=1)
                unseen = np.minimum(unseen, h2.max(axis=1) - self.error)
        return Found(self.name(rows), h2, unseen, np.full(n_queries, self.n))

    def closer(self, queries: Queries, limit: Floats, keep: Keep) -> tuple[list[Pairs], Indices]:
        wanted = with_threshold(queries, limit, self.error)

        def scan(chunk: tuple[int, int]) -> list[Pairs]:
            first, last = chunk
            rows = self.embed(first, last, queries.weights, 1.0)
            index = faiss.IndexFlatIP(rows.shape[1])
            index.add(rows)
            kept = []
            piece = max(1, _PAIRS_A_PIECE // len(rows))
            for start in range(0, len(wanted), piece):
                ends, _, found = index.range_search(wanted[start : start + piece], 0.0)
                query = np.repeat(np.arange(len(ends) - 1), np.diff(ends).astype(np.int64)) + start
                kept.append(keep(query, self.name(found.astype(np.int64) + first)))
            return kept

        parts = list(self.pool.map(scan, self.chunks))
        return [pairs for part in parts for pairs in part], np.full(len(queries), self.n)
