"""Masks against truth: confusion counts of one picture, sparse, and the mIoU of many.

A count belongs to (truth, prediction); the last prediction, L, is "ignored": pixels that the mask leaves open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import RunError
from .foreground_maps import IGNORE
from .masks import read_png
from .readers.uris import local_path

I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """A known mask: its place, and the value of its pixels that do not count."""

    uri: str
    ignore_index: int | None = IGNORE

    def read(self, size: tuple[int, int], n_labels: int) -> NDArray[Any]:
        """[H, W] ids below `n_labels`, or `ignore_index`. Raises: RunError: no such mask; the message names it."""
        path, advice = local_path(self.uri), "correct the truth manifest"
        if path is None:
            raise RunError(f"truth mask {self.uri} is not on this machine; copy the masks here")
        mask = read_png(Path(path), "truth mask", advice, size)
        if mask is None:
            raise RunError(f"truth mask {path} does not exist; {advice}")
        wrong = mask >= n_labels
        if self.ignore_index is not None:
            wrong &= mask != self.ignore_index
        if wrong.any():
            raise RunError(
                f"truth mask {path} has id {int(mask[wrong][0])}, the model's labels are 0 to {n_labels - 1}; {advice}"
            )
        return mask


def count_pixels(truth: NDArray[Any], mask: NDArray[np.uint8], n_labels: int, ignore_index: int | None) -> list[int]:
    """[place, count, place, count, ...] of the counts that are not 0; place = truth * (L + 1) + prediction."""
    predicted = np.minimum(mask, n_labels).astype(np.int64)  # 255 becomes L, "ignored"
    places = truth.astype(np.int64) * (n_labels + 1) + predicted
    if ignore_index is not None:
        places = places[truth != ignore_index]
    counts = np.bincount(places.ravel(), minlength=0)
    found = np.flatnonzero(counts)
    return [int(v) for pair in zip(found, counts[found], strict=True) for v in pair]


def add_counts(rows: Iterable[Sequence[int] | None], n_labels: int) -> tuple[I64, int]:
    """([L, L + 1] sum, number of pictures that had counts)."""
    total = np.zeros(n_labels * (n_labels + 1), np.int64)
    pictures = 0
    for row in rows:
        if row is None:
            continue
        pictures += 1
        total[list(row[0::2])] += np.asarray(row[1::2], np.int64)
    return total.reshape(n_labels, n_labels + 1), pictures


def scores_of(confusion: I64, labels: Sequence[str]) -> dict[str, Any]:
    """Intersection over union by class and their mean, in two ways, and the pixel accuracy.

    "miou": every counted pixel of the truth counts; one that the mask ignores is missed. "miou_named": pixels that the
    mask ignores are left out, so this says how right the named pixels are. Classes that neither has are left out
    (None); with no class left the mean is None.
    """
    n = len(labels)
    hits = np.diagonal(confusion[:, :n]).astype(np.float64)
    predicted = confusion[:, :n].sum(axis=0)

    def ious(truth: I64) -> tuple[dict[str, float | None], float | None]:
        union = truth + predicted - hits
        each = {name: float(h / u) if u else None for name, h, u in zip(labels, hits, union, strict=True)}
        known = [v for v in each.values() if v is not None]
        return each, float(np.mean(known)) if known else None

    per_class, miou = ious(confusion.sum(axis=1))
    _, named = ious(confusion[:, :n].sum(axis=1))
    pixels = int(confusion.sum())
    return {
        "miou": miou,
        "miou_named": named,
        "per_class": per_class,
        "pixel_accuracy": float(hits.sum() / pixels) if pixels else None,
        "ignored_share": float(confusion[:, n].sum() / pixels) if pixels else None,
        "pixels": pixels,
    }
