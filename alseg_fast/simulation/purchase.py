"""Buying whole masks: a selection for each class from one RUN, and the oracle's answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import atomic
from ..stages.oracle import write_oracle_labels
from ..stages.run_reader import open_run
from .common import Common
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
        name: [i for i, label in labels.items() if label == name and i not in taken]
        for name in common.data.train.tag_names
    }
    left = {name: ids for name, ids in left.items() if ids}
    n = quota(len(left))

    def select_all() -> dict[str, Any]:
        atomic.make_directory(folder / "batches")
        known = open_run(run).scores(["image_id", "class_fraction"])
        ids = known.column("image_id").to_pylist()
        fractions = known.column("class_fraction").to_pylist()
        foreground = {i: float(f[1]) for i, f in zip(ids, fractions, strict=True)}
        picks, commands = [], []
        for number, candidates in enumerate(left.values()):
            if share < 1.0:
                candidates = sorted(candidates, key=lambda i: (-foreground.get(i, 0.0), i))
                candidates = candidates[: max(n, math.ceil(share * len(candidates)))]
            wanted = set(candidates)
            others = [i for i in ids if i not in wanted]
            exclude = folder / "batches" / f"exclude-{number}.txt"
            atomic.write_atomic(exclude, "".join(f"{i}\n" for i in others).encode())
            found, command = choose(
                run,
                folder / "batches" / f"batch-{number}.parquet",
                budget=min(n, len(wanted)),
                strategy=strategy,
                measure=measure,
                exclude=exclude if others else None,
                seed=seed,
            )
            picks += [p["image_id"] for p in found]
            commands.append(command)
        return {"image_ids": picks, "commands": commands}

    chosen = steps.do("select", select_all)

    def ask() -> dict[str, Any]:
        for number in range(len(left)):
            batch = folder / "batches" / f"batch-{number}.parquet"
            write_oracle_labels(batch, common.truth, folder / "labels", classes=len(common.data.train.classes))
        return {"image_ids": chosen["image_ids"]}

    return list(steps.do("oracle", ask)["image_ids"])
