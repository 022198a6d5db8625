"""A block with cells as an inverted file of FAISS: only cells that the triangle inequality leaves are visited.

A row at distance r from its cell's centroid is at least |d - r| from a query at distance d from the centroid, so its h2
is at least (d - r)^2 / 2. FAISS's index holds a float32 copy of the embedded rows; it is made at the first search of a
block and goes with the block.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from .common import Block, Cells, embed
from .faiss_flat import FlatForm, with_threshold
from .faiss_library import faiss
from .faiss_rows import embed_float32, product_error
from .two_stage import Floats, Found, Indices, Keep, Pairs, Queries

_DISTANCE_ERROR = 1.1e-5  # of Cells.distance, and of the distances computed here
_PAYING_SHARE = 1 / 6  # of the rows: beyond, a matrix product with all of them is faster than FAISS's lists
_QUERIES_A_PIECE = 16
_ROWS_ADDED_AT_ONCE = 65536
_made: WeakKeyDictionary[Block, tuple[bytes, Any]] = WeakKeyDictionary()
_lock = Lock()


def inverted_file(block: Block, cells: Cells, weights: Floats) -> Any:
    """The block's IndexIVFFlat over (row, 1), for searches with a threshold as for those without."""
    with _lock:
        known = _made.get(block)
        if known is not None and known[0] == weights.tobytes():
            return known[1]
        n_cells, dim = cells.centroids.shape
        quantiser = faiss.IndexFlatIP(dim + 1)
        quantiser.add(np.column_stack([cells.centroids, np.ones(n_cells, np.float32)]))
        index = faiss.IndexIVFFlat(quantiser, dim + 1, n_cells, faiss.METRIC_INNER_PRODUCT)
        cell = np.repeat(np.arange(n_cells), np.diff(cells.offsets))
        for first in range(0, len(cell), _ROWS_ADDED_AT_ONCE):
            last = min(first + _ROWS_ADDED_AT_ONCE, len(cell))
            rows = embed_float32(block.hist, block.scale, weights, first, last, further=1.0)
            names, of_cell = np.arange(first, last), np.ascontiguousarray(cell[first:last])
            pointers = (faiss.swig_ptr(array) for array in (rows, names, of_cell))
            index.add_core(last - first, *pointers)
        _made[block] = (weights.tobytes(), index)
        return index


class Lists:
    """Searches of an inverted file whose lists are chosen for each query: [Q, P], -1 for none.

    The functions beneath FAISS's Python methods are called, since those take neither a number of lists of the call's
    own nor a selection of rows.
    """

    def __init__(self, index: Any, alive: Any) -> None:
        self.index = index
        self.selection: dict[str, Any] = {}
        if alive is not None:
            selector: Any = faiss.IDSelectorBitmap
            self.selection["sel"] = selector(np.packbits(alive, bitorder="little"))

    def _common(self, wanted: Any, lists: Indices) -> tuple[Any, ...]:
        arrays = np.ascontiguousarray(wanted), np.ascontiguousarray(lists), np.zeros(lists.shape, np.float32)
        parameters: Any = faiss.SearchParametersIVF
        return arrays, parameters(nprobe=lists.shape[1], **self.selection)

    def nearest(self, wanted: Any, lists: Indices, m: int) -> tuple[Any, Indices]:
        """Inner products and rows [Q, m]; rows are -1 behind the last."""
        arrays, parameters = self._common(wanted, lists)
        products, rows = np.empty((len(wanted), m), np.float32), np.empty((len(wanted), m), np.int64)
        queries, of_query, ignored, out, names = (faiss.swig_ptr(a) for a in (*arrays, products, rows))
        self.index.search_preassigned_c(len(wanted), queries, m, of_query, ignored, out, names, False, parameters)
        return products, rows

    def above_zero(self, wanted: Any, lists: Indices) -> tuple[Indices, Indices]:
        """Query and row of every positive inner product."""
        arrays, parameters = self._common(wanted, lists)
        found = faiss.RangeSearchResult(len(wanted))
        queries, of_query, ignored = (faiss.swig_ptr(a) for a in arrays)
        self.index.range_search_preassigned_c(len(wanted), queries, 0.0, of_query, ignored, found, False, parameters)
        ends = faiss.rev_swig_ptr(found.lims, len(wanted) + 1).astype(np.int64)
        rows = faiss.rev_swig_ptr(found.labels, int(ends[-1])).astype(np.int64)
        return np.repeat(np.arange(len(wanted)), np.diff(ends)), rows


class CellForm:
    """The inverted file where few cells are left, the flat scan for queries of which many are."""

    widest = 0

    def __init__(self, block: Block, cells: Cells, weights: Floats, pool: ThreadPoolExecutor) -> None:
        self.block, self.cells, self.pool = block, cells, pool
        self.flat = FlatForm(block, pool)
        self.lists = Lists(inverted_file(block, cells, weights), block.alive)
        self.error = product_error(block.hist.shape[1])
        self.sizes = np.diff(cells.offsets)
        filled = self.sizes > 0
        first, last = cells.offsets[:-1][filled], cells.offsets[1:][filled] - 1
        self.nearest_row, self.farthest_row = np.full((2, len(filled)), np.inf)
        self.nearest_row[filled], self.farthest_row[filled] = cells.distance[first], cells.distance[last]
        used = cells.weights > 0
        # Squared distances are at least so many times those that the cells were made by.
        self.stretch = float((weights[used] / cells.weights[used]).min())
        self.centroids = cells.centroids.astype(np.float64)

    def distances(self, queries: Queries) -> Floats:
        """[Q, L] from the queries to the centroids, in the embedding that the cells were made in."""
        points = embed(queries.hist, queries.scale, self.cells.weights)
        squared = (points**2).sum(axis=1)[:, None] + (self.centroids**2).sum(axis=1) - 2 * points @ self.centroids.T
        return np.asarray(np.sqrt(np.maximum(squared, 0)))

    def lower_bounds(self, distance: Floats) -> Floats:
        """[Q, L] what the h2 of every row of a cell is at least; inf where it has none."""
        filled = self.sizes > 0
        gap = np.maximum(distance - self.farthest_row, self.nearest_row - distance) - _DISTANCE_ERROR
        return np.where(filled, self.stretch * np.maximum(gap, 0.0) ** 2 / 2, np.inf)

    def nearest(self, queries: Queries, m: int, exactly: bool) -> Found:
        """Of the cells whose centroids are nearest, as many as hold m rows."""
        if exactly:
            return self.flat.nearest(queries, m, exactly)
        distance = self.distances(queries)
        bounds = self.lower_bounds(distance)
        order = np.argsort(np.where(self.sizes > 0, distance, np.inf), axis=1, kind="stable")
        living = self.sizes
        if self.block.alive is not None:
            before = np.concatenate([[0], np.cumsum(self.block.alive)])
            living = before[self.cells.offsets[1:]] - before[self.cells.offsets[:-1]]
        enough = np.minimum((np.cumsum(living[order], axis=1) < m).sum(axis=1) + 1, order.shape[1])
        probed = int(enough.max())
        lists = np.where(np.arange(probed) < enough[:, None], order[:, :probed], -1)
        unvisited = np.where(np.arange(order.shape[1]) < enough[:, None], np.inf, np.take_along_axis(bounds, order, 1))
        wanted = np.ascontiguousarray(np.column_stack([queries.embedded, np.zeros(len(queries), np.float32)]))

        def scan(first: int) -> tuple[Floats, Indices]:
            piece = slice(first, first + _QUERIES_A_PIECE)
            products, rows = self.lists.nearest(wanted[piece], lists[piece], m)
            return np.where(rows >= 0, 1.0 - products.astype(np.float64), np.inf), rows

        parts = list(self.pool.map(scan, range(0, len(queries), _QUERIES_A_PIECE)))
        h2, rows = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        visited = np.where(lists >= 0, living[lists], 0).sum(axis=1)
        last = np.where(rows[:, -1] >= 0, h2[:, -1] - self.error, np.inf)
        return Found(rows, h2, np.minimum(last, unvisited.min(axis=1)), visited)

    def closer(self, queries: Queries, limit: Floats, keep: Keep) -> tuple[list[Pairs], Indices]:
        left = self.lower_bounds(self.distances(queries)) <= limit[:, None]
        visited = (left * self.sizes).sum(axis=1)
        few = np.flatnonzero(visited <= _PAYING_SHARE * len(self.block.key))
        many = np.flatnonzero(visited > _PAYING_SHARE * len(self.block.key))
        wanted = with_threshold(queries, limit, self.error)

        def scan(first: int) -> Pairs:
            chosen = few[first : first + _QUERIES_A_PIECE]
            counts = left[chosen].sum(axis=1)
            lists = np.full((len(chosen), max(1, int(counts.max()))), -1)
            query, cell = np.nonzero(left[chosen])
            lists[query, np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)] = cell
            query, rows = self.lists.above_zero(wanted[chosen], lists)
            return keep(chosen[query], rows)

        kept = list(self.pool.map(scan, range(0, len(few), _QUERIES_A_PIECE)))
        if len(many):
            more, visited[many] = self.flat.closer(
                queries.take(many), limit[many], lambda query, row: keep(many[query], row)
            )
            kept += more
        return kept, visited
