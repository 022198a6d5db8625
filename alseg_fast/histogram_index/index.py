"""HistogramIndex: the public class. Checks, locks and the order of events; the work is in the modules beside it."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..checks import check_choice, check_threads
from ..errors import RangeError, ShapeError
from . import search as searching
from .changes import TAIL_ROWS, add_rows, merge_class, remove_rows
from .id_checks import check_found, check_new, name_id
from .ids import take_ids
from .inputs import (
    Label,
    check_count,
    check_histograms,
    check_weights,
    name_labels,
    plain_label,
    take_labels,
    take_queries,
)
from .published import channel_sums, inverse
from .result import SearchResult, SearchStats
from .settings import Settings
from .state import Found, State
from .store import Home, load_index, save_index

_NAME = "HistogramIndex"


class HistogramIndex:
    """Exact nearest neighbours of histograms under the Jensen-Shannon divergence, class by class.

    The distance of two histograms of C channels is the sum over the channels of w_c * JSD_c, natural logarithm, each
    channel divided by its sum first. Neighbours are looked for within one class only.

    Rows are kept in immutable blocks, a list for each class. A call of `add` with many rows makes one block a class;
    few rows go into a tail that becomes a block of its own when it is large enough: nothing is ever rebuilt, and
    `optimize` merges what has piled up. Blocks of many rows are partitioned into cells, of which an exact search
    visits those that can hold a neighbour by the triangle inequality.

    Searching is thread-safe, also while another thread adds, removes or saves: a search sees the index as it was
    when it began.

    Args:
        dim: D, numbers a histogram has, over all channels.
        metric: "js", the only one.
        device: "auto" (the GPU where an implementation can run a search there, else the CPU) | "cpu" | "cuda".
        channels: C, equal parts of a histogram that are histograms of their own.
        weights: None: 1 / C each. C positive numbers: these. "published": 1 / Z_c of each class, Z_c the sum of the
            divergence over all ordered pairs of the class (Belharbi et al., 2021); recomputed when the class has
            changed. A channel whose Z_c is 0 counts as 0; if all are 0, all count 1 / C.
        dtype: "float32": rows are stored as they are given. "float16": each channel is divided by its sum and
            rounded, and distances are those of the rounded rows; half the memory.
        cells: "auto": about sqrt(n) for blocks from a few thousand rows on | None: none, every search is a full
            scan | a number of cells for blocks of at least twice as many rows.
        seed: of the cells and of the sample for "published" weights.
        max_rows_exact: with "published" weights, the size up to which Z_c is computed over all pairs of the class;
            above, over a sample of so many rows, scaled up.

    Attributes:
        info: facts of the user's own (JSON values) that are saved and loaded with the index.

    Example:
        >>> index = HistogramIndex(2)
        >>> index.add([7, 8, 9], [[1, 0], [1, 1], [0, 1]])
        >>> index.search([[3, 1]], k=2).ids
        array([[8, 7]])
    """

    def __init__(
        self,
        dim: int,
        metric: str = "js",
        device: str = "auto",
        *,
        channels: int = 1,
        weights: Any = None,
        dtype: str = "float32",
        cells: str | int | None = "auto",
        seed: int = 0,
        max_rows_exact: int = 4096,
    ) -> None:
        settings = Settings(
            dim=check_count(_NAME, "dim", dim),
            channels=check_count(_NAME, "channels", channels),
            weights=check_weights(_NAME, weights, int(channels)),
            dtype=check_choice(_NAME, "dtype", dtype, ("float32", "float16")),
            cells=cells if cells in ("auto", None) else check_count(_NAME, "cells", cells),
            seed=check_count(_NAME, "seed", seed, least=0),
            max_rows_exact=check_count(_NAME, "max_rows_exact", max_rows_exact, least=2),
        )
        check_choice(_NAME, "metric", metric, ("js",))
        if dim % channels:
            raise ShapeError(
                f"{_NAME}: dim must be a multiple of channels; got {dim} and {channels}. Channels are of equal size."
            )
        self._start(settings, device, State(None, {}), None, {})

    def _start(self, settings: Settings, device: str, state: State, home: Home | None, info: Mapping[str, Any]) -> None:
        self._settings = settings
        self._device = check_choice(_NAME, "device", device, searching.DEVICES)
        self._state = state
        self._home = home
        self._changing = threading.RLock()
        self.info: dict[str, Any] = dict(info)

    # What is in it

    def __len__(self) -> int:
        return len(self._state)

    def __repr__(self) -> str:
        return f"HistogramIndex({self._settings.dim}, {len(self):,} rows, {len(self._state.classes)} classes)"

    def __contains__(self, item: object) -> bool:
        try:
            wanted = take_ids(_NAME, "id", [item], None)
        except ValueError:
            return False
        except TypeError:
            return False
        return not len(self._state.find(wanted).missing())

    @property
    def dim(self) -> int:
        """Numbers a histogram has."""
        return self._settings.dim

    @property
    def channels(self) -> int:
        """Parts of a histogram that are histograms of their own."""
        return self._settings.channels

    @property
    def weights(self) -> Any:
        """As given: None, [C] float64 or "published"."""
        return self._settings.weights

    @property
    def dtype(self) -> str:
        """ "float32" or "float16"."""
        return self._settings.dtype

    @property
    def id_kind(self) -> str | None:
        """ "int" or "str"; None before the first add."""
        return self._state.kind

    @property
    def classes(self) -> dict[Label, int]:
        """Rows of each class by its label."""
        return {label: rows.count for label, rows in self._state.classes.items()}

    @property
    def blocks(self) -> dict[Label, list[int]]:
        """Rows of each block of each class, removed ones included: what `optimize` would merge."""
        return {label: [len(p.rows) for p in rows.parts] for label, rows in self._state.classes.items()}

    def ids(self, label: Any = None) -> NDArray[Any]:
        """Ids of all rows, or of one class, ascending: int64, or objects (str)."""
        state = self._state
        columns = [
            part.rows.ids.take(part.living()).to_numpy()
            for of, _, part in state.parts()
            if label is None or of == self._known(state, "HistogramIndex.ids", label)
        ]
        return np.sort(np.concatenate(columns)) if columns else np.empty(0, np.int64)

    def contains(self, ids: Any) -> NDArray[np.bool_]:
        """[n] whether each id is in the index."""
        return self._state.find(take_ids("HistogramIndex.contains", "ids", ids, None)).place >= 0

    def rows(self, ids: Any) -> NDArray[Any]:
        """[n, D] histograms of these ids as they are stored."""
        found = self._find("HistogramIndex.rows", ids)
        out = np.empty((len(found.row), self.dim), self.dtype)
        for i, (_, _, part) in enumerate(found.parts):
            here = found.place == i
            out[here] = part.rows.hist[found.row[here]]
        return out

    def labels_of(self, ids: Any) -> list[Label]:
        """The class of each id."""
        found = self._find("HistogramIndex.labels_of", ids)
        return [found.parts[place][0] for place in found.place]

    def channel_weights(self, label: Any = None) -> NDArray[np.float64]:
        """[C] w_c of the distances within a class."""
        state = self._state
        return self._weights(state, self._known(state, "HistogramIndex.channel_weights", label)).copy()

    # Changes

    def add(self, ids: Any, hist: Any, labels: Any = None) -> None:
        """Add rows; all of them or, with an error, none.

        Args:
            ids: n distinct ids that are not in the index: int64 or str, the kind is fixed by the first add.
            hist: [n, D] real numbers >= 0, finite in float32, each channel with a positive sum. Copied.
            labels: int or str, one a row or one for all; None: the class None.
        Raises: ShapeError, DtypeError, RangeError; the message names the first row that is wrong.
        Memory: one copy of the rows and 30 to 60 bytes a row.
        """
        name = "HistogramIndex.add"
        settings = self._settings
        array = check_histograms(name, "hist", hist, settings.dim, settings.channels)
        with self._changing:
            state = self._state
            column = take_ids(name, "ids", ids, state.kind)
            if len(column) != len(array):
                raise ShapeError(
                    f"{name}: ids must have one entry a row of hist, {len(array)}; got {len(column)}. "
                    "Pass one id a row."
                )
            known, codes = take_labels(name, labels, len(array))
            if not len(array):
                return
            check_new(name, column, state)
            self._state = add_rows(state, settings, column, array, known, codes)
            del column
            if len(array) >= TAIL_ROWS:
                pa.default_memory_pool().release_unused()  # what looking for repeated ids took

    def remove(self, ids: Any) -> None:
        """Remove rows; all of them or, with an error, none. Their memory is freed by `optimize` and by `save`, by the
        latter where more than half of a block is gone.

        Raises: RangeError: an id is not in the index, or is given twice.
        """
        name = "HistogramIndex.remove"
        with self._changing:
            state = self._state
            column = take_ids(name, "ids", ids, None)
            repeated = column.first_repeated()
            if repeated is not None:
                raise RangeError(
                    f"{name}: ids must be distinct; got {name_id(column, repeated)} twice. Name each id once."
                )
            found = state.find(column)
            check_found(name, column, found)
            if len(column):
                self._state = remove_rows(state, found)

    def optimize(self, labels: Any = None, *, max_rows: int | None = None) -> None:
        """Merge the blocks of a class into one and drop removed rows; distances and neighbours stay the same.

        Args:
            labels: the classes, one or several; None: all.
            max_rows: merge only blocks of together at most so many rows, for a bound on the memory.
        Memory: the merged block beside the old ones, one class at a time.
        """
        name = "HistogramIndex.optimize"
        most = None if max_rows is None else check_count(name, "max_rows", max_rows)
        with self._changing:
            chosen = self._state.classes if labels is None else take_labels(name, labels, _length(labels))[0]
            for label in [self._known(self._state, name, x) if labels is not None else x for x in chosen]:
                self._state = merge_class(self._state, self._settings, label, most)

    # Searching

    def search(
        self,
        queries: Any,
        labels: Any = None,
        k: int = 40,
        exact: bool = True,
        *,
        multiplier: int = 8,
        exclude: Any = None,
        within: Any = None,
        num_threads: int | None = None,
    ) -> SearchResult:
        """The k nearest rows to each query within its class, by (distance, id).

        Args:
            queries: [Q, D], as the rows of `add`.
            labels: the class to look in: one for all or one a query; None: the class None, or the only one.
            k: neighbours a query. A class with fewer rows gives fewer.
            exact: True: the true answer, certified for every query. False: only the multiplier * k rows nearest in
                Hellinger distance are looked at; `certified` says for which queries that gives the true answer.
            multiplier: candidates / k of a search that is not exact.
            exclude: one id a query that is no neighbour of it, such as its own, or None.
            within: in nats, a number or one a query: only rows at a distance below it.
            num_threads: None: all CPUs. The answer is the same for any number.
        Raises: ShapeError, DtypeError, RangeError (an unknown class, an empty index), BackendError.
        """
        name = "HistogramIndex.search"
        state = self._state
        hist, scale = take_queries(name, queries, self.dim, self.channels)
        n, k = len(hist), check_count(name, "k", k)
        candidates = searching.candidates_of(name, exact, multiplier, k)
        excluded = searching.take_exclude(name, exclude, n, state.kind)
        limits = searching.take_within(name, within, n)
        threads = check_threads(name, num_threads)
        known, codes = take_labels(name, labels, n)
        known = [self._known(state, name, label) for label in known]
        answer = searching.empty_answer(state.kind, n, k)
        for code, label in enumerate(known):
            here = np.flatnonzero(codes == code)
            asked = searching.Asked(hist, scale, k, candidates, excluded, limits, threads).only(here)
            part = searching.search_class(state, label, asked, self._weights(state, label), self._device)
            answer.fill(here, part)
        stats = SearchStats(answer.visited, answer.reranked, answer.rounds, answer.rows, answer.certified)
        return SearchResult(answer.ids, answer.distances, answer.certified, stats)

    # Files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index into a directory; only what is not there yet is written, and a save that is interrupted
        at any moment leaves the index that was there before.

        Blocks of which more than half is removed are compacted first.

        Args:
            path: a new or empty directory, or one with a saved index, which is replaced.
        Raises: IndexFileError: the directory holds something else, another process is writing there or has
            changed the index since it was loaded. RunError: it cannot be written.
        """
        with self._changing:
            for label, rows in list(self._state.classes.items()):
                if any(p.count * 2 < len(p.rows) for p in rows.parts):
                    self._state = merge_class(self._state, self._settings, label, None, only_sparse=True)
            self._home = save_index(path, self._settings, self._state, self._home, self.info)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, mmap: bool = True, device: str = "auto", verify: bool = False
    ) -> HistogramIndex:
        """Open a saved index.

        Args:
            mmap: map the files into memory, so that loading takes no time and several processes share the memory;
                False reads them.
            device: as for a new index.
            verify: also compare the checksum of every file, which reads all of them.
        Raises: IndexFileError: there is no index, it is damaged or foreign, or a newer version wrote it.
        """
        settings, state, home, info = load_index(path, mmap=mmap, verify=verify)
        index = cls.__new__(cls)
        index._start(settings, device, state, home, info)
        return index

    # Within

    def _find(self, name: str, ids: Any) -> Found:
        column = take_ids(name, "ids", ids, None)
        found = self._state.find(column)
        check_found(name, column, found)
        return found

    def _known(self, state: State, name: str, label: Any) -> Label:
        """The label if it is a class; of None the only class."""
        if not state.classes:
            raise RangeError(f"{name}: the index must hold rows; got an empty one. Add rows first.")
        plain = plain_label(label)
        if plain in state.classes:
            return plain
        if plain is None and len(state.classes) == 1:
            return next(iter(state.classes))
        raise RangeError(
            f"{name}: labels must be classes of the index: {name_labels(state.classes)}; got {plain!r}. "
            "Choose one of them."
        )

    def _weights(self, state: State, label: Label) -> NDArray[np.float64]:
        settings = self._settings
        if not settings.published:
            return settings.fixed_weights()
        rows = state.classes[label]

        def compute() -> NDArray[np.float64]:
            keys = [state.keys(part) for part in rows.parts]
            sums = channel_sums(list(rows.parts), keys, self.channels, settings.max_rows_exact, settings.seed)
            return inverse(sums)

        return rows.weights(compute)


def _length(labels: Any) -> int:
    return len(labels) if hasattr(labels, "__len__") and not isinstance(labels, str) else 1
