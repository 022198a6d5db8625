"""The images of a propagation: which classes each is in, which are labelled, where their masks lie."""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..errors import PoolError, RunError, UsageError
from .image_tags import is_list, split_labels
from .pool import Pool, open_pool
from .readers.uris import resolve

log = logging.getLogger("alseg")

# A file, ids, or ids with the masks that belong to them.
Labelled = str | os.PathLike[str] | Iterable[str] | Mapping[str, str | None]


@dataclass(frozen=True, eq=False)
class PropagationPool:
    """Images in order of image_id (by its UTF-8 bytes), and the rows that each class has, ascending."""

    image_id: pa.Array
    uri: pa.Array
    offset: pa.Array
    size: pa.Array
    classes: dict[str, NDArray[np.int64]]
    multi_label: bool

    def __len__(self) -> int:
        return len(self.image_id)

    def rows_of(self, ids: pa.Array) -> NDArray[np.int64]:
        """[m] row of each id; -1: not in the pool."""
        return np.asarray(pc.index_in(ids, value_set=self.image_id).fill_null(-1).to_numpy(), np.int64)


def read_propagation_pool(
    pool: str | os.PathLike[str] | Pool | pa.Table,
    *,
    multi_label: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> PropagationPool:
    """The pool with its classes.

    Args:
        pool: a manifest with image_id, uri and label, what `open_pool` made of one, or such a table.
        multi_label: label holds several classes an image, a list or a text "a,b,c"; an image without any is in none.
    Raises: PoolError: no labels, an image without a label, lists without `multi_label`, a repeated id.
    """
    if isinstance(pool, pa.Table):
        table, where = pool, "pool"
        if len(set(table.column("image_id").to_pylist())) != len(table):
            raise PoolError("pool has an image_id twice; make the ids unique")
    else:
        opened = pool if isinstance(pool, Pool) else open_pool(pool, storage_options=storage_options)
        table, where = opened.table, f"pool {opened.source}"
    missing = [name for name in ("image_id", "uri", "label") if name not in table.column_names]
    if missing:
        raise PoolError(
            f"{where} has no column {missing[0]}; propagation needs a manifest (Parquet, CSV, TSV, JSON lines) with "
            "image_id, uri and label"
        )
    order = pc.sort_indices(table.column("image_id").cast(pa.binary()))
    table = table.take(order).combine_chunks()
    nothing = pa.nulls(len(table), pa.int64())
    columns = {
        name: _array(table, name) if name in table.column_names else nothing
        for name in ("image_id", "uri", "offset", "size", "label")
    }
    parents, tags = _tags(columns["label"], columns["image_id"], multi_label, where)
    classes = _rows_by_tag(parents, tags)
    return PropagationPool(
        columns["image_id"].cast(pa.string()),
        columns["uri"].cast(pa.string()),
        columns["offset"],
        columns["size"],
        classes,
        multi_label,
    )


def _array(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    joined = column.combine_chunks()
    return pa.concat_arrays(joined.chunks) if isinstance(joined, pa.ChunkedArray) else joined


def _tags(label: pa.Array, ids: pa.Array, multi_label: bool, where: str) -> tuple[NDArray[np.int64], pa.Array]:
    """(row, tag) of every pair of an image and a class."""
    if multi_label:
        return split_labels(label)
    if is_list(label.type):
        raise PoolError(f"{where}: label holds lists of classes; add --multi-label, or give one class an image")
    if label.null_count:
        first = ids[pc.index(pc.is_null(label), True).as_py()].as_py()
        raise PoolError(
            f"{where}: {label.null_count:,} images have no label, the first is {first}; every image needs its class"
        )
    return np.arange(len(label)), label.cast(pa.string())


def _rows_by_tag(parents: NDArray[np.int64], tags: pa.Array) -> dict[str, NDArray[np.int64]]:
    encoded = tags.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    codes = np.asarray(encoded.indices, np.int64)
    pairs = np.unique(np.stack([codes, parents], axis=1), axis=0)
    ends = np.searchsorted(pairs[:, 0], np.arange(len(names) + 1))
    rows = {name: pairs[ends[i] : ends[i + 1], 1] for i, name in enumerate(names)}
    return dict(sorted(rows.items()))


def read_labelled(labelled: Labelled) -> dict[str, str | None]:
    """{image_id: its mask or None}.

    A file is Parquet, CSV, TSV or JSON lines with a column image_id and perhaps mask_uri (relative to the folder of
    the file), or a text with one id a line.
    Raises: RunError: the file cannot be read. UsageError: it has no column image_id.
    """
    if isinstance(labelled, Mapping):
        return {str(name): mask for name, mask in labelled.items()}
    if not isinstance(labelled, (str, os.PathLike)):
        return dict.fromkeys(map(str, labelled))
    path = Path(labelled)
    try:
        rows = list(_rows_of_file(path))
    except FileNotFoundError as exc:
        raise RunError(f"labelled {path} does not exist; give a manifest of the labelled images") from exc
    except (OSError, ValueError, pa.ArrowException, csv.Error) as exc:
        if isinstance(exc, UsageError):
            raise
        text = " ".join(str(exc).split())
        raise RunError(f"cannot read labelled {path}: {text}; give a manifest with a column image_id") from exc
    base = str(path.absolute().parent)
    return {name: resolve(mask, base) if mask else None for name, mask in rows}


def _rows_of_file(path: Path) -> Iterable[tuple[str, str | None]]:
    kind = path.suffix.lower()
    if kind in (".parquet", ".pq"):
        schema = pq.read_schema(path)
        _check_columns(path, schema.names)
        names = [name for name in ("image_id", "mask_uri") if name in schema.names]
        for row in pq.read_table(path, columns=names).to_pylist():
            if row["image_id"] is not None:
                yield str(row["image_id"]), row.get("mask_uri")
    elif kind in (".csv", ".tsv"):
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t" if kind == ".tsv" else ",")
            _check_columns(path, reader.fieldnames or ())
            for row in reader:
                if row["image_id"]:
                    yield row["image_id"], row.get("mask_uri") or None
    elif kind in (".jsonl", ".ndjson"):
        with open(path, encoding="utf-8-sig") as file:
            for line in file:
                if line.strip():
                    row = json.loads(line)
                    _check_columns(path, row if isinstance(row, dict) else ())
                    yield str(row["image_id"]), row.get("mask_uri")
    else:
        with open(path, encoding="utf-8-sig") as file:
            for line in file:
                if name := line.strip("\r\n"):
                    yield name, None


def _check_columns(path: Path, names: Iterable[str]) -> None:
    if "image_id" not in names:
        raise UsageError(f"labelled {path} has no column image_id (it has {', '.join(names)}); add it")


def find_labelled(pool: PropagationPool, labelled: Mapping[str, str | None]) -> tuple[NDArray[np.bool_], list[str]]:
    """[n] bool, and the ids that the pool does not have.

    Raises: UsageError: the pool has none of them though there are some.
    """
    names = list(labelled)
    rows = pool.rows_of(pa.array(names, pa.string()))
    unknown = [name for name, row in zip(names, rows, strict=True) if row < 0]
    if names and len(unknown) == len(names):
        raise UsageError(
            f"the pool has none of the {len(names):,} labelled images, such as {names[0]}; use the same "
            "image_id in both"
        )
    if unknown:
        log.warning("%d labelled images are not in the pool and do not count, such as %s", len(unknown), unknown[0])
    mask = np.zeros(len(pool), np.bool_)
    mask[rows[rows >= 0]] = True
    return mask, unknown
