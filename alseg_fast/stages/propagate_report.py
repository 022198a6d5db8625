"""What a propagation found, in numbers: by class, over k, and where the gate decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .propagate_options import PropagateOptions
from .propagate_pairs import ClassPairs, class_pairs
from .propagate_state import ClassState


class Tally:
    """Counts over classes; an image that passes in several classes counts once in the pool's numbers."""

    def __init__(self, images: int, options: PropagateOptions) -> None:
        self._options = options
        self._passes = {k: np.zeros(images, np.bool_) for k in options.ks}
        self._in_class = np.zeros(images, np.bool_)
        self._labelled = np.zeros(images, np.bool_)
        self.classes: list[dict[str, Any]] = []

    def add(self, state: ClassState, members: NDArray[np.int64], pairs: ClassPairs) -> None:
        """Args: members: rows of the pool of the class's images; pairs: those of the options' k."""
        labelled = int(state.labelled.sum())
        unlabelled = len(members) - labelled
        self._in_class[members] = True
        self._labelled[members[state.labelled]] = True
        options = self._options
        nothing_decides = options.vacuous(options.k, unlabelled) and options.max_distance is None
        passing_at = {}
        for k in options.ks:
            found = pairs if k == options.k else class_pairs(state.found, state.labelled, options, k)
            rows = np.unique(found.image)
            self._passes[k][members[rows]] = True
            passing_at[k] = len(rows)
        self.classes.append(
            {
                "class": state.name,
                "size": len(members),
                "labelled": labelled,
                "unlabelled": unlabelled,
                "passing": passing_at[options.k],
                "vacuous": bool(labelled and unlabelled and nothing_decides),
                "passing_at": passing_at,
                "channel_weights": state.channel_weights.tolist(),
                "counted_to": state.found.cap,
            }
        )

    def summary(self) -> dict[str, Any]:
        unlabelled = self._in_class & ~self._labelled
        n = int(unlabelled.sum())
        passing_at = {k: int((self._passes[k] & unlabelled).sum()) for k in self._options.ks}
        return {
            "images": int(self._in_class.sum()),
            "labelled": int(self._labelled.sum()),
            "unlabelled": n,
            "passing": passing_at[self._options.k],
            "share": _share(passing_at[self._options.k], n),
            "passing_at": passing_at,
            "share_at": {k: _share(count, n) for k, count in passing_at.items()},
            "vacuous_classes": sum(row["vacuous"] for row in self.classes),
            "classes_without_labels": sum(not row["labelled"] for row in self.classes),
            "classes": self.classes,
        }


def _share(count: int, of: int) -> float:
    return count / of if of else 0.0


def vacuous_warning(summary: Mapping[str, Any], k: int) -> str | None:
    """The sentence about classes in which every image passes, or None."""
    if not summary["vacuous_classes"]:
        return None
    with_labels = len(summary["classes"]) - summary["classes_without_labels"]
    return (
        f"k = {k} is at least the number of unlabelled same-class images of {summary['vacuous_classes']:,} of "
        f"{with_labels:,} classes with labels: the histograms decide nothing there; "
        f"{100 * summary['share']:.1f} % of the pool's unlabelled images pass"
    )


def class_rows(summary: Mapping[str, Any], k: int, shown: int) -> list[tuple[str, ...]]:
    """Rows of text for a table of the classes, the largest first."""
    classes: Sequence[Mapping[str, Any]] = sorted(summary["classes"], key=lambda row: (-row["size"], row["class"]))
    rows: list[tuple[str, ...]] = [("class", "images", "labelled", f"pass (k = {k})", "share", "")]
    for row in classes[:shown]:
        note = "every image passes" if row["vacuous"] else "" if row["labelled"] else "no labelled image"
        share = f"{100 * _share(row['passing'], row['unlabelled']):.1f} %" if row["unlabelled"] else "-"
        rows.append((row["class"], f"{row['size']:,}", f"{row['labelled']:,}", f"{row['passing']:,}", share, note))
    return rows


def k_rows(summary: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Rows of text for the table over k. An image with several classes counts in each for the share in classes."""
    unlabelled = summary["unlabelled"]
    in_classes = sum(row["unlabelled"] for row in summary["classes"] if row["labelled"])
    head = ("k", "pass", f"of {unlabelled:,} unlabelled", "share in their classes", "classes where all pass")
    rows: list[tuple[str, ...]] = [head]
    for k, count in summary["passing_at"].items():
        full = sum(
            1
            for row in summary["classes"]
            if row["labelled"] and row["unlabelled"] and row["passing_at"][k] == row["unlabelled"]
        )
        within = _share(sum(row["passing_at"][k] for row in summary["classes"]), in_classes)
        shares = (f"{100 * _share(count, unlabelled):.1f} %", f"{100 * within:.1f} %")
        rows.append((str(k), f"{count:,}", *shares, f"{full:,}"))
    return rows
