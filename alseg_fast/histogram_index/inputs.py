"""Checks of what a caller hands to an index: histograms, labels, weights, settings."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..errors import DtypeError, RangeError, ShapeError

Label = int | str | None
PUBLISHED = "published"
BLOCK_ROWS = 2048  # rows that are converted at a time: one or two megabytes in float64
_NAMED = 10  # classes that a message lists


def check_count(function: str, name: str, value: Any, least: int = 1) -> int:
    """An integer >= least."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise RangeError(f"{function}: {name} must be an integer >= {least}; got {value!r}. Pass a whole number.")
    return int(value)


def check_weights(function: str, weights: Any, channels: int) -> str | NDArray[np.float64] | None:
    """None, "published", or [C] float64 of positive numbers."""
    if weights is None or (isinstance(weights, str) and weights == PUBLISHED):
        return weights
    try:
        values = np.asarray(weights, np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (channels,) or not (np.isfinite(values) & (values > 0)).all():
        raise RangeError(
            f"{function}: weights must be None, 'published' or {channels} positive numbers, one a channel; "
            f"got {weights!r}. Leave a channel out of the histograms to ignore it."
        )
    return values


def channel_scale(hist: NDArray[Any], channels: int) -> NDArray[np.float64]:
    """[n, D] -> [n, C], 1 / sum of each channel.

    The conversion comes first: a sum that converts on the way depends on where a row lies in the array.
    """
    n, dim = hist.shape
    sums = hist.astype(np.float64).reshape(n, channels, dim // channels).sum(axis=2)
    with np.errstate(divide="ignore"):
        return np.asarray(1 / sums)


def check_histograms(function: str, name: str, hist: Any, dim: int, channels: int) -> NDArray[Any]:
    """The array itself, after a look at every row: [n, D] of real numbers, finite as float32, >= 0, no channel empty.

    Raises: ShapeError, DtypeError, RangeError; the message has the number of the first row that is wrong.
    """
    array = np.asarray(hist)
    if array.ndim != 2 or array.shape[1] != dim:
        raise ShapeError(
            f"{function}: {name} must have shape [n, {dim}]; got {list(array.shape)}. Pass one histogram a row."
        )
    if array.dtype.kind not in "fiub":
        raise DtypeError(f"{function}: {name} must be real numbers; got {array.dtype}. Convert it to float32.")
    for start in range(0, len(array), BLOCK_ROWS):
        _check_block(function, name, array[start : start + BLOCK_ROWS], start, channels)
    return array


def _check_block(function: str, name: str, given: NDArray[Any], start: int, channels: int) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        block = given.astype(np.float32)
    sums = block.astype(np.float64).reshape(len(block), channels, -1).sum(axis=2)
    # A sum of finite float32 values is finite in float64.
    if np.isfinite(sums).all() and block.min() >= 0 and (sums > 0).all():
        return
    finite = np.isfinite(block)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        what = "finite in float32"
    elif block.min() < 0:
        row, column = np.argwhere(block < 0)[0]
        what = ">= 0"
    else:
        row, channel = np.argwhere(sums <= 0)[0]
        whole = f"channel {channel} of row {start + row}" if channels > 1 else f"row {start + row}"
        raise RangeError(
            f"{function}: {name} must have a positive sum in every channel; got 0 in {whole}. "
            "An image without pixels has no histogram: leave it out."
        )
    raise RangeError(
        f"{function}: {name} must be {what}; got {given[row, column]} in row {start + row}, column {column}. "
        "Correct the histogram or leave the row out."
    )


def take_queries(
    function: str, queries: Any, dim: int, channels: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Checked [Q, D] float32 queries and their [Q, C] scale."""
    checked = check_histograms(function, "queries", queries, dim, channels)
    rows = np.ascontiguousarray(checked, np.float32)
    return rows, channel_scale(rows, channels)


def take_labels(function: str, labels: Any, n: int) -> tuple[list[Label], NDArray[np.int64]]:
    """The distinct labels in order of appearance, and of each row which one it has.

    Args:
        labels: None (the class None), one int or str for all rows, or one a row.
    """
    if labels is None or _is_label(labels):
        return [plain_label(labels)], np.zeros(n, np.int64)
    if isinstance(labels, (pa.Array, pa.ChunkedArray)):
        labels = labels.to_pylist()
    if isinstance(labels, (bytes, dict, set)) or not hasattr(labels, "__len__"):
        raise DtypeError(f"{function}: labels must be int or str, one or one a row; got {labels!r}. Convert them.")
    if isinstance(labels, np.ndarray) and labels.ndim != 1:
        raise ShapeError(f"{function}: labels must have shape [{n}]; got {list(labels.shape)}. Pass one label a row.")
    if len(labels) != n:
        raise ShapeError(f"{function}: labels must have one entry a row, {n}; got {len(labels)}. Pass one label a row.")
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "iuU":
        values, first, codes = np.unique(labels, return_index=True, return_inverse=True)
        order = np.argsort(first)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        return [plain_label(values[i]) for i in order], place[codes]
    known: dict[Hashable, int] = {}
    codes = np.empty(n, np.int64)
    for row, label in enumerate(labels):
        if not _is_label(label):
            raise DtypeError(
                f"{function}: labels must be int or str; got {label!r} in row {row}. Convert it, or leave the row out."
            )
        codes[row] = known.setdefault(label, len(known))
    return [plain_label(label) for label in known], codes


def _is_label(value: object) -> bool:
    return isinstance(value, (str, int, np.integer)) and not isinstance(value, bool)


def plain_label(label: Any) -> Label:
    """The label as plain int or str."""
    if label is None:
        return None
    return str(label) if isinstance(label, str) else int(label)


def name_labels(labels: Any) -> str:
    """The first few labels, for messages."""
    shown = [repr(label) for label in list(labels)[:_NAMED]]
    more = len(labels) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
