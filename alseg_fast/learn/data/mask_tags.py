"""Image tags from masks, for data sets that have no tags of their own."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ...checks import check_choice
from ...errors import DataError, RangeError
from .dataset import IGNORE, MaskReader, Sample
from .mask_counts import MaskCounts
from .pictures import check_ids

log = logging.getLogger("alseg")
S = TypeVar("S")
T = TypeVar("T")


def with_mask_tags(
    samples: Sequence[Sample],
    read: MaskReader,
    class_of_tag: Sequence[int],
    classes: Sequence[str],
    *,
    name: str,
    variant: str = "",
    min_pixels: int = 1,
    tags_file: str | os.PathLike[str] | None = None,
    broken: str = "error",
) -> tuple[Sample, ...]:
    """The samples with tags of the classes that their masks show; samples that have tags, or no mask, stay as they are.

    `IGNORE` pixels and classes that no tag marks (the background) count for nothing. Every mask is read once, on as
    many threads as the process has CPUs.

    Args:
        variant: what decides, beside the classes, which pixels are of which class, for the file.
        min_pixels: a class with fewer pixels is not tagged; at least 1.
        tags_file: where the counts of pixels are kept for the next time (`MaskCounts`); None: nowhere.
        broken: "error": a mask that cannot be used ends the reading; "skip": the image is left out, with a warning.
    Raises: DataError that names the mask. RangeError: an option.
    """
    check_choice("read_dataset", "broken", broken, ("error", "skip"))
    if isinstance(min_pixels, bool) or not isinstance(min_pixels, int) or min_pixels < 1:
        raise RangeError(
            f"read_dataset: min_pixels must be an integer >= 1; got {min_pixels!r}. 1 tags every class in the mask."
        )
    tag_of_class = [[t for t, c in enumerate(class_of_tag) if c == k] for k in range(len(classes))]
    kept = MaskCounts(None if tags_file is None else Path(tags_file), name, classes, variant)

    def tagged(sample: Sample) -> Sample | None:
        if sample.mask is None or sample.tags:
            return sample
        counts = kept.get(sample)
        if counts is None:
            try:
                counts = count_pixels(read(sample.mask), len(classes), sample.mask, name)
            except DataError as exc:
                if broken == "error":
                    raise DataError(f"{exc} (or pass broken=skip to leave such images out)") from exc
                log.warning("image %s left out: %s", sample.image_id, exc)
                return None
            kept.put(sample, counts)
        present = np.flatnonzero(counts >= min_pixels).tolist()
        return replace(sample, tags=tuple(sorted(t for k in present for t in tag_of_class[k])))

    found = tuple(sample for sample in in_order(tagged, samples) if sample is not None)
    kept.save()
    return found


def count_pixels(mask: npt.NDArray[np.uint8], n_classes: int, path: Path, name: str) -> npt.NDArray[np.int64]:
    """[n_classes] pixels of each class, `IGNORE` left out. Raises: DataError: an id out of range."""
    check_ids(mask, n_classes, f"mask {path}", name)
    return np.bincount(mask.ravel(), minlength=IGNORE + 1)[:n_classes].astype(np.int64)


def in_order(function: Callable[[S], T], items: Sequence[S]) -> Iterator[T]:
    """Results of the function in the order of the items, on as many threads as the process has CPUs."""
    workers = min(len(items), len(os.sched_getaffinity(0)))
    if workers < 2:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield from pool.map(function, items)
        finally:
            pool.shutdown(cancel_futures=True)
