"""Connected regions of one class in a mask: what an annotator sees as separate things."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...checks import check_choice, check_ndim
from ...errors import DtypeError, RangeError
from .dataset import IGNORE

REGIONS = ("component", "class")


class Region(NamedTuple):
    """Pixels of one class that are annotated together.

    Attributes:
        class_id: their class.
        pixels: flat indices into the mask, ascending.
    """

    class_id: int
    pixels: npt.NDArray[np.int64]


def connected_components(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """[H, W] ids 0..R - 1 of the 8-connected pixels of equal value, numbered in reading order; -1 where 255."""
    height, width = mask.shape
    starts = np.ones((height, width), bool)
    starts[:, 1:] = mask[:, 1:] != mask[:, :-1]
    runs = np.cumsum(starts.ravel()).reshape(height, width) - 1  # one id a horizontal run
    first, second = [], []
    for shift in (-1, 0, 1):
        above = slice(max(0, -shift), width - max(0, shift))
        below = slice(max(0, shift), width + min(0, shift))
        touching = mask[:-1, above] == mask[1:, below]
        first.append(runs[:-1, above][touching])
        second.append(runs[1:, below][touching])
    roots = _merge(int(runs[-1, -1]) + 1, np.concatenate(first), np.concatenate(second))
    values = mask.ravel()[np.flatnonzero(starts)]
    known = values != IGNORE
    ids = np.full(len(roots), -1, np.int64)
    _, ids[known] = np.unique(roots[known], return_inverse=True)  # a root is the first run of its region
    components: npt.NDArray[np.int64] = ids[runs]
    return components


def _merge(n: int, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """[n] the smallest member of each node's group under the given edges."""
    fresh = np.ones(len(first), bool)  # neighbouring pixels of the same two runs give the same edge
    fresh[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    first, second = first[fresh], second[fresh]
    roots = np.arange(n)
    while True:
        a, b = roots[first], roots[second]
        apart = a != b
        if not apart.any():
            return roots
        first, second, a, b = first[apart], second[apart], a[apart], b[apart]
        np.minimum.at(roots, np.maximum(a, b), np.minimum(a, b))
        while True:
            nearer = roots[roots]
            if np.array_equal(nearer, roots):
                break
            roots = nearer


def find_regions(
    function: str,
    mask: npt.NDArray[np.uint8],
    *,
    region: str = "component",
    background: int | None = 0,
    label_background: bool = True,
    min_pixels: int = 1,
) -> list[Region]:
    """The regions of a checked mask that an annotator would label, in reading order (classes: ascending).

    Args:
        function: named in errors.
        region: "component" (8-connected pixels of a class; things that touch are one) or "class" (all its pixels).
        background: its id; None: the data set has none.
        label_background: the background is annotated like a class.
        min_pixels: smaller regions are overlooked.
    """
    check_choice(function, "region", region, REGIONS)
    if isinstance(min_pixels, bool) or not isinstance(min_pixels, int) or min_pixels < 1:
        raise RangeError(f"{function}: min_pixels must be an integer >= 1; got {min_pixels!r}. 1 keeps every region.")
    flat = mask.ravel()
    whole = np.where(flat == IGNORE, -1, flat.astype(np.int64))
    ids = connected_components(mask).ravel() if region == "component" else whole
    order = np.argsort(ids, kind="stable")
    order = order[np.searchsorted(ids[order], 0) :]  # without -1
    borders = np.flatnonzero(np.diff(ids[order])) + 1
    found = [Region(int(flat[p[0]]), p) for p in np.split(order, borders) if len(p) >= min_pixels]
    return [r for r in found if label_background or r.class_id != background]


def check_mask(function: str, mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """[H, W] uint8 class ids, 255 where none."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.uint8:
        found = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
        raise DtypeError(f"{function}: mask must be a uint8 array; got {found}. Pass class ids, {IGNORE} where none.")
    check_ndim(function, "mask", mask, (2,), "[H, W]")
    return mask
