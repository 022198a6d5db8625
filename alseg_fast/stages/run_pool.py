"""RUN/pool.arrow: the listing as it was when the RUN began, so that the shards never shift."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..atomic import write_atomic
from ..errors import RunError
from . import run_layout as layout

log = logging.getLogger("alseg")

_POOL_KEYS = ("image_id", "uri", "offset", "size")  # what decides which bytes an image_id stands for
_DIGEST_ROWS = 1 << 16
_CHUNK_ROWS = 1 << 16


def pool_snapshot(path: Path, info: Mapping[str, Any], pool: pa.Table) -> pa.Table:
    """The pool as it was when the RUN began, memory-mapped; written from `pool` if it is not there yet."""
    file = path / layout.POOL_ARROW
    snapshot = read_pool(file)
    if snapshot is None or pool_digest(snapshot) != info["pool"]["digest"]:
        if pool_digest(pool) != info["pool"]["digest"]:
            raise RunError(f"{file} is missing or damaged and the pool has changed; use another --out or --overwrite")

        def write(sink: BinaryIO) -> None:
            with pa.ipc.new_file(sink, pool.schema) as writer:
                writer.write_table(pool, max_chunksize=_CHUNK_ROWS)

        damaged = file.exists()
        if damaged:
            log.warning("%s is damaged and written again", file)
        write_atomic(file, write, replace=damaged)
        snapshot = read_pool(file)
        if snapshot is None:
            raise RunError(f"cannot read back {file}; check the file system, or use another --out")
    return snapshot


def read_pool(file: Path) -> pa.Table | None:
    """The table, its columns backed by the mapped file; None if absent or not a whole Arrow file."""
    try:
        return pa.ipc.open_file(pa.memory_map(str(file))).read_all()
    except FileNotFoundError:
        return None
    except pa.ArrowInvalid:
        return None
    except OSError as exc:
        raise RunError(f"cannot read {file}: {exc}; check the access to the RUN") from exc


def pool_digest(pool: pa.Table) -> str:
    """SHA-256 (hex) of image_id, uri, offset and size in order; the chunks of the table do not matter."""
    digest = hashlib.sha256(str(pool.num_rows).encode())
    columns = [name for name in _POOL_KEYS if name in pool.column_names]
    for start in range(0, pool.num_rows, _DIGEST_ROWS):
        part = pool.slice(start, _DIGEST_ROWS)
        for name in columns:
            digest.update(name.encode())
            column = part.column(name)
            if pa.types.is_integer(column.type):
                digest.update(_little_endian(column.cast(pa.int64())))
            else:
                column = column.cast(pa.large_string())
                digest.update(_little_endian(pc.binary_length(column)))
                digest.update(b"".join(_text_bytes(chunk) for chunk in column.chunks))
    return digest.hexdigest()


def _little_endian(column: pa.ChunkedArray) -> bytes:
    return bytes(pc.fill_null(column, -1).to_numpy().astype("<i8").tobytes())


def _text_bytes(array: pa.Array) -> bytes:
    array = pc.drop_null(array)
    if len(array) == 0:
        return b""
    _, offset_buffer, data = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[array.offset : array.offset + len(array) + 1]
    return bytes(data[int(offsets[0]) : int(offsets[-1])]) if data is not None else b""


def check_same_pool(run: Path, made: pa.Table, asked: pa.Table) -> None:
    """Raises: RunError: the listings differ in more than their order; up to three images are named."""
    columns = [name for name in _POOL_KEYS if name in made.column_names and name in asked.column_names]
    before, now = _keys(made, columns), _keys(asked, columns)
    added = now.select(["image_id"]).join(before.select(["image_id"]), "image_id", join_type="left anti")
    removed = before.select(["image_id"]).join(now.select(["image_id"]), "image_id", join_type="left anti")
    told = [_name_images(table, what) for table, what in ((added, "added"), (removed, "removed")) if table.num_rows]
    both = before.join(now, "image_id", join_type="inner", right_suffix="_now")
    changed = np.zeros(both.num_rows, bool)
    for name in columns[1:]:
        # null = unknown (a listing that was not asked for sizes), which contradicts nothing
        differs = pc.not_equal(both.column(name), both.column(f"{name}_now"))
        changed |= pc.fill_null(differs, False).to_numpy()
    if changed.any():
        told.append(_name_images(both.filter(pa.array(changed)), "changed"))
    if told:
        raise RunError(
            f"the pool differs from the one {run} was made from: {'; '.join(told)}; "
            "score new images into another --out, or start again with --overwrite"
        )


def _keys(pool: pa.Table, columns: list[str]) -> pa.Table:
    arrays = []
    for name in columns:
        column = pool.column(name)
        arrays.append(column.cast(pa.int64() if pa.types.is_integer(column.type) else pa.large_string()))
    return pa.table(arrays, names=columns)


def _name_images(table: pa.Table, what: str) -> str:
    names = pc.sort_indices(table, [("image_id", "ascending")])[:3]
    shown = ", ".join(table.column("image_id").take(names).to_pylist())
    more = f" and {table.num_rows - 3} more" if table.num_rows > 3 else ""
    return f"{what} {shown}{more}"
