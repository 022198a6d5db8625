"""A batch: the table that a selection gives, and its file."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..atomic import write_atomic
from ..errors import RunError
from .strategies import Picks

_METADATA_KEY = b"alseg.select"

_CHUNK_BYTES = 1 << 30

Facts = dict[str, str | int | float]

BATCH_SCHEMA = pa.schema(
    [
        pa.field("rank", pa.int32(), nullable=False, metadata={"unit": "1 = first to annotate"}),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("region_id", pa.int64(), metadata={"unit": "null for a whole image, and for single pixels"}),
        pa.field("score", pa.float64(), metadata={"unit": "of the score column, see the schema metadata"}),
        pa.field("cost", pa.float64(), nullable=False, metadata={"unit": "of the budget; 1 an image"}),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("rle", pa.string(), metadata={"unit": "COCO compressed RLE over the image; null for a whole image"}),
    ]
)


def batch_table(picks: Picks, facts: Mapping[str, str | int | float]) -> pa.Table:
    """The picks by `BATCH_SCHEMA`, ranks added, with the facts of the selection in the schema metadata."""
    rows = picks.table.num_rows
    columns = {name: picks.table.column(name) for name in picks.table.column_names}
    columns["rank"] = pa.array(np.arange(1, rows + 1, dtype=np.int32))
    columns["reason"] = pa.array(list(picks.reasons), pa.large_string())
    columns.setdefault("rle", pa.nulls(rows, pa.string()))
    arrays = [_cast(columns[field.name], field.type) for field in BATCH_SCHEMA]
    metadata = {_METADATA_KEY: json.dumps(dict(facts), sort_keys=True).encode()}
    return pa.Table.from_arrays(arrays, schema=BATCH_SCHEMA.with_metadata(metadata)).combine_chunks()


def _cast(column: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """The column as another type; texts are cut into chunks that their 32-bit offsets can hold."""
    if not pa.types.is_large_string(column.type):
        return pc.cast(column, kind)
    lengths = pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)  # [rows] bytes
    chunk = np.cumsum(lengths) // _CHUNK_BYTES
    cuts = [0, *(np.flatnonzero(np.diff(chunk)) + 1).tolist(), len(column)]
    # Taken, not sliced: the cast looks at the whole buffer behind a slice.
    parts = [column.take(pa.array(np.arange(a, b))) for a, b in itertools.pairwise(cuts)]
    whole = [part.combine_chunks() if isinstance(part, pa.ChunkedArray) else part for part in parts]
    return pa.chunked_array([pc.cast(part, kind) for part in whole], kind)


def read_batch(path: str | os.PathLike[str]) -> pa.Table:
    """A batch as `select` wrote it; facts of the selection are in its schema metadata, see `batch_facts`.

    Raises: RunError: missing or not a batch.
    """
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except FileNotFoundError as exc:
        raise RunError(f"batch {path} does not exist; make it with alseg select") from exc
    except (OSError, pa.ArrowInvalid) as exc:
        raise RunError(f"cannot read batch {path}: {exc}; make it with alseg select") from exc
    missing = [name for name in BATCH_SCHEMA.names if name not in table.column_names and name != "rle"]
    if missing:
        raise RunError(f"{path} is not a batch: it lacks {', '.join(missing)}; make it with alseg select")
    if "rle" not in table.column_names:  # written before there were regions
        table = table.append_column(BATCH_SCHEMA.field("rle"), pa.nulls(table.num_rows, pa.string()))
    return table


def batch_facts(batch: pa.Table) -> Facts:
    """How a batch was selected; {} if it does not say.

    Keys: strategy, measure, unit, budget (as it was given), budget_scope, bought (what the picks cost together),
    pool (what there was to buy, in the same unit), share (bought / pool), seed, considered (candidates), excluded
    (images, regions and pixel masks left out), config_hash (of the RUN), regions (how the regions were made, for
    picks of regions), and the settings of the strategy.
    """
    text = (batch.schema.metadata or {}).get(_METADATA_KEY)
    return dict(json.loads(text)) if text else {}


def write_batch(path: Path, batch: pa.Table) -> None:
    """Write a batch file at once. Raises: RunError: that is not possible; what stood there still stands."""
    sink = pa.BufferOutputStream()
    pq.write_table(batch, sink, compression="zstd")
    write_atomic(path, sink.getvalue().to_pybytes(), advice="make room or fix the access there, or change --out")
