"""The threshold of a pool, from one histogram of its maps: bounded memory, resumable, the same bits after a kill.

DIR/threshold_parts/part-NNNNN.json  counts and moments of PART_IMAGES pictures each, while the pool is read
DIR/threshold.json                   their sum and what follows from it
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import make_directory, remove_leftovers, write_atomic
from ..ops.gmm_threshold import (
    BOUNDS,
    FALLBACK,
    MAX_ITER,
    TOLERANCE,
    VARIANCE_FLOOR,
    MixtureSettings,
    fit_threshold,
    take_previous,
)
from .pseudo_labels import BINS
from .run_identity import json_bytes

log = logging.getLogger("alseg")

F64 = NDArray[np.float64]

PART_IMAGES = 256
PARTS, RESULT = "threshold_parts", "threshold.json"
_PART = re.compile(r"^part-(\d{5,})\.json$")


class HistogramParts:
    """The sum over the pictures read so far.

    Args:
        root: directory of the labelling.
        identity: text that decides the histogram; parts of another one are removed.
    Attributes:
        images: pictures that are in the sum or have failed; the pool is read from there on.
        failed: of these.
    """

    def __init__(self, root: Path, identity: str) -> None:
        self._folder, self._identity = root / PARTS, identity
        make_directory(self._folder)
        remove_leftovers(self._folder)
        self.images = self.failed = self._next = 0
        self.sums: F64 = np.zeros((BINS, 3))
        self._part: F64 = np.zeros((BINS, 3))
        self._part_images = self._part_failed = 0
        good = True
        for path in sorted(p for p in self._folder.iterdir() if _PART.match(p.name)):
            good = good and self._take(path)
            if not good:
                path.unlink(missing_ok=True)

    def _take(self, path: Path) -> bool:
        try:
            part = json.loads(path.read_bytes())
            sums = np.array(part["sums"], np.float64)
            fits = part["identity"] == self._identity and part["part"] == self._next and sums.shape == self.sums.shape
            images, failed = int(part["images"]), int(part["failed"])
        except (OSError, ValueError, KeyError, TypeError):
            log.warning("%s is damaged, its pictures are read again", path)
            return False
        if fits:
            self._count(sums, images, failed)
        return bool(fits)

    def _count(self, sums: F64, images: int, failed: int) -> None:
        self.sums += sums
        self.images += images
        self.failed += failed
        self._next += 1

    def add(self, sums: F64 | None) -> None:
        """One picture; None: it failed."""
        self._part_images += 1
        if sums is None:
            self._part_failed += 1
        else:
            self._part += sums
        if self._part_images == PART_IMAGES:
            self.commit()

    def commit(self) -> None:
        """Make the pictures added so far count as read."""
        if not self._part_images:
            return
        facts = {"identity": self._identity, "part": self._next, "images": self._part_images}
        facts |= {"failed": self._part_failed, "sums": self._part.tolist()}
        write_atomic(self._folder / f"part-{self._next:05d}.json", json.dumps(facts).encode())
        self._count(self._part, self._part_images, self._part_failed)
        self._part, self._part_images, self._part_failed = np.zeros((BINS, 3)), 0, 0

    def remove(self) -> None:
        """Once the result is written."""
        for path in self._folder.iterdir():
            if _PART.match(path.name):
                path.unlink(missing_ok=True)
        self._folder.rmdir()


def read_result(root: Path, identity: str) -> dict[str, Any] | None:
    """threshold.json, or None if it is not there or of another pool, model or method."""
    try:
        known = json.loads((root / RESULT).read_bytes())
        return dict(known) if known["identity"] == identity else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_result(root: Path, identity: str, method: str, parts: HistogramParts) -> dict[str, Any]:
    """Choose the threshold and write threshold.json."""
    facts = {
        **choose_threshold(method, parts.sums),
        "method": method,
        "images": parts.images - parts.failed,
        "failed": parts.failed,
        "histogram": parts.sums[:, 0].tolist(),
        "identity": identity,
    }
    write_atomic(root / RESULT, json_bytes(facts))
    parts.remove()
    return facts


def choose_threshold(method: str, sums: F64) -> dict[str, Any]:
    """{"threshold", "low", "high", "status", "reason", ...} from [BINS, 3] counts and moments.

    "gmm" and "gmm3": two or three Gaussians, see ``alseg.gmm_threshold``. "otsu": the edge of a bin that separates the
    values best by the variance between both sides (Otsu, 1979).
    """
    if method == "otsu":
        return _otsu(sums[:, 0])
    name, components = "pseudo_label", 3 if method == "gmm3" else 2
    settings = MixtureSettings.checked(name, components, TOLERANCE, MAX_ITER, VARIANCE_FLOOR, BOUNDS, "crossing")
    facts = asdict(fit_threshold(sums, settings, take_previous(name, None, components)))
    return {key: list(value) if isinstance(value, tuple) else value for key, value in facts.items()}


def _otsu(counts: F64) -> dict[str, Any]:
    n = len(counts)
    values = (np.arange(n) + 0.5) / n
    total = counts.sum()
    status, reason, threshold = "kept", None, FALLBACK[2][0]
    if np.count_nonzero(counts) < 2:
        reason = "values lie in fewer than two bins"
    else:
        below = np.cumsum(counts)[:-1]
        sums = np.cumsum(counts * values)
        above = total - below
        with np.errstate(divide="ignore", invalid="ignore"):
            between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
        between = np.where((below > 0) & (above > 0), between, -1)
        best = np.flatnonzero(between >= between.max() * (1 - 1e-12))  # an empty gap has a plateau: its middle
        threshold, status = float((best[0] + best[-1]) / 2 + 1) / n, "fitted"
        threshold = min(max(threshold, BOUNDS[0]), BOUNDS[1])
    return {
        "threshold": threshold,
        "low": threshold,
        "high": threshold,
        "status": status,
        "reason": reason,
        "n_values": float(total),
    }
