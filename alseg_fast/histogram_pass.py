"""The histograms of a pool: counted in its pictures, copied from the scores of a RUN, or in an index."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .errors import RunError, UsageError
from .histogram_index import HistogramIndex
from .ops.histogram_spec import HistogramSpec
from .picture_histograms import PictureHistograms
from .stages.decode import DEFAULT_MAX_PIXELS
from .stages.propagate_files import open_directory
from .stages.propagate_histograms import PART_IMAGES, HistogramRows, HistogramStore, IndexHistograms
from .stages.propagate_inputs import PropagationPool
from .stages.readers.uris import is_remote
from .stages.store import Run, open_run

Advance = Callable[[int, int], None]  # (images done, of which failed) since the last call
COLUMN = "histogram"


@dataclass(frozen=True)
class HistogramSource:
    """Where to take histograms from: a RUN, a saved index, or else the pictures themselves."""

    spec: HistogramSpec
    run: str | os.PathLike[str] | None = None
    index: str | os.PathLike[str] | None = None


def open_histograms(
    root: Path,
    pool: PropagationPool,
    source: HistogramSource,
    *,
    overwrite: bool = False,
    workers: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    decode_bytes: int = 1 << 30,
    storage_options: dict[str, Any] | None = None,
    on_start: Callable[[int, int], None] = lambda total, done: None,
    advance: Advance = lambda done, failed: None,
) -> tuple[HistogramRows, list[dict[str, str]]]:
    """The histograms of a pool, in the parts of the propagation's directory or in an index, and the images without.

    Raises: RunError: the directory is something else or was made with other histograms. UsageError: there are none.
    """
    if source.index is not None:
        index = IndexHistograms(HistogramIndex.load(os.fspath(source.index)), pool)
        open_directory(root, {"index": os.path.abspath(source.index)}, overwrite=overwrite)
        return index, _absent(pool, index, set(), "index")
    if source.run is not None:
        run = open_run(source.run)
        dim, channels = run_histogram(run)
        made_from = {"run": os.path.abspath(source.run), "config_hash": run.info["config_hash"]}
        open_directory(root, made_from, overwrite=overwrite)
        store = HistogramStore(root, dim, channels)
        on_start(len(pool), len(pool) - len(store.missing(pool)))
        copy_histograms(store, pool, run, advance)
    else:
        open_directory(root, {"spec": str(source.spec)}, overwrite=overwrite)
        store = HistogramStore(root, source.spec.dim, source.spec.channels)
        todo = store.missing(pool)
        on_start(len(pool), len(pool) - len(todo))
        pictures = PictureHistograms(source.spec, workers, max_pixels, decode_bytes, storage_options)
        compute_histograms(store, pool, todo, pictures, advance=advance)
    store.settle(pool)
    failures = store.failures(pool)
    return store, failures + _absent(pool, store, {row["image_id"] for row in failures}, "RUN")


def _absent(pool: PropagationPool, hist: HistogramRows, told: set[str], where: str) -> list[dict[str, str]]:
    """Failures of the images that have no histogram for no reason told yet."""
    rows = pa.array(np.flatnonzero(~hist.known))
    names, uris = pool.image_id.take(rows).to_pylist(), pool.uri.take(rows).to_pylist()
    return [
        {"image_id": name, "uri": uri, "stage": "histogram", "error": f"the {where} has no histogram of it"}
        for name, uri in zip(names, uris, strict=True)
        if name not in told
    ]


def compute_histograms(
    store: HistogramStore,
    pool: PropagationPool,
    rows: NDArray[np.int64],
    pictures: PictureHistograms,
    *,
    advance: Advance = lambda done, failed: None,
) -> None:
    """Decode the pictures of these rows and add their histograms, a part at a time. One that fails is recorded."""
    if not len(rows):
        return
    columns = (pool.uri, pool.offset, pool.size)
    items = ((row, tuple(column[row].as_py() for column in columns)) for row in rows.tolist())
    remote = is_remote(pool.uri[int(rows[0])].as_py())
    with closing(pictures.compute(items, remote=remote)) as results:
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
