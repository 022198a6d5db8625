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
from ...errors import DataError
from .dataset import IGNORE, MaskReader, Sample
from .pictures import check_ids

log = logging.getLogger("alseg")
S = TypeVar("S")
T = TypeVar("T")


def with_mask_tags(
    samples: Sequence[Sample],
    read: MaskReader,
    class_of_tag: Sequence[int],
    n_classes: int,
    *,
    name: str,
    min_pixels: int = 1,
    broken: str = "error",
) -> tuple[Sample, ...]:
    """The samples with tags of the classes that their masks show; samples that have tags, or no mask, stay as they are.

    `IGNORE` pixels and classes that no tag marks (the background) count for nothing. Every mask is read once, on as
    many threads as the process has CPUs.

    Args:
        min_pixels: a class with fewer pixels is not tagged.
        broken: "error": a mask that cannot be used ends the reading; "skip": the image is left out, with a warning.
    Raises: DataError that names the mask.
    """
    check_choice("read_dataset", "broken", broken, ("error", "skip"))
    tag_of_class = [[t for t, c in enumerate(class_of_tag) if c == k] for k in range(n_classes)]

    def tagged(sample: Sample) -> Sample | None:
        if sample.mask is None or sample.tags:
            return sample
        try:
            counts = count_pixels(read(sample.mask), n_classes, sample.mask, name)
        except DataError as exc:
            if broken == "error":
                raise DataError(f"{exc} (or pass broken=skip to leave such images out)") from exc
            log.warning("image %s left out: %s", sample.image_id, exc)
            return None
        present = np.flatnonzero(counts >= min_pixels).tolist()
        return replace(sample, tags=tuple(sorted(t for k in present for t in tag_of_class[k])))

    return tuple(sample for sample in in_order(tagged, samples) if sample is not None)


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
