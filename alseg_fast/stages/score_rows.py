"""Turns the results of one shard into the two tables of a part, checking that no image is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UsageError
from .run_layout import FAILURE_STAGES, failures_schema

Rows: TypeAlias = pa.Table | Sequence[Mapping[str, Any]]

_ERROR_LENGTH = 2000


def scores_table(rows: Rows, schema: pa.Schema, shard: pa.Table, n_classes: int) -> pa.Table:
    """One shard's rows in pool order and in the types of `schema`.

    Args:
        rows: a table, or dicts of column values (numbers, NumPy scalars, sequences for list columns); `uri`
            is taken from the pool; absent columns become null (an error for sizes and measures).
        schema: from `run_layout.scores_schema`.
        shard: the pool rows of the shard; gives the order and the uris.
        n_classes: C, the length of `class_fraction` and `class_<measure>`.
    Returns: [R] rows; NaN inside `class_<measure>` has become null.
    Raises: UsageError: unknown or missing columns, images that are not of this shard, lists not of length C.
    """
    table = rows if isinstance(rows, pa.Table) else _from_dicts(rows, schema)
    unknown = [name for name in table.column_names if name not in schema.names]
    if unknown:
        raise UsageError(f"commit: rows must have columns of the score schema; got {', '.join(unknown)}.")
    order = _pool_order(table.column("image_id").to_pylist(), shard)
    table = table.take(pa.array([at for at, _ in order], pa.int64()))
    uris = shard.column("uri").take(pa.array([place for _, place in order], pa.int64()))
    columns = []
    for field in schema:
        if field.name == "uri":
            column = uris.cast(pa.string()).combine_chunks()
        elif field.name in table.column_names:
            column = _as_array(table.column(field.name).cast(field.type))
        else:
            column = pa.nulls(table.num_rows, field.type)
        if field.name.startswith("class_"):
            _check_lengths(field.name, column, n_classes)
            if field.name != "class_fraction":
                column = _nan_to_null(column)
        elif column.null_count and _is_required(field.name, schema):
            raise UsageError(f"commit: {field.name} must be given for every row; got {column.null_count} nulls.")
        columns.append(_as_array(column))
    return pa.Table.from_arrays(columns, schema=schema)


def failures_table(failures: Sequence[Mapping[str, Any]], shard: pa.Table) -> pa.Table:
    """One shard's failures in pool order; `uri` is taken from the pool, the error becomes one line.

    Raises: UsageError: an image that is not of this shard, an unknown stage.
    """
    uris = shard.column("uri").to_pylist()
    rows = []
    for at, place in _pool_order([failure["image_id"] for failure in failures], shard):
        failure = failures[at]
        if failure["stage"] not in FAILURE_STAGES:
            raise UsageError(f"commit: stage must be one of {', '.join(FAILURE_STAGES)}; got {failure['stage']}.")
        error = " ".join(str(failure["error"]).split())[:_ERROR_LENGTH].encode("utf-8", "replace").decode()
        rows.append({**failure, "uri": uris[place], "error": error})
    return pa.Table.from_pylist(rows, failures_schema())


def check_all_told(rows: pa.Table, failures: pa.Table, shard: pa.Table) -> None:
    """Raises: UsageError: an image of the shard is neither in rows nor in failures, or it is in both."""
    scored, failed = rows.column("image_id").to_pylist(), failures.column("image_id").to_pylist()
    twice = sorted(set(scored) & set(failed))
    told = {*scored, *failed}
    lost = [name for name in shard.column("image_id").to_pylist() if name not in told]
    if twice or lost:
        raise UsageError(
            "commit: every image of a shard must be in rows or in failures, once; "
            f"got {len(lost)} in neither {lost[:3]} and {len(twice)} in both {twice[:3]}."
        )


def check_regions(regions: pa.Table | None, schema: pa.Schema | None, rows: pa.Table) -> None:
    """Raises: UsageError: regions that the RUN has no place for, or lacks; of other images; in another order."""
    if regions is None and schema is None:
        return
    if regions is None or schema is None:
        raise UsageError(f"commit: regions must be {'None' if schema is None else 'given'} for this RUN.")
    if regions.schema.names != schema.names or regions.schema.types != schema.types:
        raise UsageError(f"commit: regions must have columns {schema.names}; got {regions.schema.names}.")
    runs = pc.run_end_encode(regions.column("image_id").combine_chunks()).values
    if runs.to_pylist() != rows.column("image_id").to_pylist():
        raise UsageError("commit: regions must be those of the rows, image after image in pool order.")


def _from_dicts(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    unknown = sorted({key for row in rows for key in row} - set(schema.names))
    if unknown:
        raise UsageError(f"commit: rows must have columns of the score schema; got {', '.join(unknown)}.")
    nullable = pa.schema([field.with_nullable(True) for field in schema])
    return pa.Table.from_pylist([dict(row) for row in rows], nullable)


def _pool_order(ids: Sequence[str], shard: pa.Table) -> list[tuple[int, int]]:
    """[(index into ids, index into the shard)] sorted by the latter."""
    places = {name: place for place, name in enumerate(shard.column("image_id").to_pylist())}
    strange = [name for name in ids if name not in places]
    if strange or len(set(ids)) != len(ids):
        raise UsageError(
            "commit: image_id must be one of this shard, once; "
            f"got {len(strange)} of other shards {strange[:3]} and {len(ids) - len(set(ids))} repeated."
        )
    return sorted(((at, places[name]) for at, name in enumerate(ids)), key=lambda pair: pair[1])


def _as_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _is_required(name: str, schema: pa.Schema) -> bool:
    return name in ("width", "height") or (
        name.endswith(("_mean", "_max", "_top")) and "class_" + name.rsplit("_", 1)[0] in schema.names
    )


def _check_lengths(name: str, column: pa.Array, n_classes: int) -> None:
    wrong = pc.unique(pc.list_value_length(column)).to_pylist()
    if any(length not in (n_classes, None) for length in wrong):
        raise UsageError(f"commit: {name} must have one entry a class [C] = [{n_classes}]; got lengths {wrong}.")


def _nan_to_null(column: pa.Array) -> pa.Array:
    flat = pc.list_flatten(column)
    values = pc.if_else(pc.is_nan(flat), pa.scalar(None, flat.type), flat)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    ends = [0, *lengths.cumsum().tolist()]
    mask = column.is_null() if column.null_count else None
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values, mask=mask)
