"""Where a propagation gets histograms from: computed or copied into parts of its directory, or an index.

Parts are only added, never changed: part-NNNNN.npy with the rows [m, D] and part-NNNNN.parquet with image_id, uri, the
row (null: there is none) and why. The Parquet file is written last and makes the part count.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..atomic import make_directory, remove_leftovers, write_atomic
from ..errors import UsageError
from .propagate_inputs import PropagationPool

log = logging.getLogger("alseg")

FOLDER = "histograms"
PART_IMAGES = 256
_PART = re.compile(r"^part-(\d{5,})\.parquet$")
_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("row", pa.int32()),
        ("stage", pa.string()),
        ("error", pa.string()),
    ]
)


class HistogramRows(Protocol):
    """Histograms of a pool's images.

    dim, channels: numbers of a histogram, and how many parts of it sum to 1 each.
    known: [n] bool, whether the image has one.
    """

    dim: int
    channels: int
    known: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """[m, D] float32 of rows of the pool that are known."""
        ...


class IndexHistograms:
    """The rows of a histogram index, by image_id."""

    def __init__(self, index: Any, pool: PropagationPool) -> None:
        self._index, self._pool = index, pool
        self.dim, self.channels = int(index.dim), int(index.channels)
        self._kind = int if index.id_kind == "int" else str
        names = pa.array([str(name) for name in index.ids().tolist()], pa.string())
        self.known = np.asarray(pc.is_in(pool.image_id, value_set=names), np.bool_)
        if not self.known.any():
            raise UsageError(
                f"the index has none of the {len(pool):,} images of the pool, such as {pool.image_id[0]}; use the same "
                "image_id in both"
            )

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        ids = [self._kind(name) for name in self._pool.image_id.take(pa.array(rows)).to_pylist()]
        return np.asarray(self._index.rows(ids), np.float32)


def usable(hist: NDArray[Any], channels: int) -> NDArray[np.bool_]:
    """[n] bool: finite, not negative, and something in every channel."""
    parts = hist.reshape(len(hist), channels, -1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.isfinite(parts).all((1, 2)) & (parts >= 0).all((1, 2)) & (parts.sum(2) > 0).all(1))


class HistogramStore:
    """The parts of one directory.

    Args:
        root: the directory of the propagation.
        dim, channels: of every row.
    """

    def __init__(self, root: Path, dim: int, channels: int) -> None:
        self._folder = root / FOLDER
        self.dim, self.channels = dim, channels
        make_directory(self._folder)
        remove_leftovers(self._folder)
        self._arrays: list[NDArray[Any]] = []
        self._tables: list[pa.Table] = []
        self._next = 0
        for path in sorted(p for p in self._folder.iterdir() if _PART.match(p.name)):
            self._next = max(self._next, int(_PART.match(path.name)[1]) + 1)  # type: ignore[index]
            self._open(path)
        self.known = np.zeros(0, np.bool_)
        self._place = np.zeros(0, np.int64)
        self._offsets = np.zeros(1, np.int64)

    def _open(self, path: Path) -> None:
        try:
            array = np.load(path.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
            table = pq.read_table(path, schema=_SCHEMA)
            rows = table.column("row").drop_null()
            if array.ndim != 2 or array.shape[1] != self.dim or len(rows) != len(array):
                raise ValueError(f"it holds {list(array.shape)}")
        except (OSError, ValueError, pa.ArrowException) as exc:
            log.warning("%s is damaged and is made again: %s", path, exc)
            return
        self._arrays.append(array)
        self._tables.append(table)

    def missing(self, pool: PropagationPool) -> NDArray[np.int64]:
        """Rows of the pool that no part has, with or without success; a changed uri counts as missing."""
        if not self._tables:
            return np.arange(len(pool))
        rows = self._rows(pool)
        found = rows >= 0
        uris = self._column("uri")
        same = np.zeros(len(pool), np.bool_)
        same[found] = np.asarray(pc.equal(uris.take(pa.array(rows[found])), pool.uri.filter(pa.array(found))), np.bool_)
        return np.flatnonzero(~same)

    def _column(self, name: str) -> pa.Array:
        """Newest first, so that the newest row of an image is found."""
        return pa.concat_arrays([chunk for table in reversed(self._tables) for chunk in table.column(name).chunks])

    def _rows(self, pool: PropagationPool) -> NDArray[np.int64]:
        found = pc.index_in(pool.image_id, value_set=self._column("image_id")).fill_null(-1)
        return np.asarray(found.to_numpy(), np.int64)

    def add(
        self,
        ids: Sequence[str],
        uris: Sequence[str],
        rows: Sequence[NDArray[Any] | tuple[str, str]],
        dtype: Any = np.float32,
    ) -> None:
        """Write a part: of each image its histogram [D], or (stage, error)."""
        good = [row for row in rows if not isinstance(row, tuple)]
        hist = np.stack(good).astype(dtype, copy=False) if good else np.empty((0, self.dim), dtype)
        ok = usable(hist, self.channels)
        places: list[int | None] = []
        why: list[tuple[str | None, str | None]] = []
        kept = seen = 0
        for row in rows:
            if isinstance(row, tuple):
                places.append(None)
                why.append(row)
                continue
            places.append(kept if ok[seen] else None)
            why.append((None, None) if ok[seen] else ("histogram", "the histogram is empty, negative or not finite"))
            kept += int(ok[seen])
            seen += 1
        table = pa.table([list(ids), list(uris), places, [w[0] for w in why], [w[1] for w in why]], schema=_SCHEMA)
        path = self._folder / f"part-{self._next:05d}.parquet"
        hist = np.ascontiguousarray(hist[ok])
        write_atomic(path.with_suffix(".npy"), lambda file: np.save(file, hist, allow_pickle=False))
        write_atomic(path, lambda file: pq.write_table(table, file))
        self._next += 1
        self._open(path)

    def settle(self, pool: PropagationPool) -> None:
        """Find the pool's images in the parts; `take` and `failures` need it, `missing` and `add` do not."""
        self.known = np.zeros(len(pool), np.bool_)
        if not self._tables:
            return
        rows = self._rows(pool)
        met = np.flatnonzero(rows >= 0)
        inside = self._column("row").take(pa.array(rows[met]))
        self.known[met] = np.asarray(pc.is_valid(inside), np.bool_)
        sizes = [len(table) for table in reversed(self._tables)]
        part = np.searchsorted(np.cumsum(sizes), rows[met], side="right")  # counted from the newest
        part = len(self._tables) - 1 - part
        self._offsets = np.concatenate([[0], np.cumsum([len(a) for a in self._arrays])])
        self._place = np.full(len(pool), -1)
        self._place[met] = self._offsets[part] + np.asarray(inside.fill_null(0).to_numpy(), np.int64)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        places = self._place[rows]
        part = np.searchsorted(self._offsets, places, side="right") - 1
        out = np.empty((len(rows), self.dim), np.float32)
        for i in np.unique(part):
            mine = np.flatnonzero(part == i)
            out[mine] = self._arrays[i][places[mine] - self._offsets[i]]
        return out

    def failures(self, pool: PropagationPool) -> list[dict[str, str]]:
        """{image_id, uri, stage, error} of the pool's images without a histogram that a part tells of."""
        if not self._tables:
            return []
        rows = self._rows(pool)[~self.known]
        table = pa.table({name: self._column(name) for name in ("image_id", "uri", "stage", "error")})
        found: list[dict[str, str]] = table.take(pa.array(rows[rows >= 0])).to_pylist()
        return found
