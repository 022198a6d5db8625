"""What the pseudo-labels of a pool come to: counts, means, failures, scores against truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .label_confusion import add_counts, scores_of

_SHARES = ("foreground_share", "ignore_share", "clipped_share")


class LabelTally:
    """Counts over all images of a pseudo-labelling, for its summary."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels
        n = len(labels)
        self.failures: list[dict[str, str]] = []
        self._flags: Counter[str] = Counter()
        self._missing: Counter[str] = Counter()
        self._masks = 0
        self._sums: dict[str, float] = dict.fromkeys(_SHARES, 0.0)
        self._sure: list[float] = []
        self._truth_errors: list[str] = []
        self._confusion: dict[str, NDArray[np.int64]] = {
            key: np.zeros((n, n + 1), np.int64) for key in ("confusion", "confusion_free")
        }
        self._compared = 0

    def add(self, rows: pa.Table, found: Sequence[Mapping[str, Any]]) -> None:
        uris = rows.column("uri").to_pylist()
        for row, uri in zip(found, uris, strict=True):
            if row["error"] is not None:
                facts = {"image_id": row["image_id"], "uri": uri, "stage": row["stage"], "error": row["error"]}
                self.failures.append(facts)
                continue
            self._masks += 1
            self._flags.update(row["flags"])
            self._missing.update(row["missing"])
            for key in _SHARES:
                self._sums[key] += row[key] or 0.0
            if row["reliability"] is not None:
                self._sure.append(row["reliability"])
            if row["truth_error"] is not None:
                self._truth_errors.append(row["truth_error"])
        for key, total in self._confusion.items():
            counts, pictures = add_counts((row[key] for row in found), len(self._labels))
            total += counts
            if key == "confusion":
                self._compared += pictures

    def summary(self, *, compared: bool) -> dict[str, Any]:
        def mean(key: str) -> float | None:
            return self._sums[key] / self._masks if self._masks else None

        facts: dict[str, Any] = {
            "masks": self._masks,
            "failures": len(self.failures),
            "foreground_share_mean": mean("foreground_share"),
            "ignore_share_mean": mean("ignore_share"),
            "clipped_weight_share_mean": mean("clipped_share"),
            "reliability_mean": float(np.mean(self._sure)) if self._sure else None,
            "flags": dict(sorted(self._flags.items())),
            "missing": dict(sorted(self._missing.items())),
        }
        if compared:
            facts["truth"] = {
                "images": self._compared,
                "errors": len(self._truth_errors),
                "first_error": self._truth_errors[0] if self._truth_errors else None,
                "tag_masked": scores_of(self._confusion["confusion"], self._labels),
                "unmasked": scores_of(self._confusion["confusion_free"], self._labels),
            }
        return facts
