"""A data set with some of its tags."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import RangeError
from .dataset import IGNORE, Dataset, MaskReader
from .pictures import check_ids


@dataclass(frozen=True)
class RenumberedMasks:
    """Masks of another reader, of n_classes classes, with each id looked up in a table of 256."""

    read: MaskReader
    table: bytes
    n_classes: int
    name: str

    def __call__(self, path: Path) -> npt.NDArray[np.uint8]:
        mask = self.read(path)
        check_ids(mask, self.n_classes, f"mask {path}", self.name)
        return np.frombuffer(self.table, np.uint8)[mask]


def keep_tags(dataset: Dataset, n_or_names: int | Iterable[str]) -> Dataset:
    """Only the n most frequent tags, or the named ones; classes that no kept tag marks become background.

    The background is class 0: its name is kept where the data set has one (no tag marks class 0), else it is called
    "background" and the other ids move up. Kept classes are renumbered 1 .. n in the data set's order, whatever the
    order of the names. `IGNORE` stays. Pseudo-masks (`Sample.ids`) count as written for the new data set.

    Images without a kept tag stay, with no tag, where any number of tags is possible; where each image has exactly
    one they are dropped.

    Args:
        n_or_names: n: the tags with most images in the training split (all images if there is none); equal counts:
            the first in the data set's order.
    Raises: RangeError: n is not in 1 .. number of tags, a name is unknown, or no name is given.
    """
    kept = _chosen(dataset, n_or_names)
    marked = sorted({dataset.class_of_tag[t] for t in kept})
    has_background = 0 not in dataset.class_of_tag
    table = np.zeros(256, np.uint8)
    table[IGNORE] = IGNORE
    new_id = {c: i for i, c in enumerate(marked, 1)}
    for c, i in new_id.items():
        table[c] = i
    position = {t: i for i, t in enumerate(kept)}
    samples = (replace(s, tags=tuple(position[t] for t in s.tags if t in position)) for s in dataset.samples)
    return replace(
        dataset,
        classes=(dataset.classes[0] if has_background else "background", *(dataset.classes[c] for c in marked)),
        tag_names=tuple(dataset.tag_names[t] for t in kept),
        class_of_tag=tuple(new_id[dataset.class_of_tag[t]] for t in kept),
        samples=tuple(s for s in samples if s.tags or not dataset.single_tag),
        read_native_mask=RenumberedMasks(dataset.read_native_mask, table.tobytes(), len(dataset.classes), dataset.name),
    )


def _chosen(dataset: Dataset, n_or_names: int | Iterable[str]) -> list[int]:
    names = dataset.tag_names
    if isinstance(n_or_names, (int, np.integer)) and not isinstance(n_or_names, bool):
        if not 1 <= n_or_names <= len(names):
            raise RangeError(
                f"keep_tags: n_or_names must be in 1 .. {len(names)}, the tags of {dataset.name}; got {n_or_names}. "
                "Ask for fewer."
            )
        counted = dataset.split("train").samples or dataset.samples
        counts = np.bincount([t for s in counted for t in s.tags], minlength=len(names))
        return sorted(np.argsort(-counts, kind="stable")[: int(n_or_names)].tolist())
    wanted = [n_or_names] if isinstance(n_or_names, str) else list(n_or_names)  # type: ignore[arg-type]
    unknown = [name for name in wanted if name not in names]
    if unknown or not wanted:
        got = repr(unknown[0]) if unknown else "no name"
        raise RangeError(
            f"keep_tags: n_or_names must be among {', '.join(names)}; got {got}. Correct or drop the name."
        )
    return sorted({names.index(name) for name in wanted})
