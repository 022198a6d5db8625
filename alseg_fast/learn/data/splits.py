"""Which images are labelled, and which are held out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...errors import RangeError, UsageError
from .dataset import Dataset, Sample


def draw_labelled(dataset: Dataset, *, per_class: int | None = None, n: int | None = None, seed: int) -> list[str]:
    """Ids of images to be labelled, balanced over the tags, from those that have an annotated mask.

    The tag with the fewest drawn images is next (equal: the first); one of its images that is not drawn yet is
    taken, in a random order. With one tag an image, `per_class` draws exactly that many of each tag; with several,
    an image counts for all its tags, and drawing ends when every tag has at least `per_class`, or all it has.
    Tags that no image has are passed over with several tags an image, and are an error with one.

    Args:
        per_class: images a tag. n: images in all. One of the two.
        seed: same seed, same ids, whatever the other splits are.
    Returns: ids in the data set's order.
    Raises: UsageError: both or none of per_class and n. RangeError: fewer images than asked for; names the tag.
    """
    if (per_class is None) == (n is None):
        raise UsageError(
            f"draw_labelled: one of per_class and n must be given; got per_class={per_class}, n={n}. Choose one."
        )
    asked = per_class if per_class is not None else n
    if isinstance(asked, bool) or not isinstance(asked, (int, np.integer)) or asked < 1:
        which = "per_class" if per_class is not None else "n"
        raise RangeError(f"draw_labelled: {which} must be an integer >= 1; got {asked!r}. Ask for at least one image.")
    candidates = [s for s in dataset.samples if s.mask is not None and not s.pseudo]
    tags: list[set[int]] = [set(s.tags) for s in candidates]
    of_tag = [[i for i, present in enumerate(tags) if t in present] for t in range(len(dataset.tag_names))]
    _check_enough(dataset, of_tag, per_class, n, len(candidates))
    rng = _generator(seed, 0)
    queues = [rng.permutation(found).tolist() for found in of_tag]
    untagged = rng.permutation([i for i, present in enumerate(tags) if not present]).tolist()
    drawn: set[int] = set()
    counts = [0] * len(queues)
    while n is None or len(drawn) < n:
        open_tags = [t for t, queue in enumerate(queues) if queue and (per_class is None or counts[t] < per_class)]
        if not open_tags:
            if n is None or not untagged:
                break
            drawn.add(untagged.pop())
            continue
        tag = min(open_tags, key=lambda t: (counts[t], t))
        image = queues[tag].pop(0)
        if image in drawn:
            continue
        drawn.add(image)
        for t in tags[image]:
            counts[t] += 1
    return [candidates[i].image_id for i in sorted(drawn)]


def hold_out(
    dataset: Dataset, share: float, seed: int, *, split: str = "val", keep_groups: bool = False
) -> tuple[Dataset, Dataset]:
    """(training part, held-out part): ceil(share * images) of every class, drawn by the seed.

    The class of an image is its tag; of several, the one that the fewest images have (equal: the first), so that
    rare tags are held out too. Images without a tag are a class of their own. A class of one image stays in training.

    Args:
        share: 0 < share < 1.
        split: name of the split that the held-out samples get; the others keep theirs.
        keep_groups: draw whole groups (patients, drives) until the class has its share; the published split of GlaS
            (Belharbi et al.) does not.
    Raises: RangeError: share. UsageError: nothing to hold out, or nothing left to train on.
    Source: 20 % per class, ceil, in the published folds of Belharbi et al.
    """
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
        raise RangeError(
            f"hold_out: share must be in 0 < share < 1; got {share!r}. Give the share of images, e.g. 0.2."
        )
    rng = _generator(seed, 1)
    held: set[str] = set()
    for samples in _classes(dataset):
        quota = math.ceil(round(share * len(samples), 9))
        units = _units(samples, keep_groups)
        taken = sum(s.image_id in held for s in samples)
        left = len({_unit_of(s, keep_groups) for s in samples if s.image_id not in held})
        for i in rng.permutation(len(units)).tolist():
            if taken >= quota or left <= 1:
                break
            fresh = [s for s in units[i] if s.image_id not in held]
            if fresh:
                held.update(s.image_id for s in _members(dataset, units[i], keep_groups))
                taken += len(fresh)
                left -= 1
    if not held or len(held) == len(dataset):
        raise UsageError(
            f"hold_out: dataset must have at least two images (groups) of a class; got {len(dataset)} images. "
            "Train without validation, or use a split of the data set."
        )
    train = tuple(s for s in dataset.samples if s.image_id not in held)
    val = tuple(replace(s, split=split) for s in dataset.samples if s.image_id in held)
    return replace(dataset, samples=train), replace(dataset, samples=val)


def _generator(seed: int, use: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, use]))


def _check_enough(
    dataset: Dataset, of_tag: Sequence[Sequence[int]], per_class: int | None, n: int | None, n_masks: int
) -> None:
    if n is not None and n > n_masks:
        raise RangeError(
            f"draw_labelled: n must be at most {n_masks}, the images of {dataset.name} with a mask; got {n}. "
            "Ask for fewer."
        )
    for tag, found in enumerate(of_tag):
        short = per_class is not None and dataset.single_tag and len(found) < per_class
        if short or (n is not None and dataset.single_tag and not found):
            raise RangeError(
                f"draw_labelled: every tag of {dataset.name} must have {per_class or 1} images with a mask; "
                f"{dataset.tag_names[tag]} has {len(found)}. Ask for fewer, or leave the tag out with keep_tags."
            )


def _classes(dataset: Dataset) -> list[list[Sample]]:
    counts = np.bincount([t for s in dataset.samples for t in s.tags], minlength=len(dataset.tag_names))
    classes: dict[int, list[Sample]] = {}
    for sample in dataset.samples:
        key = min(sample.tags, key=lambda t: (counts[t], t)) if sample.tags else -1
        classes.setdefault(key, []).append(sample)
    return [classes[key] for key in sorted(classes)]


def _unit_of(sample: Sample, keep_groups: bool) -> tuple[str, str]:
    if keep_groups and sample.group is not None:
        return "group", sample.group
    return "image", sample.image_id


def _units(samples: Sequence[Sample], keep_groups: bool) -> list[list[Sample]]:
    units: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        units.setdefault(_unit_of(sample, keep_groups), []).append(sample)
    return list(units.values())


def _members(dataset: Dataset, unit: Sequence[Sample], keep_groups: bool) -> Sequence[Sample]:
    """All samples of a unit, also those of other classes."""
    wanted = _unit_of(unit[0], keep_groups)
    return [s for s in dataset.samples if _unit_of(s, keep_groups) == wanted] if keep_groups else unit
