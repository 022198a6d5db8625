"""Weak pixel labels drawn from full masks, to study what they are worth: points, scribbles, boxes, partial masks.

All of them are masks with 255 where nothing is known, so every loss of this package takes them as they are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ...checks import check_choice
from ...errors import RangeError, UsageError
from .annotation_cost import annotation_seconds
from .dataset import IGNORE
from .regions import check_mask, connected_components, find_regions
from .scribbles import scribble_path

__all__ = ["annotation_seconds", "box_labels", "partial_labels", "point_labels", "scribble_labels", "weak_labels"]

Mask = npt.NDArray[np.uint8]


def weak_labels(mask: Mask, kind: str, *, seed: int, **options: Any) -> Mask:
    """What a weak annotator would leave of a mask.

    Args:
        mask: [H, W] uint8 class ids, 255 where none.
        kind: "points" | "scribbles" | "boxes" | "partial".
        seed: at least 0; the same seed gives the same labels. Scribbles and boxes draw no random numbers.
        options: those of :func:`point_labels`, :func:`scribble_labels`, :func:`box_labels`, :func:`partial_labels`.

    Returns: [H, W] uint8, 255 wherever nothing is known; never an id that the mask lacks (boxes: at their pixels).
    Raises: ShapeError, DtypeError, RangeError; UsageError: the kind has no such option.
    """
    name = "weak_labels"
    check_choice(name, "kind", kind, tuple(_KINDS))
    function = _KINDS[kind]
    known = [p for p in inspect.signature(function).parameters if p not in ("mask", "rng")]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UsageError(
            f"{name}: {kind} have no option {unknown[0]!r}; there are {', '.join(known)}; correct the name"
        )
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise RangeError(f"{name}: seed must be an integer >= 0; got {seed!r}. The same seed gives the same labels.")
    if "rng" in inspect.signature(function).parameters:
        options["rng"] = np.random.default_rng(seed)
    return function(check_mask(name, mask), **options)


def point_labels(
    mask: Mask,
    *,
    rng: np.random.Generator,
    per_region: int = 1,
    region: str = "component",
    background: int | None = 0,
    label_background: bool = True,
    min_pixels: int = 1,
) -> Mask:
    """Points: `per_region` pixels of every region, drawn uniformly without repeats (all of a smaller region).

    Args:
        mask: [H, W] uint8.
        rng: where the draws come from.
        per_region: points a region, at least 1.
        region: "component": 8-connected pixels of one class, instances that touch count as one; "class".
        background: its id; None: the data set has none.
        label_background: points on the background too; without them no loss learns what background is.
        min_pixels: smaller regions are overlooked.
    """
    name = "point_labels"
    check_mask(name, mask)
    _check_count(name, "per_region", per_region)
    labels = np.full(mask.size, IGNORE, np.uint8)
    for found in find_regions(
        name,
        mask,
        region=region,
        background=background,
        label_background=label_background,
        min_pixels=min_pixels,
    ):
        n = min(per_region, len(found.pixels))
        labels[rng.choice(found.pixels, n, replace=False)] = found.class_id
    return labels.reshape(mask.shape)


def scribble_labels(
    mask: Mask,
    *,
    inset: float = 0.3,
    length: float = 1.0,
    background: int | None = 0,
    label_background: bool = True,
    min_pixels: int = 1,
) -> Mask:
    """Scribbles: one line of single pixels along the middle of every connected region of one class.

    Args:
        mask: [H, W] uint8.
        inset: the line keeps to pixels at least this share of the region's depth away from its edge, in [0, 1).
        length: share of the line that is kept, around its middle, in (0, 1].
        background, label_background, min_pixels: as for :func:`point_labels`.

    Source: the line is the longest geodesic of the region's core, see `scribble_path`; a choice of this package.
    """
    name = "scribble_labels"
    check_mask(name, mask)
    if not 0 <= inset < 1:
        raise RangeError(f"{name}: inset must be in [0, 1); got {inset!r}. 0 lets the line touch the edge.")
    _check_share(name, "length", length)
    labels = np.full(mask.size, IGNORE, np.uint8)
    height, width = mask.shape
    for found in find_regions(
        name, mask, background=background, label_background=label_background, min_pixels=min_pixels
    ):
        y, x = np.divmod(found.pixels, width)
        top, left = y[0], x.min()
        box = np.zeros((y[-1] - top + 1, x.max() - left + 1), bool)
        box[y - top, x - left] = True
        rows, columns = np.divmod(scribble_path(box, inset=inset, length=length), box.shape[1])
        labels[(rows + top) * width + columns + left] = found.class_id
    return labels.reshape(height, width)


def box_labels(
    mask: Mask,
    *,
    inside: str = "unknown",
    region: str = "component",
    background: int = 0,
    min_pixels: int = 1,
) -> Mask:
    """Boxes: everything outside all boxes is background.

    Args:
        mask: [H, W] uint8.
        inside: "unknown" (255 inside every box) or "class" (a box is full of its class; where boxes overlap the
            smaller one is on top, of equal ones the later). "class" is wrong at every corner that an object leaves
            empty: about as many pixels as its shape differs from a rectangle.
        region: one box a "component" or a "class".
        background: its id.
        min_pixels: smaller regions are overlooked.

    Returns: as `weak_labels`; pixels that are 255 in the mask stay 255.
    """
    name = "box_labels"
    check_mask(name, mask)
    check_choice(name, "inside", inside, ("unknown", "class"))
    labels = np.full(mask.shape, background, np.uint8)
    boxes = []
    for found in find_regions(
        name, mask, region=region, background=background, label_background=False, min_pixels=min_pixels
    ):
        y, x = np.divmod(found.pixels, mask.shape[1])
        boxes.append((found.class_id, y[0], y[-1] + 1, x.min(), x.max() + 1))
    boxes.sort(key=lambda box: -(box[2] - box[1]) * (box[4] - box[3]))
    for class_id, top, bottom, left, right in boxes:
        labels[top:bottom, left:right] = class_id if inside == "class" else IGNORE
    labels[mask == IGNORE] = IGNORE
    return labels


def partial_labels(
    mask: Mask, *, rng: np.random.Generator, share: float = 0.1, unit: str = "blocks", block: int = 32
) -> Mask:
    """Partial masks: a share of the labelled area keeps its labels.

    Args:
        mask: [H, W] uint8.
        rng: where the draws come from.
        share: in (0, 1], of the units that hold a label, rounded to the nearest number, at least one.
        unit: "pixels", "blocks" (squares of a grid) or "regions" (connected pixels of one class).
        block: side of a square in pixels.
    """
    name = "partial_labels"
    check_mask(name, mask)
    _check_share(name, "share", share)
    _check_count(name, "block", block)
    check_choice(name, "unit", unit, ("pixels", "blocks", "regions"))
    known = mask != IGNORE
    if unit == "pixels":
        ids = np.arange(mask.size).reshape(mask.shape)
    elif unit == "regions":
        ids = connected_components(mask)
    else:
        across = -(-mask.shape[1] // block)
        ids = np.add.outer(np.arange(mask.shape[0]) // block * across, np.arange(mask.shape[1]) // block)
    units = np.unique(ids[known])
    labels = np.full(mask.shape, IGNORE, np.uint8)
    if len(units):
        chosen = rng.choice(units, max(1, int(share * len(units) + 0.5)), replace=False)
        kept = known & np.isin(ids, chosen)
        labels[kept] = mask[kept]
    return labels


_KINDS: dict[str, Callable[..., Mask]] = {
    "points": point_labels,
    "scribbles": scribble_labels,
    "boxes": box_labels,
    "partial": partial_labels,
}


def _check_count(function: str, name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RangeError(f"{function}: {name} must be an integer >= 1; got {value!r}. Pass a count.")


def _check_share(function: str, name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise RangeError(f"{function}: {name} must be in (0, 1]; got {value!r}. 1 keeps everything.")
