"""Identifiers of rows: int64 or str, in columns that find a value without a Python object for each row."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..errors import DtypeError, RangeError, ShapeError
from ..kernels.js_knn.common import NO_KEY

INT, STR = "int", "str"
# A search of the sorted ids costs about as much as hashing this many of them.
_HASHED_PER_SEARCH = 64


class Ids(Protocol):
    """A column of distinct ids."""

    kind: str

    @property
    def order(self) -> NDArray[np.int64]: ...
    def __len__(self) -> int: ...
    def take(self, rows: NDArray[np.int64]) -> Ids: ...
    def find(self, wanted: Ids) -> NDArray[np.int64]: ...
    def first_repeated(self) -> int | None: ...
    def to_numpy(self) -> NDArray[Any]: ...
    def arrow(self) -> pa.Array: ...


class IntIds:
    """int64 ids."""

    kind = INT

    def __init__(self, values: NDArray[np.int64]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Rows by ascending id."""
        return np.argsort(self.values, kind="stable")

    def take(self, rows: NDArray[np.int64]) -> IntIds:
        return IntIds(self.values[rows])

    def find(self, wanted: Ids) -> NDArray[np.int64]:
        """Row of each wanted id, -1 where there is none."""
        rows = np.full(len(wanted), -1, np.int64)
        if isinstance(wanted, IntIds) and len(self.values):
            at = np.searchsorted(self.values, wanted.values, sorter=self.order)
            candidates = self.order[np.minimum(at, len(self.values) - 1)]
            np.copyto(rows, candidates, where=self.values[candidates] == wanted.values)
        return rows

    def first_repeated(self) -> int | None:
        """A row whose id an earlier row has too."""
        ordered = self.values[self.order]
        repeated = self.order[1:][ordered[1:] == ordered[:-1]]
        return int(repeated.min()) if len(repeated) else None

    def to_numpy(self) -> NDArray[Any]:
        return self.values

    def arrow(self) -> pa.Array:
        values = np.ascontiguousarray(self.values)
        return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])


class StrIds:
    """Ids of text, ordered by code points."""

    kind = STR

    def __init__(self, values: pa.Array) -> None:
        self.values = values  # large_string without nulls

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Rows by ascending id."""
        return np.asarray(pc.sort_indices(self.values)).astype(np.int64)

    def take(self, rows: NDArray[np.int64]) -> StrIds:
        return StrIds(self.values.take(pa.array(rows)))

    def find(self, wanted: Ids) -> NDArray[np.int64]:
        """Row of each wanted id, -1 where there is none."""
        if not isinstance(wanted, StrIds) or not len(self.values):
            return np.full(len(wanted), -1, np.int64)
        if len(wanted) * _HASHED_PER_SEARCH > len(self.values):
            found = pc.index_in(wanted.values, value_set=self.values)
            return np.asarray(pc.fill_null(found, -1)).astype(np.int64)
        order = self.order

        def text(place: int) -> str:
            return str(self.values[int(order[place])].as_py())

        rows = np.full(len(wanted), -1, np.int64)
        for i, value in enumerate(wanted.values.to_pylist()):
            place = bisect_left(range(len(order)), value, key=text)
            if place < len(order) and text(place) == value:
                rows[i] = order[place]
        return rows

    def first_repeated(self) -> int | None:
        """A row whose id an earlier row has too."""
        codes = np.asarray(self.values.dictionary_encode().indices)
        # Codes are numbered by first appearance: the first one that does not grow is a repetition.
        fresh = codes > np.concatenate(([-1], np.maximum.accumulate(codes)[:-1]))
        return None if fresh.all() else int(np.argmin(fresh))

    def to_numpy(self) -> NDArray[Any]:
        return np.asarray(self.values.to_numpy(zero_copy_only=False), dtype=object)

    def arrow(self) -> pa.Array:
        return self.values


def make_ids(kind: str, values: pa.Array) -> Ids:
    """The column behind a stored Arrow array."""
    return IntIds(values.to_numpy(zero_copy_only=True)) if kind == INT else StrIds(values)


def concat_ids(columns: Sequence[Ids]) -> Ids:
    """All columns, which are of one kind, one after the other."""
    if columns[0].kind == INT:
        return IntIds(np.concatenate([c.to_numpy() for c in columns]))
    return StrIds(pa.concat_arrays([c.arrow() for c in columns]))


def take_ids(function: str, name: str, ids: Any, kind: str | None) -> Ids:
    """Checked ids: a 1-D array, list or Arrow array of int64 values or of str.

    Args:
        kind: what the index has; None: not fixed yet.
    Raises: DtypeError: mixed kinds, another kind than the index has, null. RangeError, ShapeError.
    """
    column = _column(function, name, ids)
    if kind is not None and column.kind != kind and len(column):
        raise DtypeError(
            f"{function}: {name} must be {_SAID[kind]} as in the first add; got {_SAID[column.kind]}. "
            "Convert them, or make another index."
        )
    return column


_SAID = {INT: "int64", STR: "str"}


def _column(function: str, name: str, ids: Any) -> Ids:
    if isinstance(ids, (pa.Array, pa.ChunkedArray)):
        ids = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
        text = pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type)
        if text and not ids.null_count:
            return StrIds(ids.cast(pa.large_string()))
        ids = ids.to_pylist()
    if isinstance(ids, (str, bytes)) or not hasattr(ids, "__len__"):
        raise ShapeError(f"{function}: {name} must be a sequence of ids; got {ids!r}. Put a single id into a list.")
    if isinstance(ids, np.ndarray) and ids.ndim != 1:
        raise ShapeError(f"{function}: {name} must have shape [n]; got {list(ids.shape)}. Pass one id a row.")
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu":
        return IntIds(_int64(function, name, ids))
    values = list(ids)
    kinds = {_kind_of(v) for v in values}
    if kinds <= {INT}:
        try:
            return IntIds(_int64(function, name, np.array(values, np.int64)))
        except OverflowError:
            row = next(i for i, v in enumerate(values) if not -(2**63) <= v < 2**63)
            raise _too_large(function, name, values[row], row) from None
    if kinds == {STR}:
        try:
            return StrIds(pa.array([str(v) for v in values], pa.large_string()))
        except (UnicodeError, pa.ArrowException):
            row = next(i for i, v in enumerate(values) if not _is_unicode(v))
            raise RangeError(
                f"{function}: {name} must be text that UTF-8 can hold; got {values[row]!r} in row {row}. Rename it."
            ) from None
    first = _kind_of(values[0])
    strange = [i for i, v in enumerate(values) if _kind_of(v) is None]
    row = strange[0] if strange else next(i for i, v in enumerate(values) if _kind_of(v) != first)
    raise DtypeError(
        f"{function}: {name} must be all int64 or all str; got {values[row]!r} in row {row}. "
        "Convert the ids to one kind."
    )


def _kind_of(value: object) -> str | None:
    if isinstance(value, str):
        return STR
    return INT if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else None


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeError:
        return False
    return True


def _int64(function: str, name: str, values: NDArray[Any]) -> NDArray[np.int64]:
    if values.dtype.kind == "u" and len(values) and int(values.max()) >= 2**63:
        raise _too_large(function, name, int(values.max()), int(values.argmax()))
    column = values.astype(np.int64)
    if (column == NO_KEY).any():
        raise _too_large(function, name, NO_KEY, int((column == NO_KEY).argmax()))
    return column


def _too_large(function: str, name: str, value: int, row: int) -> RangeError:
    return RangeError(
        f"{function}: {name} must lie between -2^63 + 1 and 2^63 - 1; got {value} in row {row}. Use other ids, or str."
    )
