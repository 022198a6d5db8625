"""Image labels: which classes a pool's column `label` says are in each picture.

A label is a class name, a text "a,b,c" of names, or a list of names (the only form for a name with a comma). Null,
an empty text or an empty list: nothing is known of the picture, every class may be in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..errors import PoolError, UsageError

LABEL = "label"
NO_TAGS = "none"
_BLOCK_ROWS = 1 << 14
_SHOWN = 12


def is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def split_labels(label: pa.Array) -> tuple[NDArray[np.int64], pa.Array]:
    """(row, name) of every name in a column of labels; names trimmed, empty ones left out."""
    if pa.types.is_dictionary(label.type):
        label = label.cast(label.type.value_type)
    if not is_list(label.type):
        label = pc.split_pattern(label.cast(pa.string()), ",")
    parents = np.asarray(pc.list_parent_indices(label), np.int64)
    names = pc.utf8_trim_whitespace(pc.list_flatten(label).cast(pa.string()))
    known = np.asarray(pc.fill_null(pc.not_equal(names, ""), False))
    return parents[known], names.filter(pa.array(known))


def present_classes(labels: pa.Array | pa.ChunkedArray, classes: Sequence[str], where: str) -> NDArray[np.uint8]:
    """[n, C] 1 where the label names the class; a row of 0 where nothing is known.

    Args:
        classes: the C names.
        where: whose labels these are, for the message.
    Raises: UsageError: a name is none of the classes.
    """
    if isinstance(labels, pa.ChunkedArray):
        labels = pa.concat_arrays(labels.chunks) if labels.num_chunks else pa.array([], labels.type)
    present = np.zeros((len(labels), len(classes)), np.uint8)
    try:
        rows, names = split_labels(labels)
    except pa.ArrowException as error:
        raise UsageError(f"{where}: label must hold names, texts or lists of them; got {labels.type}") from error
    ids = np.asarray(pc.fill_null(pc.index_in(names, value_set=pa.array(classes, pa.string())), -1), np.int64)
    if (ids < 0).any():
        name = names[int(np.argmax(ids < 0))].as_py()
        more = f", ... ({len(classes) - _SHOWN} more)" if len(classes) > _SHOWN else ""
        raise UsageError(
            f"{where}: label {name!r} is no class of the model; it has {', '.join(classes[:_SHOWN])}{more}"
        )
    present[rows, ids] = 1
    return present


class PoolTags:
    """The image labels of a pool, checked as a whole, read in blocks.

    Args:
        table: a pool; without a column `label` nothing is known of any picture.
        classes: names of the model's classes.
        source: the pool as its user named it.
    Raises: PoolError: a label names what is no class of the model.
    Attributes:
        untagged: pictures of which nothing is known.
        digest: SHA-256 (hex) of what is known of each picture, whatever the order of the pool; "" without labels.
    """

    def __init__(self, table: pa.Table, classes: Sequence[str], source: str) -> None:
        self.images = table.num_rows
        self.untagged, self.digest = self.images, ""
        if LABEL not in table.column_names:
            return
        self.untagged = 0
        digest = hashlib.sha256(str(len(classes)).encode())
        order = pc.sort_indices(table.column("image_id").cast(pa.large_binary()))
        for start in range(0, self.images, _BLOCK_ROWS):
            rows = table.select(["image_id", LABEL]).take(order.slice(start, _BLOCK_ROWS))
            try:
                present = present_classes(rows.column(LABEL), classes, f"pool {source}")
            except UsageError as error:
                raise PoolError(f"{error}; correct the label, or leave the labels out with --tags none") from error
            self.untagged += int((present.sum(axis=1) == 0).sum())
            digest.update(np.packbits(present, axis=1).tobytes())
        self.digest = digest.hexdigest()


def tags_of_rows(rows: pa.Table, classes: Sequence[str]) -> list[NDArray[np.uint8] | None]:
    """[C] 0/1 of each row of a pool, or None where nothing is known."""
    if LABEL not in rows.column_names:
        return [None] * rows.num_rows
    return [row if row.any() else None for row in present_classes(rows.column(LABEL), classes, "pool")]


def tags_of_values(image_labels: Any, n: int, classes: Sequence[str], where: str) -> list[NDArray[np.uint8] | None]:
    """The same of what a caller passes: an array [n, C], nonzero where the class is present, or n entries, each None, a
    name, a text "a,b,c" or a list of names.

    Raises: UsageError: a wrong number of entries, or a name that is no class of the model.
    """
    if image_labels is None:
        return [None] * n
    if hasattr(image_labels, "ndim"):
        array = np.asarray(image_labels)
        if array.shape != (n, len(classes)):
            raise UsageError(
                f"{where}: image_labels must have shape [N, C] = [{n}, {len(classes)}]; got {list(array.shape)}. Give "
                "one row an image, nonzero where the class is present."
            )
        return [row if row.any() else None for row in (array != 0).astype(np.uint8)]
    entries = list(image_labels)
    if len(entries) != n:
        raise UsageError(f"{where}: image_labels must have one entry an image, {n}; got {len(entries)}.")
    lists = [[] if e is None else e.split(",") if isinstance(e, str) else list(map(str, e)) for e in entries]
    present = present_classes(pa.array(lists, pa.list_(pa.string())), classes, where)
    return [row if row.any() else None for row in present]
