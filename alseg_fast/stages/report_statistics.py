"""Statistics of a whole pool in one pass and constant memory: histograms, class shares, the highest rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..errors import RunError

FINE_BINS = 4096
SHOWN_BINS = 48


def number(value: float | None) -> float | None:
    """The value to six significant digits; None for a missing or not finite one, as JSON has no NaN."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")


class StreamHistogram:
    """Counts of values >= 0 whose upper end is not known beforehand.

    The range starts at [0, high] and doubles, merging pairs of bins, until it holds the largest value. Scores
    are never negative, so a rounding error below 0 counts as 0.
    """

    def __init__(self, high: float) -> None:
        self.high = high if high > 0 and math.isfinite(high) else 1.0
        self.counts = np.zeros(FINE_BINS, np.int64)  # [4096]
        self.missing = 0

    def add(self, values: NDArray[Any]) -> None:
        """Count values [n]; NaN, infinities and nulls are counted apart."""
        floats = np.asarray(values, np.float64)
        finite = floats[np.isfinite(floats)]
        self.missing += len(floats) - len(finite)
        if not len(finite):
            return
        while finite.max() > self.high:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(axis=1), np.zeros(FINE_BINS // 2, np.int64)])
            self.high *= 2
        places = np.clip(finite / self.high * FINE_BINS, 0, FINE_BINS - 1).astype(np.int64)
        self.counts += np.bincount(places, minlength=FINE_BINS)

    def shown(self, selected: Sequence[float]) -> dict[str, Any]:
        """At most 48 equal bins over the occupied range, for the pool and for the selected values."""
        occupied = np.flatnonzero(self.counts)
        first, last = (int(occupied[0]), int(occupied[-1])) if len(occupied) else (0, FINE_BINS - 1)
        width = math.ceil((last - first + 1) / SHOWN_BINS)
        bins = math.ceil((last - first + 1) / width)
        fine = np.zeros(bins * width, np.int64)
        fine[: last - first + 1] = self.counts[first : last + 1]
        step = self.high / FINE_BINS
        places = np.clip((np.asarray(selected, np.float64) / step - first) / width, 0, bins - 1)
        return {
            "low": number(first * step),
            "high": number((first + bins * width) * step),
            "pool": fine.reshape(bins, width).sum(axis=1).tolist(),
            "selection": np.bincount(places.astype(np.int64), minlength=bins).tolist(),
            "missing": self.missing,
        }


class TopRows:
    """The k rows with the highest value of a column; equal values in the order of image_id."""

    def __init__(self, column: str, k: int) -> None:
        self.column, self.k = column, k
        self.rows: list[dict[str, Any]] = []

    def add(self, rows: pa.RecordBatch) -> None:
        """Take the rows of a batch into account; rows without a finite value never rank."""
        values = np.asarray(rows.column(self.column).to_numpy(zero_copy_only=False), np.float64)
        finite = np.flatnonzero(np.isfinite(values))
        if len(finite) > self.k:
            bound = np.partition(values[finite], len(finite) - self.k)[len(finite) - self.k]
            finite = finite[values[finite] >= bound]
        ids = rows.column("image_id").take(pa.array(finite)).to_pylist()
        order = sorted(range(len(finite)), key=lambda i: (-values[finite[i]], ids[i]))[: self.k]
        best = rows.take(pa.array(finite[order], pa.int64())).to_pylist()
        both = sorted([*self.rows, *best], key=lambda row: (-row[self.column], row["image_id"]))
        self.rows = both[: self.k]


class ClassTotals:
    """Pixels predicted as each class over the pool, and the mean of each measure over them."""

    def __init__(self, measures: Sequence[str]) -> None:
        self.measures = measures
        self.pixels = np.zeros(0)  # [C]
        self.images = np.zeros(0, np.int64)  # [C] images where it is the most frequent class
        self.sums: dict[str, NDArray[np.float64]] = {}  # measure -> [C], measure times pixels
        self.known: dict[str, NDArray[np.float64]] = {}  # measure -> [C], pixels with a finite measure

    def add(self, rows: pa.RecordBatch) -> None:
        """Add a batch with width, height, predicted_label, class_fraction and class_<measure>."""
        if not rows.num_rows:
            return
        fractions = _matrix(rows, "class_fraction")  # [n, C]
        if not len(self.pixels):
            classes = fractions.shape[1]
            self.pixels, self.images = np.zeros(classes), np.zeros(classes, np.int64)
            for measure in self.measures:
                self.sums[measure], self.known[measure] = np.zeros(classes), np.zeros(classes)
        if fractions.shape[1] != len(self.pixels):
            raise RunError(
                f"scores of the run have lists of {len(self.pixels)} and of {fractions.shape[1]} classes, "
                "column class_fraction; score the pool again with --overwrite"
            )
        area = rows.column("width").to_numpy(zero_copy_only=False).astype(np.float64)
        area = np.nan_to_num(area * rows.column("height").to_numpy(zero_copy_only=False))  # [n]
        pixels = np.nan_to_num(fractions) * area[:, None]  # [n, C]
        self.pixels += pixels.sum(axis=0)
        labels = rows.column("predicted_label").drop_null().to_numpy(zero_copy_only=False).astype(np.int64)
        self.images += np.bincount(labels[labels < len(self.images)], minlength=len(self.images))
        for measure in self.measures:
            values = _matrix(rows, f"class_{measure}")  # [n, C]
            finite = np.isfinite(values)
            self.sums[measure] += (np.where(finite, values, 0.0) * pixels).sum(axis=0)
            self.known[measure] += np.where(finite, pixels, 0.0).sum(axis=0)

    def table(self, names: Sequence[str], selected: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """One row a class: share of the pool's and the selection's pixels, images, mean of each measure."""
        chosen = np.zeros(len(self.pixels))
        for row in selected:
            fractions = np.nan_to_num(np.array(row["class_fraction"], np.float64))
            chosen += fractions * (row["width"] or 0) * (row["height"] or 0)
        return [
            {
                "id": c,
                "name": names[c] if c < len(names) else f"class {c}",
                "pool": number(_ratio(self.pixels[c], self.pixels.sum())),
                "selection": number(_ratio(chosen[c], chosen.sum())),
                "images": int(self.images[c]),
                "means": [number(_ratio(self.sums[m][c], self.known[m][c])) for m in self.measures],
            }
            for c in range(len(self.pixels))
        ]


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else math.nan


def _matrix(rows: pa.RecordBatch, column: str) -> NDArray[np.float64]:
    """A list column as [rows, C]; every list must have the same length."""
    flat = np.asarray(rows.column(column).flatten().to_numpy(zero_copy_only=False), np.float64)
    if len(flat) % rows.num_rows or rows.column(column).null_count:
        raise RunError(
            f"scores of the run have lists of different lengths, column {column}; score the pool again with --overwrite"
        )
    return flat.reshape(rows.num_rows, -1)
