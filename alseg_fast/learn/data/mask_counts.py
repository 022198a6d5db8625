"""Pixels of each class in each mask, kept in a file: large data sets take minutes to read for their tags."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...atomic import write_atomic
from ...errors import RunError
from .dataset import Sample

log = logging.getLogger("alseg")

FORMAT = 1
Counts = npt.NDArray[np.int64]


class MaskCounts:
    """What is known of masks, by image_id. Counts of a mask whose size or time of change differs are not used.

    Args:
        path: a JSON file; None keeps nothing. A file that is missing, damaged or of another data set or classes counts
            as empty, and is replaced by `save`.
        name, classes: of the data set. variant: what else decides which pixels are of which class.
    """

    def __init__(self, path: Path | None, name: str, classes: Sequence[str], variant: str = "") -> None:
        self._path = path
        self._n_classes = len(classes)
        self._head = {"format": FORMAT, "dataset": name, "classes": list(classes), "variant": variant}
        self._known: dict[str, list[int]] = {}
        self._changed = False
        if path is not None and path.exists():
            self._load(path)

    def __len__(self) -> int:
        return len(self._known)

    def get(self, sample: Sample) -> Counts | None:
        """[C] pixels of each class, or None if the mask has to be read."""
        row = self._known.get(sample.image_id)
        if row is None or row[:2] != self._state(sample):
            return None
        return np.array(row[2:], np.int64)

    def put(self, sample: Sample, counts: Counts) -> None:
        """Remember the counts of a sample's mask; safe to call from several threads."""
        if self._path is not None:
            self._known[sample.image_id] = [*self._state(sample), *counts.tolist()]
            self._changed = True

    def save(self) -> None:
        """Write the file if anything is new. Where it cannot be written, the log says so."""
        if self._path is None or not self._changed:
            return
        content = json.dumps({**self._head, "masks": self._known}, separators=(",", ":"))
        try:
            write_atomic(self._path, content.encode("utf-8"))
        except (RunError, OSError) as exc:
            log.warning("tags are not kept: %s", exc)
            return
        self._changed = False

    @staticmethod
    def _state(sample: Sample) -> list[int]:
        """Size and time of change of the mask file; zeros without one."""
        try:
            found = os.stat(sample.mask) if sample.mask is not None else None
        except OSError:
            found = None
        return [0, 0] if found is None else [found.st_size, found.st_mtime_ns]

    def _load(self, path: Path) -> None:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            rows = content.pop("masks")
            same = content == self._head
            good = same and all(
                isinstance(row, list) and len(row) == 2 + self._n_classes and all(type(v) is int for v in row)
                for row in rows.values()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            log.warning("kept tags are read again from the masks: %s cannot be read (%s)", path, exc)
            return
        if not good:
            log.warning("kept tags are read again from the masks: %s is of other data or classes", path)
            return
        self._known = rows
