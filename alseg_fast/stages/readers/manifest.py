"""A pool as a table: Parquet, CSV, TSV or JSON lines.

Columns: `uri` is needed; `image_id`, `label`, `group`, `frame`, `mask_uri`, `split` are taken if present,
all others ignored. Without `image_id` the id comes from the uri as for list files. Relative uris count from
the folder of the manifest. Ids, uris, group and split become strings, frame an int64, label stays as
Parquet or JSON has it and is a string in CSV. In CSV an empty cell is null.
"""

import csv
import io
import itertools
import json
import os
from collections.abc import Iterable
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from ...errors import PoolError
from .listing import SCHEMA
from .uris import encode_name, id_of, one_line, resolve, scheme_of

MANIFEST_EXTENSIONS = (".parquet", ".pq", ".csv", ".tsv", ".jsonl", ".ndjson")
_TEXT_COLUMNS = ("image_id", "uri", "group", "mask_uri", "split")
_COLUMNS = ("image_id", "uri", "label", "group", "frame", "mask_uri", "split")
_BATCH_ROWS = 1 << 16
_PROBED_LINES = 1000


def read_manifest(file: BinaryIO, name: str, where: str, base: str) -> pa.Table:
    """Pool table in the order of the manifest. name: its file name, whose extension tells the format.

    Raises PoolError for a file that cannot be parsed, a missing uri column, a null or wrongly typed value.
    """
    try:
        if name.endswith((".parquet", ".pq")):
            table = _read_parquet(file, where)
        elif name.endswith((".jsonl", ".ndjson")):
            table = _read_json(file, where)
        else:
            table = _read_csv(file, where, "\t" if name.endswith(".tsv") else ",")
        columns = {column: _typed(table, column, where) for column in table.column_names}
    except (pa.ArrowException, OSError, UnicodeError, csv.Error) as exc:
        raise PoolError(f"cannot read manifest {where}: {one_line(exc)}; repair or rewrite it") from exc
    uris = columns["uri"]
    if "image_id" not in columns:
        columns["image_id"] = _chunked([[id_of(uri.as_py(), base) for uri in chunk] for chunk in uris.chunks])
    columns["uri"] = _resolved(uris, base)
    if "mask_uri" in columns:
        columns["mask_uri"] = _resolved(columns["mask_uri"], base)
    nothing = pa.chunked_array([pa.nulls(table.num_rows, pa.int64())])
    order = [
        *SCHEMA.names,
        *(column for column in _COLUMNS if column in columns and column not in SCHEMA.names),
    ]
    return pa.table({column: columns.get(column, nothing) for column in order})


def _wanted(names: Iterable[str], where: str) -> list[str]:
    present = list(names)
    if "uri" not in present:
        found = ", ".join(present[:8]) or "none"
        raise PoolError(f"no column uri (columns: {found}), manifest {where}; add a column uri")
    repeated = [name for name in _COLUMNS if present.count(name) > 1]
    if repeated:
        raise PoolError(f"column {repeated[0]} occurs twice, manifest {where}; remove one")
    return [name for name in _COLUMNS if name in present]


def _read_parquet(file: BinaryIO, where: str) -> pa.Table:
    source = pa.parquet.ParquetFile(file)
    columns = _wanted(source.schema_arrow.names, where)
    batches = source.iter_batches(batch_size=_BATCH_ROWS, columns=columns)
    schema = pa.schema([source.schema_arrow.field(name) for name in columns])
    table = pa.Table.from_batches((batch.select(columns) for batch in batches), schema=schema)
    table.validate(full=True)  # strings of a hostile file need not be UTF-8
    return table


def _read_csv(file: BinaryIO, where: str, delimiter: str) -> pa.Table:
    head = io.TextIOWrapper(file, "utf-8-sig", newline="")
    header = next(csv.reader(head, delimiter=delimiter), [])
    columns = _wanted(header, where)
    head.detach()
    file.seek(0)
    reader = pa.csv.open_csv(
        file,
        parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            include_columns=columns,
            column_types={name: pa.int64() if name == "frame" else pa.string() for name in columns},
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
    return reader.read_all()


def _read_json(file: BinaryIO, where: str) -> pa.Table:
    names, label = _probe_json(file, where)
    columns = _wanted(names, where)
    types = {"frame": pa.int64(), "label": label}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in columns])
    options = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    return pa.json.read_json(file, parse_options=options).select(columns)


def _probe_json(file: BinaryIO, where: str) -> tuple[list[str], pa.DataType]:
    """Column names of the first lines, and the type of their first label."""
    names: dict[str, None] = {}
    label: Any = None
    for number, line in enumerate(itertools.islice(file, _PROBED_LINES), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as exc:
            raise PoolError(f"line {number} is not JSON ({one_line(exc)}), manifest {where}; repair it") from exc
        if not isinstance(row, dict):
            raise PoolError(f"line {number} is not a JSON object, manifest {where}; write one object a line")
        names.update(dict.fromkeys(row))
        label = row.get("label") if label in (None, []) else label
    file.seek(0)
    return list(names), pa.string() if label in (None, []) else pa.array([label]).type


def _typed(table: pa.Table, name: str, where: str) -> pa.ChunkedArray:
    column = table[name]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if name in ("image_id", "uri") and column.null_count:
        row = pc.index(pc.is_null(column), True).as_py() + 1
        raise PoolError(f"{name} of row {row} is null, manifest {where}; fill it in or remove the row")
    if name == "frame":
        return column.cast(pa.int64())
    if name not in _TEXT_COLUMNS:
        return column
    kind = column.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (is_text or pa.types.is_null(kind) or (pa.types.is_integer(kind) and name not in ("uri", "mask_uri"))):
        raise PoolError(f"column {name} must hold strings; got {kind}, manifest {where}; convert the column")
    return column.cast(pa.string())


def _resolved(column: pa.ChunkedArray, base: str) -> pa.ChunkedArray:
    """Relative uris made absolute, whole columns at once."""
    if encode_name(base) != base:  # an odd folder name has to be encoded together with what follows
        rows = [[uri and resolve(uri, base) for uri in chunk.to_pylist()] for chunk in column.chunks]
        return _chunked(rows)
    chunks = []
    for chunk in column.chunks:
        is_absolute = pc.match_substring_regex(chunk, r"^([A-Za-z][A-Za-z0-9+.\-]*://|/|$)")
        below = pc.replace_substring_regex(chunk, r"^(\./+)+", "")
        joined = pc.binary_join_element_wise(base.rstrip("/"), below, "/")
        chunks.append(pc.if_else(is_absolute, chunk, joined))
    return pa.chunked_array(chunks, pa.string())


def _chunked(parts: list[list[str | None]]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(part, pa.string()) for part in parts], pa.string())


def folder_of(source: str) -> str:
    """The folder of a path or URL, without the final slash."""
    return os.path.dirname(source) if scheme_of(source) is None else source.rpartition("/")[0]
