"""alseg index: fills a saved HistogramIndex from a RUN, a Parquet file or a pool, and asks it.

What is committed stays: every few thousand images the index is saved (an atomic step) and only then reported, so a
process may be killed at any moment; the same command with skip_existing goes on from there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .config import available_cpus
from .engine import is_remote
from .errors import AlsegError, DataError, UsageError
from .histogram_index import HistogramIndex, SearchResult
from .histogram_index.ids import INT, take_ids
from .histogram_index.store import is_index
from .ops.histogram_spec import HistogramSpec
from .pipeline import Stage, run_ordered
from .stages.decode import DEFAULT_MAX_PIXELS, DecodeBuffer, decode_image, peak_bytes
from .stages.fetch import fetch_bytes
from .stages.index_failures import Failures
from .stages.index_tables import (
    Rows,
    TableSource,
    failure,
    has_histograms,
    labels_for,
    own_table,
    parquet_source,
    run_source,
)
from .stages.pool import Pool, open_pool
from .stages.run_layout import RUN_JSON
from .stages.run_reader import Run, open_run
from .worker import MemoryGate

HISTOGRAM = "histogram"  # key of HistogramIndex.info
DEFAULT_SPEC = "rgb:32"
COMMIT_IMAGES = 4096
"""Images of a pool between two commits: some seconds of work, against some hundredths for the commit."""
COMMIT_ROWS = 1 << 16
"""Rows of a table between two commits: they cost nothing to make, so the blocks may be large."""
COMMIT_SECONDS = 30.0  # and no later than this, however slow the images come
DEFAULT_MAX_MEMORY = 2 << 30
_COPIES = 6  # of a row: as read, as collected, in a block, and what a merge holds beside it
_REMOTE_FETCHERS = 16
_PIXEL_SHARE = 4  # of the memory, one in so many bytes is for decoded pictures

OnStart = Callable[[int, int], None]
OnCommit = Callable[[int, int], None]


@dataclass(frozen=True)
class IndexSummary:
    """What a command did.

    Attributes:
        added: rows that came into the index.
        failed: images of this call without a row; failures.parquet says why.
        skipped: images that were in the index before.
        rows: rows of the index now.
        classes: rows of each class.
    """

    path: str
    added: int
    failed: int
    skipped: int
    rows: int
    classes: dict[Any, int]
    seconds: float


class Source(Protocol):
    """Where rows come from; see TableSource."""

    name: str
    ids: pa.Array
    dim: int
    spec: HistogramSpec | None
    channels: int

    def rows(self, wanted: NDArray[np.bool_], at_a_time: int) -> Iterator[Rows]: ...


class PoolSource:
    """The pictures of a pool; their histograms are computed on worker threads."""

    def __init__(self, pool: Pool, spec: HistogramSpec, workers: int | None, max_pixels: int, memory: int) -> None:
        self.name = pool.source
        self.ids = pool.table.column("image_id").combine_chunks()
        self.dim = spec.dim
        self.spec: HistogramSpec | None = spec
        self._spec = spec
        self.channels = spec.channels
        self._pool = pool
        self._workers = workers or available_cpus()
        self._max_pixels = max_pixels
        self._gate = MemoryGate(max(memory // _PIXEL_SHARE, 1))

    def rows(self, wanted: NDArray[np.bool_], at_a_time: int) -> Iterator[Rows]:
        table = self._pool.table
        columns = [table.column(name) for name in ("image_id", "uri", "offset", "size")]

        def items() -> Iterator[tuple[Any, ...]]:
            for number in np.flatnonzero(wanted).tolist():
                yield number, *(column[number].as_py() for column in columns)

        remote = is_remote(table.column("uri")[0].as_py())
        stages = [
            Stage("fetch", lambda _, item: (item, _fetched(item)), _REMOTE_FETCHERS if remote else 1),
            Stage("histogram", self._computed, self._workers, DecodeBuffer),
        ]
        in_flight = 4 * self._workers + (_REMOTE_FETCHERS if remote else 0)
        collected = Rows([], [], np.empty((at_a_time, self.dim), np.float32))
        with closing(run_ordered(items(), stages, in_flight=in_flight)) as results:
            for (number, image_id, uri, *_), outcome in results:
                if isinstance(outcome, np.ndarray):
                    collected.hist[len(collected.ids)] = outcome
                    collected.ids.append(image_id)
                    collected.numbers.append(number)
                else:
                    collected.failures.append(failure(image_id, uri, *outcome))
                if len(collected.ids) + len(collected.failures) == at_a_time:
                    yield _trimmed(collected)
                    collected = Rows([], [], np.empty((at_a_time, self.dim), np.float32))
        yield _trimmed(collected)

    def _computed(self, buffer: DecodeBuffer, task: tuple[Any, Any]) -> tuple[Any, Any]:
        item, data = task
        if not isinstance(data, bytes):
            return task
        try:
            with self._gate.hold(peak_bytes(data)):
                image = decode_image(data, max_pixels=self._max_pixels, buffer=buffer).image
                return item, self._spec.compute(image)
        except (AlsegError, MemoryError) as error:
            return item, ("decode", _one_line(error))


def _fetched(item: tuple[Any, ...]) -> Any:
    _, _, uri, offset, size = item
    try:
        return fetch_bytes(uri, offset, size)
    except DataError as error:
        return "fetch", _one_line(error)


def _trimmed(rows: Rows) -> Rows:
    return Rows(rows.ids, rows.numbers, rows.hist[: len(rows.ids)], rows.failures)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@dataclass(frozen=True)
class Filling:
    """How to read a source.

    Attributes:
        labels: "auto" | "none" | "predicted" | a manifest with columns image_id and label.
        max_memory: bytes, a bound on what is held of rows and pictures beside the mapped index.
        commit_images: images between two commits; None: as many as suit the source.
    """

    labels: str = "auto"
    workers: int | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    max_memory: int = DEFAULT_MAX_MEMORY
    commit_images: int | None = None
    on_start: OnStart | None = None
    on_commit: OnCommit | None = None


def build_index(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    histogram: str | None = None,
    channels: int | None = None,
    weights: str | Sequence[float] | None = None,
    dtype: str = "float32",
    cells: str | int | None = "auto",
    seed: int = 0,
    overwrite: bool = False,
    filling: Filling | None = None,
) -> IndexSummary:
    """Make an index of a source and merge each class into one block.

    Args:
        source: a RUN with histograms, a Parquet file with columns image_id and histogram, or a pool.
        histogram: which histogram the pictures of a pool get (`rgb:32` if not given); of other sources it says what
            they hold, where they do not say so themselves.
        channels: of histograms that neither the source nor `histogram` describes.
        overwrite: replace an index that is there.
    """
    filling = filling or Filling()
    if not overwrite and is_index(out):
        raise UsageError(
            f"{os.fspath(out)} is an index already; go on with alseg index add {os.fspath(out)} SOURCE "
            "--skip-existing, or start again with --overwrite"
        )
    spec = HistogramSpec.parse(histogram) if histogram else None
    opened, run = _open_source(source, spec, HistogramSpec.parse(DEFAULT_SPEC), filling)
    if opened.dim < 1:
        raise UsageError(f"{opened.name} has no histograms to tell their width from; give another source")
    described = opened.spec
    if described and channels and channels != described.channels:
        raise UsageError(f"--channels must be {described.channels} for {described}; got {channels}; leave it out")
    opened.channels = channels or opened.channels
    index = HistogramIndex(
        opened.dim,
        channels=opened.channels,
        weights=weights,
        dtype=dtype,
        cells=cells,
        seed=seed,
    )
    if described:
        index.info[HISTOGRAM] = str(described)
    index.save(out)
    summary, index = _fill(index, Path(out), source, opened, run, filling, skip_existing=False)
    _merge(index, Path(out), filling)
    return summary


def add_to_index(
    path: str | os.PathLike[str],
    source: str | os.PathLike[str],
    *,
    skip_existing: bool = False,
    filling: Filling | None = None,
) -> IndexSummary:
    """Add the rows of a source to a saved index.

    Args:
        skip_existing: leave out ids that are in the index; else one of them is an error before anything is added.
    """
    filling = filling or Filling()
    index = HistogramIndex.load(path)
    text = index.info.get(HISTOGRAM)
    spec = HistogramSpec.parse(text) if text else None
    opened, run = _open_source(source, spec, None, filling)
    if (len(index) and opened.dim != index.dim) or opened.dim not in (0, index.dim):
        raise UsageError(
            f"histograms of {opened.name} have {opened.dim} numbers, those of {os.fspath(path)} {index.dim}; "
            "give histograms of the same kind"
        )
    opened.channels = index.channels
    summary, _ = _fill(index, Path(path), source, opened, run, filling, skip_existing=skip_existing)
    return summary


def _open_source(
    source: str | os.PathLike[str], spec: HistogramSpec | None, default: HistogramSpec | None, filling: Filling
) -> tuple[Source, Run | None]:
    path = Path(source)
    if (path / RUN_JSON).is_file():
        run = open_run(path)
        opened = run_source(run)
        if spec and opened.spec and spec != opened.spec:
            raise UsageError(f"histograms of {path} are {opened.spec}, not {spec}; score the pool with that, or use it")
        opened.spec = opened.spec or spec
        return opened, run
    if has_histograms(path):
        return parquet_source(path, spec), None
    wanted = spec or default
    if wanted is None:
        raise UsageError(
            f"{path} is a pool, and the index does not say which histogram it holds; give a RUN or Parquet"
        )
    pool = open_pool(source)
    return PoolSource(pool, wanted, filling.workers, filling.max_pixels, filling.max_memory), None


def _labels(source: str | os.PathLike[str], opened: Source, run: Run | None, how: str) -> list[Any] | None:
    own = opened._pool.table if isinstance(opened, PoolSource) else own_table(source, run)
    labels = labels_for(opened.ids, how, opened.name, own, run)
    return None if labels is None else labels.to_pylist()


def _fill(
    index: HistogramIndex,
    path: Path,
    source: str | os.PathLike[str],
    opened: Source,
    run: Run | None,
    filling: Filling,
    *,
    skip_existing: bool,
) -> tuple[IndexSummary, HistogramIndex]:
    start = time.monotonic()
    labels = _labels(source, opened, run, filling.labels)
    present = index.contains(opened.ids)
    skipped = int(present.sum())
    if skipped and not skip_existing:
        first = opened.ids[int(present.argmax())].as_py()
        raise UsageError(
            f"{skipped:,} images of {opened.name} are in {path} already, such as {first!r}; "
            "give --skip-existing to leave them out"
        )
    if filling.on_start:
        filling.on_start(len(present), skipped)
    failures = Failures(path)
    per_commit = _rows_within(filling, opened)
    added = failed = 0
    waiting: list[Rows] = []
    last = time.monotonic()

    def commit() -> HistogramIndex:
        nonlocal added, failed, last
        ids = [image_id for rows in waiting for image_id in rows.ids]
        broken = [row for rows in waiting for row in rows.failures]
        if not ids and not broken:
            return index
        if ids:
            numbers = [n for rows in waiting for n in rows.numbers]
            chosen = None if labels is None else [labels[n] for n in numbers]
            index.add(ids, np.concatenate([rows.hist for rows in waiting if len(rows.ids)]), chosen)
            index.save(path)
        failures.update(broken, ids)
        failures.write()
        added, failed, last = added + len(ids), failed + len(broken), time.monotonic()
        waiting.clear()
        if filling.on_commit:
            filling.on_commit(len(ids) + len(broken), len(broken))
        # Mapped files take the place of the rows in memory.
        return HistogramIndex.load(path) if ids else index

    for rows in opened.rows(~present, max(1, per_commit // 4)):
        waiting.append(rows if labels is None else _labelled(rows, labels))
        count = sum(len(r.ids) + len(r.failures) for r in waiting)
        if count >= per_commit or time.monotonic() - last > COMMIT_SECONDS:
            index = commit()
    index = commit()
    seconds = time.monotonic() - start
    return IndexSummary(str(path), added, failed, skipped, len(index), index.classes, seconds), index


def _labelled(rows: Rows, labels: list[Any]) -> Rows:
    """The rows that have a label; the others as failures."""
    kept = [i for i, number in enumerate(rows.numbers) if labels[number] is not None]
    if len(kept) == len(rows.ids):
        return rows
    without = set(range(len(rows.ids))) - set(kept)
    text = "it has no label; add one, or index without labels (--labels none)"
    failures = rows.failures + [failure(rows.ids[i], None, "label", text) for i in sorted(without)]
    return Rows([rows.ids[i] for i in kept], [rows.numbers[i] for i in kept], rows.hist[kept], failures)


def _rows_within(filling: Filling, source: Source) -> int:
    """Rows between two commits."""
    usual = COMMIT_ROWS if isinstance(source, TableSource) else COMMIT_IMAGES
    return max(1, min(filling.commit_images or usual, filling.max_memory // (_COPIES * 4 * max(1, source.dim))))


def _merge(index: HistogramIndex, path: Path, filling: Filling) -> None:
    """Merge the blocks of each class, saving whenever what is in memory nears the limit."""
    most = max(1, filling.max_memory // (2 * 4 * index.dim))
    held = 0
    for label, rows in index.classes.items():
        if held and held + rows > most:
            index.save(path)
            index, held = HistogramIndex.load(path), 0
        index.optimize([label], max_rows=most) if label is not None else index.optimize(max_rows=most)
        held += rows
    index.save(path)


def query_index(
    path: str | os.PathLike[str],
    *,
    image_id: str | None = None,
    image: str | None = None,
    label: str | None = None,
    k: int = 10,
    exact: bool = True,
    multiplier: int = 8,
    within: float | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> tuple[SearchResult, Any]:
    """The neighbours of an image of the index (which is no neighbour of itself) or of a picture; and the class.

    Args:
        image_id: one of the index; exactly one of image_id and image.
        image: path or URL of a picture, whose histogram is computed as those of the index were.
        label: the class to look in; None: that of image_id, or the only one.
    """
    index = HistogramIndex.load(path)
    chosen: Any = _label_of(index, label)
    if image_id is not None:
        key = _id_of(index, image_id)
        queries = index.rows([key]).astype(np.float32)
        chosen = index.labels_of([key])[0] if label is None else chosen
    else:
        text = index.info.get(HISTOGRAM)
        if text is None:
            raise UsageError(f"{os.fspath(path)} does not say which histogram it holds; query it with --id")
        pixels = decode_image(fetch_bytes(str(image)), max_pixels=max_pixels).image
        queries, key = HistogramSpec.parse(text).compute(pixels)[None], None
    found = index.search(queries, chosen, k, exact, multiplier=multiplier, exclude=[key], within=within)
    return found, chosen


def _label_of(index: HistogramIndex, label: str | None) -> Any:
    """A label of the command line: text as it is, or the integer that it writes."""
    if label is None or label in index.classes:
        return label
    number = label.removeprefix("-")
    return int(label) if number.isdecimal() and int(label) in index.classes else label


def _id_of(index: HistogramIndex, text: str) -> Any:
    if index.id_kind == INT:
        if not text.removeprefix("-").isdecimal():
            raise UsageError(f"--id must be a whole number, as the ids of the index are; got {text!r}")
        return int(take_ids("alseg index query", "--id", [int(text)], INT).to_numpy()[0])
    return text
