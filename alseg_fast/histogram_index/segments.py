"""Segment files: the rows of one block as Arrow IPC files that are mapped into memory as they are.

rows-TOKEN.arrow    a record a row: id (int64 or large_string), histogram (fixed-size list of D), scale (of C float64),
                    and with cells distance (float32); one record batch.
cells-TOKEN.arrow   a record a cell: rows (int64), centroid (fixed-size list of D float32); the weights of the
                    embedding are the metadata `weights` of the schema, C numbers as JSON.
"""

from __future__ import annotations

import json
import os
import secrets
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..errors import IndexFileError, RunError
from ..kernels.js_knn.common import Cells
from .ids import INT, make_ids
from .rows import Rows
from .settings import Settings

_ADVICE = "make room or fix the access there and save again: what was saved before is whole"
_CRC_BYTES = 1 << 24
_ID_TYPES = {INT: pa.int64()}


@dataclass(frozen=True)
class File:
    """A file of an index as index.json has it."""

    name: str
    bytes: int
    crc32: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Segment:
    """The files of a block."""

    rows: File
    cells: File | None

    def files(self) -> list[File]:
        return [self.rows] + ([self.cells] if self.cells else [])


def token() -> str:
    """A name that no other save uses."""
    return secrets.token_hex(8)


def checksum(path: Path) -> tuple[int, int]:
    """(bytes, CRC-32) of a file."""
    size = crc = 0
    with open(path, "rb") as file:
        while block := file.read(_CRC_BYTES):
            size += len(block)
            crc = zlib.crc32(block, crc)
    return size, crc


def write_table(directory: Path, name: str, columns: dict[str, pa.Array], metadata: dict[str, str]) -> File:
    """An Arrow IPC file of one record batch, written without a copy of the columns and flushed to the disk.

    The name is nobody else's and index.json does not say it yet: a part of a file is a left-over, not damage. The
    caller makes the name itself survive a power cut, once for all files of a save.
    Raises: RunError: it cannot be written.
    """
    path = directory / name
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    batch = batch.replace_schema_metadata(metadata)
    try:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
        size, crc = checksum(path)
    except OSError as exc:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {exc.strerror or exc}; {_ADVICE}") from exc
    return File(name, size, crc)


def write_segment(directory: Path, rows: Rows) -> Segment:
    """Write the files of a block."""
    name = token()
    columns = {"id": rows.ids.arrow(), "histogram": _lists(rows.hist), "scale": _lists(rows.scale)}
    cells = rows.cells
    if cells is None:
        return Segment(write_table(directory, f"rows-{name}.arrow", columns, {}), None)
    columns["distance"] = flat(cells.distance)
    counts = {"rows": flat(np.diff(cells.offsets)), "centroid": _lists(cells.centroids)}
    metadata = {"weights": json.dumps([float(w) for w in cells.weights])}
    cell_file = write_table(directory, f"cells-{name}.arrow", counts, metadata)
    return Segment(write_table(directory, f"rows-{name}.arrow", columns, {}), cell_file)


def read_segment(
    directory: Path, segment: Segment, rows: int, kind: str, settings: Settings, *, mmap: bool, verify: bool
) -> Rows:
    """The block behind the files.

    Raises: IndexFileError: a file is missing, cut, of another kind, or (with verify) not what was written.
    """
    path = directory / segment.rows.name
    lists = {"histogram": (settings.dtype, settings.dim), "scale": ("float64", settings.channels)}
    batch = read_table(directory, segment.rows, mmap=mmap, verify=verify)
    id_type = _ID_TYPES.get(kind, pa.large_string())
    names = ["id", *lists] + (["distance"] if segment.cells else [])
    if batch.schema.names != names or batch.schema.field("id").type != id_type or batch.num_rows != rows:
        raise damaged(path, f"{rows:,} rows of {', '.join(names)} expected")
    hist, scale = (_matrix(path, batch, name, *kind_and_width) for name, kind_and_width in lists.items())
    cells = None
    if segment.cells is not None:
        distance = _vector(path, batch, "distance", "float32")
        cells = _read_cells(directory, segment.cells, rows, distance, settings, mmap=mmap, verify=verify)
    ids = batch.column("id")
    if ids.null_count:
        raise damaged(path, "there are rows without an id")
    return Rows(hist, scale, make_ids(kind, ids), cells)


def _read_cells(
    directory: Path,
    file: File,
    rows: int,
    distance: NDArray[np.float32],
    settings: Settings,
    *,
    mmap: bool,
    verify: bool,
) -> Cells:
    path = directory / file.name
    batch = read_table(directory, file, mmap=mmap, verify=verify)
    if batch.schema.names != ["rows", "centroid"]:
        raise damaged(path, "columns rows, centroid expected")
    sizes = _vector(path, batch, "rows", "int64")
    centroids = _matrix(path, batch, "centroid", "float32", settings.dim)
    try:
        weights = np.array(json.loads((batch.schema.metadata or {})[b"weights"]), np.float64)
    except (KeyError, ValueError, TypeError) as exc:
        raise damaged(path, "no weights") from exc
    good = weights.shape == (settings.channels,) and bool((np.isfinite(weights) & (weights > 0)).all())
    # A search trusts the offsets: they must not lead out of the block.
    if not good or (sizes < 0).any() or (sizes > rows).any() or int(sizes.sum()) != rows:
        raise damaged(path, f"cells of {rows:,} rows expected")
    offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    return Cells(offsets, centroids, distance, weights, nearest=True)  # as make_cells leaves them


def read_table(directory: Path, file: File, *, mmap: bool, verify: bool) -> pa.RecordBatch:
    """The record batch of a file, after a look at its size and, with verify, at its checksum."""
    path = directory / file.name
    try:
        size = path.stat().st_size
        if size != file.bytes:
            raise damaged(path, f"{file.bytes:,} bytes expected, {size:,} found")
        if verify and checksum(path)[1] != file.crc32:
            raise damaged(path, "its checksum is not the one that was written")
        source = pa.memory_map(str(path)) if mmap else pa.py_buffer(path.read_bytes())
        reader = pa.ipc.open_file(source)
        if reader.num_record_batches != 1:
            raise damaged(path, "one record batch expected")
        batch = reader.get_batch(0)
        batch.validate(full=False)
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if name == "id" and pa.types.is_large_string(column.type):
                column.validate(full=True)  # offsets of a damaged file may lead anywhere
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as exc:  # Arrow gives what it cannot parse as any of these
        raise damaged(path, " ".join(str(exc).split())) from exc
    return batch


def damaged(path: Path, why: str) -> IndexFileError:
    """The error for a file that is not what index.json says."""
    return IndexFileError(f"{path} is damaged ({why}); copy the index again, or build it again")


def flat(values: NDArray[Any]) -> pa.Array:
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), values.size, [None, pa.py_buffer(values)])


def _lists(values: NDArray[Any]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(flat(values.reshape(-1)), values.shape[1])


def _vector(path: Path, batch: pa.RecordBatch, name: str, dtype: str) -> NDArray[Any]:
    column = batch.column(name)
    if column.type != pa.from_numpy_dtype(np.dtype(dtype)) or column.null_count:
        raise damaged(path, f"column {name} is not {dtype} without nulls")
    values: NDArray[Any] = column.to_numpy(zero_copy_only=True)
    return values


def _matrix(path: Path, batch: pa.RecordBatch, name: str, dtype: str, width: int) -> NDArray[Any]:
    column = batch.column(name)
    kind = pa.list_(pa.from_numpy_dtype(np.dtype(dtype)), width)
    if column.type != kind or column.null_count or column.flatten().null_count:
        raise damaged(path, f"column {name} is not {kind} without nulls")
    values: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=True).reshape(-1, width)
    return values
