"""What a data set holds, in numbers and in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from .batches import is_annotated
from .dataset import Dataset
from .label_images import read_ids
from .mask_tags import count_pixels, in_order

_SHOWN_TAGS = 20


def class_frequencies(dataset: Dataset) -> npt.NDArray[np.float64]:
    """[C] share of each class in the labelled pixels of all annotated masks; sums to 1, or is 0 without any.

    Pseudo-masks do not count. Every mask is read once.
    Raises: DataError that names a mask that cannot be used.
    """
    n = len(dataset.classes)
    masks = [(s.mask, s.ids) for s in dataset.samples if s.mask is not None and not s.pseudo]

    def count(mask: tuple[Path, bool]) -> npt.NDArray[np.int64]:
        path, ids = mask
        return count_pixels((read_ids if ids else dataset.read_native_mask)(path), n, path, dataset.name)

    total = np.zeros(n, np.int64)
    for counts in in_order(count, masks):
        total += counts
    return total / max(1, int(total.sum()))


def tag_counts(dataset: Dataset) -> npt.NDArray[np.int64]:
    """[K] images that have each tag."""
    counts: npt.NDArray[np.int64] = np.bincount(
        np.array([t for s in dataset.samples for t in s.tags], np.int64), minlength=len(dataset.tag_names)
    )
    return counts


def describe(dataset: Dataset) -> str:
    """A few lines for a log: images, masks and tags of every split.

    Tags are named with their number of images, the most frequent first; of more than 20, the rest are summed up. Tags
    without any image are counted.
    """
    kind = "one tag an image" if dataset.single_tag else "any number of tags an image"
    counts = f"{len(dataset):,} images, {len(dataset.classes)} classes, {len(dataset.tag_names)} tags"
    lines = [f"{dataset.name}: {counts}, {kind}"]
    order = {"train": 0, "val": 1, "test": 2}
    for split in sorted({s.split for s in dataset.samples}, key=lambda name: (order.get(name, 3), name)):
        lines.append(f"  {split}: {_describe_samples(dataset.split(split))}")
    return "\n".join(lines)


def _describe_samples(part: Dataset) -> str:
    masks = sum(is_annotated(s) for s in part.samples)
    pseudo = sum(s.mask is not None and s.pseudo for s in part.samples)
    untagged = sum(not s.tags for s in part.samples)
    facts = [f"{len(part):,} images", f"{masks:,} with a mask"]
    facts += [f"{pseudo:,} with a pseudo-mask"] if pseudo else []
    facts += [f"{untagged:,} without a tag"] if untagged else []
    counts = tag_counts(part)
    shown = [t for t in np.argsort(-counts, kind="stable").tolist() if counts[t]]
    named = [f"{part.tag_names[t]} {counts[t]:,}" for t in shown[:_SHOWN_TAGS]]
    named += [f"{len(shown) - _SHOWN_TAGS} more tags"] if len(shown) > _SHOWN_TAGS else []
    empty = len(counts) - len(shown)
    named += [f"{empty} tags without an image"] if empty else []
    return ", ".join(facts) + ("; " + ", ".join(named) if named else "")
