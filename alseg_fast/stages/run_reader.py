"""Reads a RUN: its facts, its scores in one pass with bounded memory, its failures, where its maps lie."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import RunError, UsageError
from . import run_layout as layout

log = logging.getLogger("alseg")

_NEEDED_KEYS = (
    "format",
    "config",
    "config_hash",
    "model",
    "classes",
    "measures",
    "pool",
    "shard_size",
    "parts",
)


def read_info(run: Path) -> dict[str, Any]:
    """RUN/run.json as a dict.

    Raises: RunError: missing, damaged, or written by a newer version.
    """
    path = run / layout.RUN_JSON
    try:
        info = json.loads(path.read_bytes())
    except FileNotFoundError as exc:
        raise RunError(f"{run} is not a run: it has no run.json; give the --out of an alseg score command") from exc
    except (OSError, ValueError) as exc:
        raise RunError(f"cannot read {path}: {exc}; score the pool into another --out") from exc
    if not isinstance(info, dict) or not isinstance(info.get("format"), int):
        raise RunError(f"{path} is not the description of a run; score the pool into another --out")
    if info["format"] > layout.FORMAT:
        raise RunError(
            f"{path} has format {info['format']}, this version of alseg-fast reads up to {layout.FORMAT}; "
            "install a newer alseg-fast"
        )
    missing = [key for key in _NEEDED_KEYS if key not in info]
    if missing:
        raise RunError(f"{path} lacks {', '.join(missing)}; score the pool into another --out")
    return info


def count_rows(run: Path, kind: str, parts: Sequence[int]) -> dict[int, int]:
    """{part: rows} from the Parquet footers; parts that are missing or damaged are left out."""
    rows = {}
    for index in parts:
        path = layout.part_path(run, kind, index)
        try:
            rows[index] = pq.read_metadata(path).num_rows
        except FileNotFoundError:
            continue
        except pa.ArrowInvalid:
            log.warning("%s is damaged and counts as not finished", path)
        except OSError as exc:
            raise RunError(f"cannot read {path}: {exc}; check the access to the RUN") from exc
    return rows


def count_run(run: Path, parts: int) -> dict[str, int]:
    """{"rows", "failures", "parts_done"} of the finished parts of a RUN that is cut into `parts`."""
    rows = count_rows(run, layout.SCORES, [i for i in layout.list_parts(run, layout.SCORES) if i < parts])
    failed = [i for i in layout.list_parts(run, layout.FAILURES) if i in rows]
    failures = count_rows(run, layout.FAILURES, failed)
    for index in failed:
        if index not in failures:
            del rows[index]
    return {"rows": sum(rows.values()), "failures": sum(failures.values()), "parts_done": len(rows)}


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open a RUN directory for reading, finished or not.

    Raises: RunError: there is no such directory, it is not a run, or a newer version wrote it.
    """
    run = Path(path)
    if not run.is_dir():
        what = "is not a directory" if run.exists() else "does not exist"
        raise RunError(f"RUN {run} {what}; give the --out of an alseg score command")
    return Run(run, read_info(run))


class Run:
    """A RUN as it was when it was opened: parts that appear later are not seen.

    Attributes:
        path: the directory.
        info: contents of run.json.
        parts: how many parts the pool is cut into.
        parts_done: indices of the parts that are finished, ascending.
    """

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path = path
        self.info = info
        self.parts = int(info["parts"])
        self.parts_done = [i for i in layout.list_parts(path, layout.SCORES) if i < self.parts]

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {len(self.parts_done)} of {self.parts} parts)"

    @property
    def classes(self) -> list[str]:
        """Class names; the index is the class id."""
        return list(self.info["classes"])

    @property
    def measures(self) -> list[str]:
        """The measures that were scored, in the order of the columns."""
        return list(self.info["measures"])

    @property
    def complete(self) -> bool:
        """Whether every part is there."""
        return len(self.parts_done) == self.parts

    @cached_property
    def counts(self) -> dict[str, int]:
        """{"rows", "failures", "parts_done"}; of an unfinished run counted from the parts that are there."""
        recorded = self.info.get("counts")
        if self.complete and recorded and recorded.get("parts_done") == self.parts:
            return dict(recorded)
        return count_run(self.path, self.parts)

    @cached_property
    def _schema(self) -> pa.Schema:
        if not self.parts_done:
            return layout.scores_schema(self.measures)
        path = layout.part_path(self.path, layout.SCORES, self.parts_done[0])
        try:
            return pq.read_schema(path)
        except (pa.ArrowInvalid, OSError) as exc:
            raise _damaged(path, exc) from exc

    def score_schema(self) -> pa.Schema:
        """Schema of the scores; fields carry their unit as metadata."""
        return self._schema

    def score_batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The scores, part after part, in pool order; one part in memory at a time.

        Args:
            columns: names to read, in this order; all if None.
        Raises: UsageError: no such column. RunError: a part cannot be read.
        """
        names = list(columns) if columns is not None else self.score_schema().names
        unknown = [name for name in names if name not in self.score_schema().names]
        if unknown:
            have = ", ".join(self.score_schema().names)
            raise UsageError(f"scores of {self.path} have no column {', '.join(unknown)}; there are {have}")
        return self._read_batches(names)

    @property
    def histogram(self) -> str | None:
        """What the column `histogram` of the scores holds, as `HistogramSpec.parse` takes it; None: there is none."""
        spec: str | None = self.info["config"].get("histogram")
        return spec

    @cached_property
    def has_regions(self) -> bool:
        """Whether the RUN was scored with regions."""
        return layout.regions_of(self.info) is not None

    @cached_property
    def region_count(self) -> int:
        """Regions in the finished parts; 0 for a RUN without regions."""
        return sum(count_rows(self.path, layout.REGIONS, self.parts_done).values()) if self.has_regions else 0

    def region_schema(self) -> pa.Schema:
        """Schema of the regions; fields carry their unit as metadata.

        Raises: RunError: the RUN has no regions.
        """
        schema = layout.regions_of(self.info)
        if schema is None:
            raise RunError(f"{self.path} has no regions; score the pool with --regions slic:400 into another --out")
        return schema

    def region_parts(self, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
        """(part, its regions) of the finished parts in pool order; one part in memory at a time.

        Args:
            columns: names to read, in this order; all if None.
        Raises: UsageError: no such column. RunError: the RUN has no regions, or a part cannot be read.
        """
        names = list(columns) if columns is not None else self.region_schema().names
        unknown = [name for name in names if name not in self.region_schema().names]
        if unknown:
            have = ", ".join(self.region_schema().names)
            raise UsageError(f"regions of {self.path} have no column {', '.join(unknown)}; there are {have}")
        return ((index, self._read_part(layout.REGIONS, index, names)) for index in self.parts_done)

    def score_part(self, index: int, columns: Sequence[str]) -> pa.Table:
        """The score rows of one finished part, the columns asked for in their order."""
        return self._read_part(layout.SCORES, index, list(columns))

    def _read_part(self, kind: str, index: int, names: list[str]) -> pa.Table:
        path = layout.part_path(self.path, kind, index)
        try:
            return pq.ParquetFile(path).read(columns=names, use_threads=False).select(names)
        except (pa.ArrowInvalid, OSError, KeyError) as exc:
            raise _damaged(path, exc) from exc

    def _read_batches(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        for index in self.parts_done:
            yield from self._read_part(layout.SCORES, index, names).to_batches()

    def scores(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All scores as one table; for pools that fit into memory."""
        schema = self.score_schema()
        if columns is not None:
            batches = self.score_batches(columns)
            schema = pa.schema([schema.field(name) for name in columns], schema.metadata)
        else:
            batches = self.score_batches()
        return pa.Table.from_batches([batch.cast(schema) for batch in batches], schema)

    def failures(self) -> pa.Table:
        """Images without scores, in pool order: image_id, uri, stage, error. Finished parts only."""
        done = set(self.parts_done)
        tables = []
        for index in layout.list_parts(self.path, layout.FAILURES):
            if index not in done:
                continue
            path = layout.part_path(self.path, layout.FAILURES, index)
            try:
                tables.append(pq.ParquetFile(path).read(use_threads=False))
            except (pa.ArrowInvalid, OSError) as exc:
                raise _damaged(path, exc) from exc
        return pa.concat_tables([layout.failures_schema().empty_table(), *tables])

    def map_path(self, measure: str, image_id: str) -> Path:
        """Where the heatmap (or with "labels" the label map) of an image lies, whether it exists or not."""
        return layout.map_path(self.path, measure, image_id)


def _damaged(path: Path, exc: Exception) -> RunError:
    return RunError(f"cannot read {path}: {exc}; run the same alseg score command again, it repairs damaged parts")
