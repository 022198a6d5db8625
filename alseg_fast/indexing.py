"""alseg index build and add: fill a saved HistogramIndex from a RUN, a Parquet file or a pool.

What is committed stays: every few thousand images the index is saved (an atomic step) and only then reported, so a
process may be killed at any moment; the same command with skip_existing goes on from there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .errors import UsageError
from .histogram_index import HistogramIndex
from .histogram_index.store import is_index
from .index_pictures import PoolSource
from .ops.histogram_spec import HistogramSpec
from .stages.decode import DEFAULT_MAX_PIXELS
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
from .stages.pool import open_pool
from .stages.run_layout import RUN_JSON
from .stages.run_reader import Run, open_run

HISTOGRAM = "histogram"  # key of HistogramIndex.info
DEFAULT_SPEC = "rgb:32"
COMMIT_IMAGES = 4096
"""Images of a pool between two commits: some seconds of work, against some hundredths for the commit."""
COMMIT_ROWS = 1 << 16
"""Rows of a table between two commits: they cost nothing to make, so the blocks may be large."""
COMMIT_SECONDS = 30.0  # and no later than this, however slow the images come
DEFAULT_MAX_MEMORY = 2 << 30
_COPIES = 6  # of a row: as read, as collected, in a block, and what a merge holds beside it

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
    own = opened.pool.table if isinstance(opened, PoolSource) else own_table(source, run)
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
