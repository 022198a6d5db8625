"""Buying whole masks: a selection for each class from one RUN, and the oracle's answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import atomic
from ..stages.oracle import write_oracle_labels
from ..stages.run_reader import open_run
from .common import Common, write_list
from .public import choose
from .steps import Steps


def buy_masks(
    steps: Steps,
    common: Common,
    *,
    labelled: Mapping[str, Path] | Sequence[str],
    quota: Callable[[int], int],
    run: Path,
    strategy: str,
    measure: str,
    seed: int,
    share: float = 1.0,
) -> list[str]:
    """So many images of every class that has unlabelled ones, each class by a selection of its own from one RUN.

    Args:
        quota: number of classes that are left -> images of each.
        share: only the images with the largest predicted foreground, this share of each class, rounded up.
    Returns: the ids, whose masks the oracle wrote to labels/.
    """
    labels, folder = common.label_of(), steps.directory
    taken = set(labelled)
    left = {
        number: [i for i, label in labels.items() if label == name and i not in taken]
        for number, name in enumerate(common.data.train.tag_names)
    }
    left = {number: ids for number, ids in left.items() if ids}
    n = quota(len(left))

    def batch_of(number: int) -> Path:
        return folder / "batches" / f"batch-{number}.parquet"

    def select_all() -> dict[str, Any]:
        atomic.make_directory(folder / "batches")
        known = [write_list(folder / "batches" / "labelled.txt", sorted(taken))] if taken else []
        foreground = _foreground(run) if share < 1.0 else {}
        picks, commands = [], []
        for number, candidates in left.items():
            exclude = [common.others(number), *known]
            count = max(n, math.ceil(share * len(candidates)))
            if count < len(candidates):
                by_foreground = sorted(candidates, key=lambda i: (-foreground[i], i))
                path = folder / "batches" / f"less-foreground-{number}.txt"
                exclude.append(write_list(path, by_foreground[count:]))
            found, command = choose(
                run,
                batch_of(number),
                budget=min(n, len(candidates)),
                strategy=strategy,
                measure=measure,
                exclude=exclude,
                seed=seed,
            )
            picks += [p["image_id"] for p in found]
            commands.append(command)
        return {"image_ids": picks, "commands": commands}

    chosen = steps.do("select", select_all)

    def ask() -> dict[str, Any]:
        for number in left:
            write_oracle_labels(
                batch_of(number), common.truth, folder / "labels", classes=len(common.data.train.classes)
            )
        return {"image_ids": chosen["image_ids"]}

    return list(steps.do("oracle", ask)["image_ids"])


def _foreground(run: Path) -> dict[str, float]:
    """image_id -> predicted share of the foreground, class 1."""
    table = open_run(run).scores(["image_id", "class_fraction"])
    ids, fractions = (table.column(name).to_pylist() for name in ("image_id", "class_fraction"))
    return {image_id: float(fraction[1]) for image_id, fraction in zip(ids, fractions, strict=True)}
