"""Immutable blocks of rows: gathered into their final order straight from where the rows lie."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..kernels.js_knn.common import Block, Cells
from .cells import cell_count, make_cells
from .ids import Ids, concat_ids
from .inputs import BLOCK_ROWS, channel_scale


@dataclass(frozen=True, eq=False)
class Rows:
    """n rows with distinct ids; hist, scale and cells as in ``kernels/js_knn/common.py``. Never changed."""

    hist: NDArray[Any]
    scale: NDArray[np.float64]
    ids: Ids
    cells: Cells | None

    def __len__(self) -> int:
        return len(self.ids)


class Part:
    """Rows of a class and which of them are alive (None: all). Only the cached block changes."""

    def __init__(self, rows: Rows, alive: NDArray[np.bool_] | None = None) -> None:
        self.rows = rows
        self.alive = alive
        self.count = len(rows) if alive is None else int(alive.sum())
        self._block: Block | None = None

    def block(self, key: NDArray[np.int64]) -> Block:
        """What is searched; the same object as long as the keys are the same."""
        if self._block is None or self._block.key is not key:
            rows = self.rows
            self._block = Block(rows.hist, rows.scale, key, self.alive, rows.cells)
        return self._block

    def living(self) -> NDArray[np.int64]:
        """Numbers of the rows that are alive."""
        return np.arange(len(self.rows)) if self.alive is None else np.flatnonzero(self.alive)

    def find(self, wanted: Ids) -> NDArray[np.int64]:
        """Row of each wanted id that is alive, -1 where there is none."""
        rows = self.rows.ids.find(wanted)
        if self.alive is not None:
            rows[(rows >= 0) & ~self.alive[rows]] = -1
        return rows

    def without(self, rows: NDArray[np.int64]) -> Part:
        """The part after these rows are removed."""
        alive = np.ones(len(self.rows), np.bool_) if self.alive is None else self.alive.copy()
        alive[rows] = False
        return Part(self.rows, alive)


class Source:
    """Rows that are to become one block: some rows of some arrays.

    Args:
        arrays: [n_i, D] each.
        members: of each array the numbers of its rows that are meant.
        dtype: float32 (values as they are) or float16 (each channel divided by its sum, then rounded).
        stored: the arrays are blocks of an index already, so that nothing is to be converted.
    """

    def __init__(
        self,
        arrays: Sequence[NDArray[Any]],
        members: Sequence[NDArray[np.int64]],
        channels: int,
        dtype: DTypeLike,
        *,
        stored: bool,
    ) -> None:
        self._arrays = arrays
        self._members = members
        self._starts = np.concatenate(([0], np.cumsum([len(m) for m in members]))).tolist()
        self._channels = channels
        self.dtype = np.dtype(dtype)
        self._stored = stored
        self.dim = arrays[0].shape[1]

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """[m, D] in the storage dtype: the rows of these numbers, 0 .. len - 1 over all members."""
        if len(self._arrays) == 1:
            return self._converted(self._arrays[0][self._members[0][numbers]])
        out = np.empty((len(numbers), self.dim), self.dtype)
        order = np.argsort(numbers, kind="stable")
        ascending = numbers[order]
        place = 0
        while place < len(order):
            which = bisect_right(self._starts, int(ascending[place])) - 1
            end = int(np.searchsorted(ascending, self._starts[which + 1]))
            local = self._members[which][ascending[place:end] - self._starts[which]]
            out[order[place:end]] = self._converted(self._arrays[which][local])
            place = end
        return out

    def _converted(self, rows: NDArray[Any]) -> NDArray[Any]:
        if self._stored or self.dtype == np.float32:
            return np.ascontiguousarray(rows, self.dtype)
        rows = rows.astype(np.float32)
        bins = self.dim // self._channels
        return (rows * np.repeat(channel_scale(rows, self._channels), bins, axis=1)).astype(self.dtype)


def build_rows(source: Source, ids: Ids, cells: str | int | None, weights: NDArray[np.float64], seed: int) -> Rows:
    """The rows of a source as one block, with cells where their number asks for it.

    Args:
        ids: of the source's rows in their order.
        weights: [C] float64, sum 1: of the embedding that the cells are made in.
    Memory: the block, 16 bytes a row, and a few megabytes.
    """
    n, channels = len(source), len(weights)
    count = cell_count(n, cells)
    order, made = make_cells(source.take, n, count, weights, seed) if count else (np.arange(n), None)
    hist = np.empty((n, source.dim), source.dtype)
    scale = np.empty((n, channels), np.float64)
    for start in range(0, n, BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        hist[part] = source.take(order[part])
        scale[part] = channel_scale(hist[part], channels)
    for array in (hist, scale):
        array.flags.writeable = False
    return Rows(hist, scale, ids.take(order) if made else ids, made)


def merge_parts(
    parts: Sequence[Part], cells: str | int | None, weights: NDArray[np.float64], seed: int, more: Rows | None = None
) -> Rows:
    """The living rows of several parts, and the rows `more` behind them, as one block."""
    arrays = [p.rows.hist for p in parts] + ([more.hist] if more else [])
    members = [p.living() for p in parts] + ([np.arange(len(more))] if more else [])
    ids = [p.rows.ids.take(m) for p, m in zip(parts, members, strict=False)] + ([more.ids] if more else [])
    source = Source(arrays, members, len(weights), arrays[0].dtype, stored=True)
    return build_rows(source, concat_ids(ids), cells, weights, seed)
