"""Where the rows of an index come from when they are computed already: a RUN or a Parquet file with histograms.

Also the labels of images, whatever the rows come from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..errors import PoolError, RunError, UsageError
from ..ops.histogram_spec import HistogramSpec
from .pool import open_pool
from .run_layout import HISTOGRAM, POOL_ARROW
from .run_pool import read_pool
from .run_reader import Run

AUTO, NONE, PREDICTED = "auto", "none", "predicted"


@dataclass
class Rows:
    """Some rows of a source: ids, their numbers in the source, [n, D] histograms, and what failed."""

    ids: list[Any]
    numbers: list[int]
    hist: NDArray[Any]
    failures: list[dict[str, str]] = field(default_factory=list)


def failure(image_id: Any, uri: str | None, stage: str, error: str) -> dict[str, str]:
    """A row of failures.parquet."""
    return {"image_id": str(image_id), "uri": uri or "", "stage": stage, "error": error}


class TableSource:
    """A RUN whose scores have histograms, or a Parquet file with columns image_id and histogram.

    Attributes:
        ids: of all rows, in order: int64 or string.
        dim: numbers a histogram has.
        spec: which histogram it is, where the source says so.
        channels: of its histograms; may be set where the source does not say.
    """

    def __init__(self, name: str, ids: pa.Array, dim: int, spec: HistogramSpec | None, read: Any) -> None:
        self.name = name
        self.ids = ids
        self.dim = dim
        self.spec = spec
        self.channels = spec.channels if spec else 1
        self._read = read

    def rows(self, wanted: NDArray[np.bool_], at_a_time: int) -> Iterator[Rows]:
        """The wanted rows, at most so many at a time; rows without a usable histogram as failures."""
        start = 0
        for batch in self._read(at_a_time):
            numbers = start + np.flatnonzero(wanted[start : start + batch.num_rows])
            start += batch.num_rows
            if len(numbers):
                yield self._usable(batch.take(pa.array(numbers - start + batch.num_rows)), numbers)

    def _usable(self, batch: pa.RecordBatch, numbers: NDArray[np.int64]) -> Rows:
        column, ids = batch.column(HISTOGRAM), batch.column("image_id").to_pylist()
        hist = _matrix(column, self.dim)
        with np.errstate(over="ignore", invalid="ignore"):
            sums = hist.astype(np.float32).astype(np.float64).reshape(len(hist), self.channels, -1).sum(axis=2)
            good = np.isfinite(sums).all(axis=1) & (hist >= 0).all(axis=1) & (sums > 0).all(axis=1)
        text = "its histogram is missing, not finite, negative or empty in a channel; score the image again"
        failures = [failure(ids[i], None, HISTOGRAM, text) for i in np.flatnonzero(~good)]
        kept = np.flatnonzero(good)
        return Rows([ids[i] for i in kept], numbers[kept].tolist(), hist[kept], failures)


def _matrix(column: pa.Array, dim: int) -> NDArray[Any]:
    """[n, D] of a list column; rows that are null, hold nulls or have another length become NaN."""
    if pa.types.is_fixed_size_list(column.type) and not column.null_count:
        flat = column.flatten()
        if not flat.null_count:
            return np.asarray(flat.to_numpy()).reshape(len(column), dim)
    out = np.full((len(column), dim), np.nan)
    for i, row in enumerate(column):
        values = row.values
        if values is not None and len(values) == dim:
            out[i] = values.to_numpy(zero_copy_only=False)
    return out


def run_source(run: Run) -> TableSource:
    """The scores of a RUN. Raises: RunError: it was scored without histograms."""
    schema = run.score_schema()
    if HISTOGRAM not in schema.names:
        raise RunError(f"{run.path} has no histograms; score the pool with --histogram, or give the pool itself")
    ids = run.scores(["image_id"]).column("image_id").combine_chunks()
    dim = schema.field(HISTOGRAM).type.list_size
    text = run.info["config"].get(HISTOGRAM)
    spec = HistogramSpec.parse(text) if text not in (None, NONE) else None

    def read(at_a_time: int) -> Iterator[pa.RecordBatch]:
        for batch in run.score_batches(["image_id", HISTOGRAM]):
            for start in range(0, batch.num_rows, at_a_time):
                yield batch.slice(start, at_a_time)

    return TableSource(str(run.path), ids, dim, spec, read)


def has_histograms(path: Path) -> bool:
    """Whether a path is a Parquet file with a column of histograms."""
    if path.suffix not in (".parquet", ".pq") or not path.is_file():
        return False
    try:
        return HISTOGRAM in pq.read_schema(path).names
    except (pa.ArrowException, OSError) as exc:
        raise PoolError(f"cannot read {path}: {_one_line(exc)}; repair or rewrite it") from exc


def parquet_source(path: Path, spec: HistogramSpec | None) -> TableSource:
    """A Parquet file with columns image_id and histogram. Raises: PoolError: it is not what it should be."""
    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        if "image_id" not in schema.names:
            raise PoolError(f"no column image_id, {path}; add a column image_id")
        ids = file.read(["image_id"]).column("image_id").combine_chunks()
        kind = schema.field(HISTOGRAM).type
        if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)):
            raise PoolError(f"column {HISTOGRAM} must hold lists of numbers; got {kind}, {path}; convert it")
        if pa.types.is_fixed_size_list(kind):
            dim = kind.list_size
        else:
            first = next((b for b in file.iter_batches(1024, columns=[HISTOGRAM]) if b.num_rows), None)
            lengths = pc.list_value_length(first.column(0)).drop_null() if first is not None else []
            dim = lengths[0].as_py() if len(lengths) else 0
    except (pa.ArrowException, OSError) as exc:
        raise PoolError(f"cannot read {path}: {_one_line(exc)}; repair or rewrite it") from exc
    if ids.null_count or not (pa.types.is_integer(ids.type) or _is_text(ids.type)):
        raise PoolError(f"column image_id must hold integers or strings without nulls; got {ids.type}, {path}")

    def read(at_a_time: int) -> Iterator[pa.RecordBatch]:
        try:
            yield from pq.ParquetFile(path).iter_batches(at_a_time, columns=["image_id", HISTOGRAM])
        except (pa.ArrowException, OSError) as exc:
            raise PoolError(f"cannot read {path}: {_one_line(exc)}; repair or rewrite it") from exc

    return TableSource(str(path), ids, dim, spec, read)


def labels_for(ids: pa.Array, how: str, source: str, own: pa.Table | None, run: Run | None) -> pa.Array | None:
    """One label an id (null: none), or None: no labels.

    Args:
        how: "auto": the column `label` of the source if it has one; "none"; "predicted": the predicted class of a
            RUN; else a manifest with columns image_id and label.
        own: a table with image_id, and label if the source has labels.
    Raises: UsageError, PoolError, RunError.
    """
    if how == NONE:
        return None
    if how == PREDICTED:
        if run is None:
            raise UsageError(f"--labels predicted needs a RUN; got {source}; give a manifest with labels")
        scores = run.scores(["image_id", "predicted_label"])
        names = pa.array(run.classes, pa.string())
        return _aligned(ids, scores.column("image_id"), names.take(scores.column("predicted_label").combine_chunks()))
    if how == AUTO:
        if own is None or "label" not in own.column_names:
            return None
        return _aligned(ids, own.column("image_id"), _checked(own.column("label"), source))
    table = _manifest(how)
    if "label" not in table.column_names or "image_id" not in table.column_names:
        raise UsageError(f"--labels {how} has no columns image_id and label; add them")
    labels = _aligned(ids, table.column("image_id"), _checked(table.column("label"), how))
    if labels.null_count == len(labels):
        raise UsageError(f"--labels {how} has none of the images of {source}; its image_id must be those of the source")
    return labels


def _manifest(path: str) -> pa.Table:
    """A manifest with labels, of which only image_id and label count (a list of uris is a pool as well)."""
    if Path(path).suffix in (".parquet", ".pq"):
        try:
            return pq.ParquetFile(path).read()
        except (pa.ArrowException, OSError) as exc:
            raise PoolError(f"cannot read {path}: {_one_line(exc)}; check the path") from exc
    return open_pool(path).table


def own_table(source: str | os.PathLike[str], run: Run | None) -> pa.Table | None:
    """image_id and, if there is one, label of a RUN's pool or of a Parquet file."""
    if run is not None:
        return read_pool(run.path / POOL_ARROW)
    names = pq.read_schema(source).names
    return pq.ParquetFile(source).read([name for name in ("image_id", "label") if name in names])


def _aligned(ids: pa.Array, known: pa.ChunkedArray, labels: pa.Array) -> pa.Array:
    kind = pa.int64() if pa.types.is_integer(ids.type) else pa.large_string()
    try:
        place = pc.index_in(ids.cast(kind), value_set=_one_chunk(known).cast(kind))
    except pa.ArrowException:
        place = pa.nulls(len(ids), pa.int32())  # ids of another kind: none of them is known
    return _one_chunk(labels).take(place)


def _checked(labels: pa.ChunkedArray, where: str) -> pa.Array:
    column = _one_chunk(labels)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_null(column.type) or pa.types.is_integer(column.type) or _is_text(column.type):
        return column
    raise UsageError(f"column label must hold one integer or string an image; got {column.type}, {where}; convert it")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _one_chunk(column: Any) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
