"""Fills a directory's histogram parts: from the pictures of a pool, or from the scores of a RUN."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from . import config as environment
from .engine import is_remote
from .errors import DataError, RunError, UsageError
from .ops.histogram_spec import HistogramSpec
from .pipeline import Stage, run_ordered
from .seats import Seats
from .stages.decode import DEFAULT_MAX_PIXELS, DecodeBuffer, decode_image, peak_bytes
from .stages.fetch import fetch_bytes
from .stages.propagate_histograms import PART_IMAGES, HistogramStore
from .stages.propagate_inputs import PropagationPool
from .stages.store import Run
from .worker import MemoryGate

Advance = Callable[[int, int], None]  # (images done, of which failed) since the last call
COLUMN = "histogram"

_REMOTE_FETCHERS = 8
_GROUP = 4
_Found = bytes | NDArray[Any] | tuple[str, str]


def compute_histograms(
    store: HistogramStore,
    pool: PropagationPool,
    rows: NDArray[np.int64],
    spec: HistogramSpec,
    *,
    workers: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    decode_bytes: int = 1 << 30,
    storage_options: dict[str, Any] | None = None,
    advance: Advance = lambda done, failed: None,
) -> None:
    """Decode the pictures of these rows and add their histograms, a part at a time. One that fails is recorded."""
    workers = workers or environment.available_cpus()
    gate, seats = MemoryGate(decode_bytes), Seats()

    def fetch(_: None, row: int) -> tuple[int, _Found]:
        offset, size = pool.offset[row].as_py(), pool.size[row].as_py()
        try:
            return row, fetch_bytes(pool.uri[row].as_py(), offset, size, storage_options=storage_options)
        except DataError as error:
            return row, ("fetch", str(error))

    def count(state: tuple[DecodeBuffer, Any], item: tuple[int, _Found]) -> tuple[int, _Found]:
        row, found = item
        if not isinstance(found, bytes):
            return item
        buffer, seat = state
        seats.settle(seat)
        try:
            with gate.hold(peak_bytes(found)):
                picture = decode_image(found, max_pixels=max_pixels, buffer=buffer).image
                return row, spec.compute(picture)
        except (DataError, MemoryError) as error:
            return row, ("decode", " ".join(str(error).split()) or type(error).__name__)

    if not len(rows):
        return
    remote = is_remote(pool.uri[int(rows[0])].as_py())
    stages = [
        Stage("fetch", fetch, _REMOTE_FETCHERS if remote else 1),
        Stage("histogram", count, workers, lambda: (DecodeBuffer(), seats.join())),
    ]
    in_flight = _GROUP * (max(4, 3 * workers) + (_REMOTE_FETCHERS if remote else 0))
    with closing(run_ordered(rows.tolist(), stages, in_flight=in_flight, group=_GROUP)) as results:
        for part in _chunks(results, PART_IMAGES):
            found = [hist for _, hist in part]
            ids, uris = (
                column.take(pa.array([row for row, _ in part])).to_pylist() for column in (pool.image_id, pool.uri)
            )
            store.add(ids, uris, found)
            advance(len(part), sum(isinstance(hist, tuple) for hist in found))


def _chunks(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    part: list[Any] = []
    for item in items:
        part.append(item)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def run_histogram(run: Run) -> tuple[int, int]:
    """(dim, channels) of the histograms of a RUN. Raises: UsageError: it has none."""
    spec = run.info["config"].get(COLUMN)
    if spec is None or COLUMN not in run.score_schema().names:
        raise UsageError(f"{run.path} has no histograms; score the pool with --histogram belharbi, or leave --run out")
    parsed = HistogramSpec.parse(spec)
    return parsed.dim, parsed.channels


def copy_histograms(
    store: HistogramStore, pool: PropagationPool, run: Run, advance: Advance = lambda done, failed: None
) -> None:
    """Add the histograms that a RUN has of the pool's images, a part for each of the RUN's parts."""
    todo = np.zeros(len(pool), np.bool_)
    todo[store.missing(pool)] = True
    for index in run.parts_done:
        if not todo.any():
            return
        table = run.score_part(index, ["image_id", COLUMN]).combine_chunks()
        ids = table.column("image_id").cast(pa.string())
        rows = pool.rows_of(pa.concat_arrays(ids.chunks))
        wanted = np.flatnonzero((rows >= 0) & todo[rows])
        if not len(wanted):
            continue
        column = table.column(COLUMN).chunk(0)
        hist = np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(-1, store.dim)
        if len(hist) != len(table):
            raise RunError(f"{run.path} has rows without a histogram; score the pool into another RUN")
        names = pool.image_id.take(pa.array(rows[wanted])).to_pylist()
        uris = pool.uri.take(pa.array(rows[wanted])).to_pylist()
        store.add(names, uris, list(hist[wanted]), hist.dtype)
        todo[rows[wanted]] = False
        advance(len(wanted), 0)
