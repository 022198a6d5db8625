"""What an index holds at one moment. A state is never changed, so that a search sees one while others are made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..kernels.js_knn.common import Block
from .ids import STR, Ids
from .inputs import Label
from .rows import Part, Rows


class ClassRows:
    """The parts of one class. Its channel weights are computed when they are first asked for."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)
        self.count = sum(p.count for p in parts)
        self._weights: NDArray[np.float64] | None = None
        self._lock = threading.Lock()

    def weights(self, compute: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
        """[C] what `compute` gives the first time."""
        with self._lock:
            if self._weights is None:
                self._weights = compute()
            return self._weights


@dataclass(frozen=True)
class Found:
    """Where ids lie: place[i] >= 0 is the position in `parts` (label, number within the class, part), row[i] the row
    there; -1 where an id is not in the index.
    """

    parts: list[tuple[Label, int, Part]]
    place: NDArray[np.int64]
    row: NDArray[np.int64]

    def missing(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.place < 0)


class State:
    """Classes by label, and the kind of the ids (None before the first add).

    Args:
        ranks: of an earlier state with the same rows or more: removing rows changes the order of no others.
    """

    def __init__(
        self,
        kind: str | None,
        classes: Mapping[Label, ClassRows],
        ranks: Mapping[Rows, NDArray[np.int64]] | None = None,
    ) -> None:
        self.kind = kind
        self.classes = dict(classes)
        self._ranks = ranks
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return sum(c.count for c in self.classes.values())

    def parts(self) -> Iterator[tuple[Label, int, Part]]:
        for label, rows in self.classes.items():
            for number, part in enumerate(rows.parts):
                yield label, number, part

    def find(self, wanted: Ids) -> Found:
        """Where each wanted id is."""
        parts = list(self.parts())
        place = np.full(len(wanted), -1, np.int64)
        row = np.full(len(wanted), -1, np.int64)
        for i, (_, _, part) in enumerate(parts):
            rows = part.find(wanted)
            here = rows >= 0
            place[here], row[here] = i, rows[here]
        return Found(parts, place, row)

    def ranks(self) -> Mapping[Rows, NDArray[np.int64]] | None:
        """The ranks if they were computed."""
        return self._ranks

    def keys(self, part: Part) -> NDArray[np.int64]:
        """[n] int64 that order the rows of all parts by id: int ids themselves, of text its rank among all."""
        if self.kind != STR:
            keys: NDArray[np.int64] = part.rows.ids.to_numpy()
            return keys
        with self._lock:
            if self._ranks is None:
                self._ranks = _rank([p.rows for _, _, p in self.parts()])
            return self._ranks[part.rows]

    def blocks(self, label: Label) -> list[Block]:
        """What a search of a class goes through."""
        return [part.block(self.keys(part)) for part in self.classes[label].parts if part.count]


def _rank(rows: Sequence[Rows]) -> dict[Rows, NDArray[np.int64]]:
    """Lexicographic rank of every id over all parts."""
    ids = pa.chunked_array([r.ids.arrow() for r in rows], pa.large_string())
    order = np.asarray(pc.sort_indices(ids))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    ends = np.cumsum([len(r) for r in rows])
    return dict(zip(rows, np.split(rank, ends[:-1]), strict=True))
