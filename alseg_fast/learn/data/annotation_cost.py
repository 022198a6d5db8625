"""What annotations cost in seconds of a person's time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...checks import check_choice
from ...errors import RangeError, UsageError
from .dataset import IGNORE
from .regions import check_mask, find_regions

SECONDS: dict[str, float] = {
    "tags": 1.0,
    "points": 2.4,
    "scribbles": 10.0,
    "boxes": 10.0,
    "masks": 78.0,
    "partial": 78.0,
}
"""Seconds of one tag, point, box and instance mask, as quoted in the talk on CoSA (X. Yang). The talk has no figure
for a scribble: 10 s, as long as a box, is this package's assumption."""

_FREE = {"inset", "length", "inside", "unit", "block"}  # options of weak_labels that change no count


def annotation_seconds(
    kind: str,
    what: npt.NDArray[np.uint8] | int,
    *,
    seconds: float | None = None,
    per_region: int = 1,
    share: float = 0.1,
    region: str = "component",
    background: int | None = 0,
    label_background: bool = True,
    min_pixels: int = 1,
    **others: Any,
) -> float:
    """Seconds that a person needs for the annotation of one image.

    What is counted in a full mask:

    ========== ====================================================================================================
    tags       classes that occur, without the background
    points     `per_region` a region (fewer where it is smaller), the background's too with `label_background`
    scribbles  one a connected region, the background's too with `label_background`
    boxes      one a region, without the background
    masks      one a connected region, without the background
    partial    `share` of the masks' cost
    ========== ====================================================================================================

    Regions stand for instances, which masks of classes do not tell apart: instances that touch count once, and one
    that is cut in two counts twice.

    Args:
        kind: "tags" | "points" | "scribbles" | "boxes" | "masks" | "partial".
        what: the full [H, W] uint8 mask, or the number of tags, points, ... if it is known (partial: of instances).
        seconds: of one item; None takes `SECONDS`.
        per_region, share, region, background, label_background, min_pixels: as they were given to `weak_labels`;
            its other options do not change the cost and may be given.

    Raises: RangeError, ShapeError, DtypeError; UsageError: no kind of label has such an option.
    """
    name = "annotation_seconds"
    check_choice(name, "kind", kind, tuple(SECONDS))
    each = SECONDS[kind] if seconds is None else float(seconds)
    if not 0 <= each < float("inf"):
        raise RangeError(f"{name}: seconds must be at least 0; got {seconds!r}. It is the time for one item.")
    if not 0 < share <= 1:
        raise RangeError(f"{name}: share must be in (0, 1]; got {share!r}. It is the share that is annotated.")
    if isinstance(per_region, bool) or not isinstance(per_region, int) or per_region < 1:
        raise RangeError(f"{name}: per_region must be an integer >= 1; got {per_region!r}. Pass a count.")
    unknown = sorted(set(others) - _FREE)
    if unknown:
        raise UsageError(f"{name}: weak labels have no option {unknown[0]!r}; correct the name")
    factor = each * (share if kind == "partial" else 1.0)
    if isinstance(what, (int, np.integer)):
        if what < 0:
            raise RangeError(f"{name}: what must be at least 0; got {what!r}. Pass a count or a mask.")
        return factor * int(what)
    mask = check_mask(name, what)
    if kind == "tags":
        return factor * len(set(np.unique(mask).tolist()) - {background, IGNORE})
    with_background = label_background and kind in ("points", "scribbles")
    regions = find_regions(
        name,
        mask,
        region=region if kind in ("points", "boxes") else "component",
        background=background,
        label_background=with_background,
        min_pixels=min_pixels,
    )
    if kind == "points":
        return factor * sum(min(per_region, len(r.pixels)) for r in regions)
    return factor * len(regions)
