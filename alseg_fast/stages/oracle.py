"""An annotator for simulations: labels exactly what a batch bought, from the ground truth."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..atomic import make_directory, write_atomic
from ..errors import DataError, RunError, UsageError
from .batch import read_batch
from .bought import Purchase, purchases
from .masks import check_directory, find_png, read_png
from .run_layout import png_path
from .score import encode_png

RULES = ("exact", "dominant")
_ADVICE = "correct the ground truth, or select from the images that have one"

Truth = str | os.PathLike[str] | Callable[[str], Any]


@dataclass(frozen=True)
class OracleLabels:
    """What the annotator gives back for one image.

    Attributes:
        image_id: of the image.
        labels: [H, W] uint8, or uint16 where the ids need it; `ignore_index` wherever nothing was bought.
        cost: of the image's picks, in the unit of the batch's budget.
        picks: how many rows of the batch these are.
        pixels: how many pixels were bought.
        labelled: how many of them have a label now; the others are not labelled in the ground truth either.
    """

    image_id: str
    labels: NDArray[Any]
    cost: float
    picks: int
    pixels: int
    labelled: int


def oracle_labels(
    batch: pa.Table | str | os.PathLike[str],
    masks: Truth,
    *,
    rule: str = "exact",
    ignore_index: int = 255,
    classes: int | None = None,
) -> Iterator[OracleLabels]:
    """Label what a batch bought, from the ground truth; for simulations.

    Args:
        batch: what `select` returned or wrote. A row of a whole image reveals the whole mask.
        masks: the ground truth: a directory of one-channel PNGs, <image_id>.png or with .png in place of the
            suffix; or a function image_id -> [H, W] class ids.
        rule: "exact": every pixel bought gets its own class. "dominant": every region gets the class that most of
            its bought pixels have, equal counts the lower id; pixels of `ignore_index` have no vote, and a region of
            nothing else stays without a label. Single pixels and whole images are exact with either.
        ignore_index: in the ground truth: not labelled; in the answer: not bought or not labelled.
        classes: how many classes there are; the truth must have none but 0 .. classes - 1 and `ignore_index`. None:
            any id.
    Yields: one `OracleLabels` an image, by the image's best rank; one image in memory at a time.
    Raises:
        UsageError: a rule or number that cannot be.
        RunError: an image has no ground truth or one of another size, or the batch has a region without its rle.
        DataError: the truth has ids that cannot be.
    """
    if rule not in RULES:
        raise UsageError(f"oracle_labels: rule must be one of {', '.join(RULES)}; got {rule}.")
    if not 0 <= ignore_index <= 65535:
        raise UsageError(f"oracle_labels: ignore_index must be in 0 .. 65535; got {ignore_index}.")
    if classes is not None and classes < 1:
        raise UsageError(f"oracle_labels: classes must be None or at least 1; got {classes}.")
    table = batch if isinstance(batch, pa.Table) else read_batch(batch)
    truth_of = masks if callable(masks) else _Directory(Path(masks))
    found = purchases(table)
    return (_answer(p, _checked(truth_of(p.image_id), p, ignore_index, classes), rule, ignore_index) for p in found)


def write_oracle_labels(
    batch: pa.Table | str | os.PathLike[str],
    masks: Truth,
    out: str | os.PathLike[str],
    *,
    rule: str = "exact",
    ignore_index: int = 255,
    classes: int | None = None,
) -> dict[str, int | float]:
    """Write what `oracle_labels` yields as PNGs, OUT/<image_id>.png, each whole or not at all.

    Returns: sums over the images: images, picks, cost, pixels, labelled.
    Raises: as `oracle_labels`; RunError: a file cannot be written.
    """
    folder = Path(out)
    make_directory(folder)
    sums: dict[str, int | float] = {"images": 0, "picks": 0, "cost": 0.0, "pixels": 0, "labelled": 0}
    for answer in oracle_labels(batch, masks, rule=rule, ignore_index=ignore_index, classes=classes):
        path = png_path(folder, answer.image_id)
        make_directory(path.parent)
        write_atomic(path, encode_png(answer.labels), advice="make room or fix the access there, or write elsewhere")
        sums["images"] += 1
        for name in ("picks", "cost", "pixels", "labelled"):
            sums[name] += getattr(answer, name)
    return sums


class _Directory:
    """Ground truth in PNG files."""

    def __init__(self, directory: Path) -> None:
        self._directory = check_directory(directory, "masks")

    def __call__(self, image_id: str) -> NDArray[Any]:
        path = find_png(self._directory, image_id)
        truth = read_png(path, "ground truth", _ADVICE)
        if truth is None:
            raise RunError(f"ground truth {path} does not exist; {_ADVICE}")
        return truth


def _checked(truth: Any, purchase: Purchase, ignore_index: int, classes: int | None) -> NDArray[Any]:
    """The ground truth as uint8 or uint16, whichever holds its ids and `ignore_index`."""
    array = np.asarray(truth)
    name = purchase.image_id
    if array.ndim != 2 or array.dtype.kind not in "iub" or array.size == 0:
        raise DataError(
            f"oracle_labels: masks must give [H, W] integers; got {list(array.shape)} {array.dtype} for {name}. "
            "Pass class ids."
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 65535:
        wrong = low if low < 0 else high
        raise DataError(f"oracle_labels: masks must have ids in 0 .. 65535; got {wrong} for {name}. Pass class ids.")
    if classes is not None:
        strange = np.unique(array[(array >= classes) & (array != ignore_index)])
        if len(strange):
            raise DataError(
                f"oracle_labels: masks must have ids below {classes} or {ignore_index}; got {strange[0]} for {name}. "
                "Correct the ground truth or the number of classes."
            )
    return array.astype(np.uint8 if max(high, ignore_index) <= 255 else np.uint16)


def _answer(purchase: Purchase, truth: NDArray[Any], rule: str, ignore_index: int) -> OracleLabels:
    labels = np.full_like(truth, ignore_index)
    bought = np.zeros(truth.shape, bool)
    picks = 0
    for mask, single_region in purchase.masks(truth.shape):
        picks += 1
        bought |= mask
        labels[mask] = _dominant(truth[mask], ignore_index) if single_region and rule == "dominant" else truth[mask]
    labelled = int(np.count_nonzero(labels != ignore_index))
    return OracleLabels(purchase.image_id, labels, purchase.cost, picks, int(bought.sum()), labelled)


def _dominant(ids: NDArray[Any], ignore_index: int) -> int:
    """The most frequent id, of equally frequent ones the lowest; `ignore_index` where there is no other."""
    votes = ids[ids != ignore_index]
    return int(np.bincount(votes).argmax()) if len(votes) else ignore_index
