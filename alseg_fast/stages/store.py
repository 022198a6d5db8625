"""Writes a RUN: fixed shards of the pool, atomic parts, resume, several processes on one directory.

A shard is finished when its scores part exists; that file is renamed into place last, after the maps, the regions
and the failures of the shard are safe on disk. Everything else follows: a process may be killed at any instant, and
the next one scores exactly the shards without a scores part.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .. import __version__
from ..atomic import host_name, make_directory, remove_file, remove_leftovers, write_atomic
from ..errors import RunError, UsageError
from . import run_layout as layout
from .run_finish import refresh_run
from .run_identity import check_same_config, describe_run, json_bytes, utc_text
from .run_maps import MapFiles
from .run_pool import check_same_pool, pool_snapshot, read_pool
from .run_reader import Run, open_run, read_info
from .run_wipe import refuse_foreign_directory, wipe_run
from .score_rows import Rows, check_all_told, check_regions, failures_table, scores_table

__all__ = ["Run", "RunSummary", "RunWriter", "open_run"]

log = logging.getLogger("alseg")

SHARD_SIZE = 256


@dataclass(frozen=True)
class RunSummary:
    """How far the whole RUN is, other processes included."""

    rows: int
    failures: int
    parts_done: int
    parts: int

    @property
    def complete(self) -> bool:
        """Whether every part is there."""
        return self.parts_done == self.parts


class RunWriter:
    """One process's hold on a RUN; made by `RunWriter.open`. `commit` and `write_map` are thread-safe.

    Attributes:
        path: the RUN directory.
        info: contents of run.json as found or made at the start.
        images: images in the pool.
        parts: shards in the pool, of all processes together.
        shard_size: images a shard (the last one may have fewer).
    """

    def __init__(
        self, path: Path, info: dict[str, Any], pool: pa.Table, schema: pa.Schema, shard: tuple[int, int]
    ) -> None:
        self.path = path
        self.info = info
        self.images: int = pool.num_rows
        self.parts = int(info["parts"])
        self.shard_size = int(info["shard_size"])
        self._pool = pool
        self._schema = schema
        self._regions = layout.regions_of(info)
        self._shard = shard
        self._lock = threading.Lock()
        self._maps = MapFiles(path)
        self._committed_images = 0
        self._started = time.time()
        self._timings_file = f"{host_name()}-{os.getpid()}-{time.time_ns()}.json"

    @classmethod
    def open(
        cls,
        out: str | os.PathLike[str],
        *,
        pool: pa.Table,
        pool_info: Mapping[str, Any],
        config: Mapping[str, Any],
        model: Mapping[str, Any],
        classes: Sequence[str],
        measures: Sequence[str],
        score_schema_extra: Sequence[pa.Field] = (),
        map_ranges: Mapping[str, Sequence[float]] | None = None,
        versions: Mapping[str, str] | None = None,
        shard_size: int = SHARD_SIZE,
        shard: tuple[int, int] = (0, 1),
        overwrite: bool = False,
    ) -> RunWriter:
        """Make a RUN or go on with one.

        Args:
            out: the directory; made if absent, must be empty or a RUN.
            pool: the listing, columns `image_id`, `uri` and what the readers need (`offset`, `size` ...).
                Written once; later calls may list it in another order but not with other images.
            pool_info: {"source", "kind", "skipped_files"} for run.json.
            config: what decides the results, and only that (not workers, batch size or device);
                compared on resume.
            model: {"path", "sha256", "spec"}; the last two are compared on resume.
            classes: C class names.
            measures: names of the score columns' measures.
            score_schema_extra: further columns of the scores, after the fixed ones.
            map_ranges: {measure: (low, high)} that the 8-bit maps stand for.
            versions: {library: version} for run.json.
            shard_size: images a part; an existing RUN keeps its own.
            shard: (I, N): this process scores the parts p with p % N == I.
            overwrite: throw away what an earlier command wrote into this RUN, and only that.
        Raises:
            UsageError: bad shard or shard_size, or overwrite together with several shards.
            RunError: `out` is something else, was made with another model, config or pool, or is read-only.
        """
        index, count = shard
        if not 0 <= index < count:
            raise UsageError(f"--shard must be I/N with 0 <= I < N; got {index}/{count}.")
        if shard_size < 1:
            raise UsageError(f"shard_size must be >= 1; got {shard_size}.")
        if overwrite and count > 1:
            raise UsageError(
                f"--overwrite with --shard {index}/{count} would delete the work of the other shards; "
                "remove the RUN once, then start the shards without --overwrite"
            )
        path = Path(out)
        schema = layout.scores_schema(measures, score_schema_extra)
        info = describe_run(
            pool=pool,
            pool_info=pool_info,
            config=config,
            model=model,
            classes=classes,
            measures=measures,
            extra=score_schema_extra,
            map_ranges=map_ranges or {},
            versions=versions or {},
            shard_size=shard_size,
        )
        make_directory(path)
        refuse_foreign_directory(path)
        run_json = path / layout.RUN_JSON
        if overwrite and run_json.exists():
            read_info(path)
            wipe_run(path)
            write_atomic(run_json, json_bytes(info))
        elif run_json.exists() or not write_atomic(run_json, json_bytes(info), replace=False):
            info = _check_existing(path, info, pool)
        snapshot = pool_snapshot(path, info, pool)
        temporary_maps = f"{layout.MAPS}/{layout.MAPS_TEMP}"
        for name in (layout.SCORES, layout.REGIONS, layout.FAILURES, layout.TIMINGS, temporary_maps, "."):
            if removed := remove_leftovers(path / name):
                log.info("removed %d unfinished files of a dead process from %s", removed, path / name)
        return cls(path, info, snapshot, schema, shard)

    def own_shards(self) -> range:
        """Indices of all shards of this process, finished or not."""
        return range(self._shard[0], self.parts, self._shard[1])

    def pending(self) -> Iterator[int]:
        """Shards of this process that still need scoring; looked up as the iteration goes."""
        for index in self.own_shards():
            if not self._is_finished(index):
                remove_file(self.path / layout.SUCCESS)
                yield index

    def _is_finished(self, index: int) -> bool:
        scores = layout.part_path(self.path, layout.SCORES, index)
        whole = layout.is_whole(scores)
        if whole:
            failures = layout.part_path(self.path, layout.FAILURES, index)
            regions = layout.part_path(self.path, layout.REGIONS, index)
            if layout.is_whole(failures) is False:
                log.warning("%s is damaged; its images are scored again", failures)
            elif self._regions is not None and not layout.is_whole(regions):
                log.warning("%s is damaged or missing; its images are scored again", regions)
            else:
                return True
            remove_file(scores)
        elif whole is False:
            log.warning("%s is damaged; its images are scored again", scores)
            remove_file(scores)
        return False

    def shard_rows(self, index: int) -> pa.Table:
        """The pool rows of one shard, all columns of the listing, in pool order."""
        return self._pool.slice(index * self.shard_size, self.shard_size)

    def commit(
        self, index: int, rows: Rows, failures: Sequence[Mapping[str, Any]], regions: pa.Table | None = None
    ) -> None:
        """Finish a shard.

        Args:
            index: the shard.
            rows: scores of the images that worked, any order, a table or dicts by column name.
            failures: {"image_id", "stage", "error"} of those that did not; stage is one of fetch, decode,
                infer, score, write.
            regions: of the images in `rows`, in pool order, by `run_layout.regions_schema`; given exactly when the
                RUN has regions.
        Raises:
            UsageError: an image of the shard is in neither or both, or a row does not fit the columns.
            RunError: the disk is full or cannot be written; the shard stays unfinished, all others are kept.
        """
        shard = self.shard_rows(index)
        scored = scores_table(rows, self._schema, shard, len(self.info["classes"]))
        failed = failures_table(failures, shard)
        check_all_told(scored, failed, shard)
        check_regions(regions, self._regions, scored)
        failures_part = layout.part_path(self.path, layout.FAILURES, index)
        with self._lock:
            if self._is_finished(index):
                log.warning("part %d of %s was finished by another process; that one stays", index, self.path)
                return
            self._maps.sync()
            if failed.num_rows:
                _write_part(failures_part, failed)
            else:
                # An earlier try may have failed on an image that works now and died before its commit.
                remove_file(failures_part)
            if regions is not None:
                _write_part(layout.part_path(self.path, layout.REGIONS, index), regions)
            _write_part(layout.part_path(self.path, layout.SCORES, index), scored)
            self._committed_images += shard.num_rows

    def write_map(self, measure: str, image_id: str, png: bytes) -> None:
        """Write RUN/maps/<measure>/<image_id>.png; it is durable once its shard is committed.

        Args:
            measure: a measure of the run, or "labels".
        Raises:
            DataError: this image_id cannot be a file name (of this image only; a failure of stage "write").
            RunError: the disk is full or cannot be written.
        """
        if measure != layout.LABELS and measure not in self.info["measures"]:
            have = ", ".join([layout.LABELS, *self.info["measures"]])
            raise UsageError(f"write_map: measure must be one of {have}; got {measure}.")
        self._maps.write_map(measure, image_id, png)

    def finish(self, timings: Mapping[str, Any] | None = None) -> RunSummary:
        """Bring run.json up to date and, if the parts of all processes are there, write _SUCCESS. Repeatable.

        Args:
            timings: numbers of this process, nested dicts allowed ({"wall_seconds": 9.5, "cpu_seconds":
                {"decode": 4.2}}); run.json has the sums over all processes, or the highest of keys that begin
                with "peak_".
        """
        if self._committed_images:
            record = {
                "host": host_name(),
                "pid": os.getpid(),
                "shard": f"{self._shard[0]}/{self._shard[1]}",
                "started": utc_text(self._started),
                "ended": utc_text(time.time()),
                "images": self._committed_images,
                "wall_seconds": time.time() - self._started,
                **(timings or {}),
            }
            make_directory(self.path / layout.TIMINGS)
            write_atomic(self.path / layout.TIMINGS / self._timings_file, json_bytes(record))
        self.info = refresh_run(self.path)
        return RunSummary(**self.info["counts"], parts=self.parts)


def _check_existing(path: Path, asked: dict[str, Any], pool: pa.Table) -> dict[str, Any]:
    made = read_info(path)
    check_same_config(path, made, asked)
    if made["pool"].get("digest") != asked["pool"]["digest"]:
        snapshot = read_pool(path / layout.POOL_ARROW)
        if snapshot is None:
            raise RunError(
                f"{path} was made from another pool ({made['pool'].get('images')} images, this one has "
                f"{pool.num_rows}) and its pool.arrow is missing; use another --out or --overwrite"
            )
        check_same_pool(path, snapshot, pool)
    if made.get("alseg_version") != __version__:
        log.warning("%s was begun by alseg-fast %s and goes on with %s", path, made.get("alseg_version"), __version__)
    if made["shard_size"] != asked["shard_size"]:
        log.info("%s keeps its %d images a part", path, made["shard_size"])
    return made


def _write_part(path: Path, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    make_directory(path.parent)
    write_atomic(path, sink.getvalue().to_pybytes())
