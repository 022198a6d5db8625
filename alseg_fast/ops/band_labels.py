"""band_labels: pseudo-labels from activation maps, with an ignored band between two thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DataError, RangeError, ShapeError
from .map_inputs import Maps, take_beside, take_maps, take_valid
from .reliability import take_bounds

_NAME = "band_labels"
IGNORE = 255
_MOST_TAGS = 254


def band_labels(cams: Any, tags: Any = None, *, low: float, high: float, valid: Any = None) -> Any:
    """Labels of pixels from normalised activation maps: an object, background, or neither.

    With m the largest activation over the tags that are present: m > high: 1 + the tag it belongs to (the first of
    equals); m <= low: background, 0; else, and outside `valid`: 255. That is the arg-max of the maps and a constant
    background map, once with `high` and once with `low`, where the background comes first. With low == high no pixel
    is ignored. Where no tag is present all is background.

    Args:
        cams: [N, K, h, w] in 0..1, K in 1..254. NumPy or torch (CPU, CUDA), any float dtype. No gradient passes.
        tags: [N, K], present where it is not 0; None: all are.
        low, high: 0 <= low <= high <= 1.
        valid: [N, h, w] bool; None: all pixels.
    Returns: [N, h, w] uint8, of the kind and device of `cams`.
    Raises: ShapeError, DtypeError, DeviceError, RangeError (also of values that are not in 0..1), DataError (NaN, inf).
    Source: Yang et al., CoSA, ECCV 2024, its released code.
    """
    maps = take_maps(_NAME, "cams", cams, (4,), "[N, K, h, w]")
    n, k, h, w = (int(v) for v in maps.array.shape)
    if k > _MOST_TAGS:
        raise ShapeError(f"{_NAME}: cams must have at most {_MOST_TAGS} tags; got {k}. Labels are bytes.")
    below, above = take_bounds(_NAME, "(low, high)", (low, high))
    present = None
    if tags is not None:
        present = take_beside(_NAME, "tags", tags, maps, (n, k), "[N, K]") != 0
    inside = take_valid(_NAME, valid, maps, (n, h, w))
    _check_values(maps)
    labels = (_with_numpy if maps.device == "cpu" else _with_torch)(maps.array, present, inside, below, above)
    return maps.restore(labels) if maps.device == "cpu" else labels


def _check_values(maps: Maps) -> None:
    least, most = float(maps.array.min()), float(maps.array.max())
    if not (least - least == 0 and most - most == 0):
        raise DataError(f"{_NAME}: cams must be finite; it holds NaN or inf. Leave such images out.")
    if least < -1e-3 or most > 1 + 1e-3:
        raise RangeError(f"{_NAME}: cams must be in 0..1; got {least:g} to {most:g}. Normalise the maps first.")


def _with_numpy(cams: Any, present: Any, valid: Any, low: float, high: float) -> Any:
    if present is not None:
        cams = np.where(present[:, :, None, None], cams, np.float32(0))
    most = cams.max(axis=1)
    labels = (cams.argmax(axis=1) + 1).astype(np.uint8)
    labels[most <= np.float32(high)] = IGNORE
    labels[most <= np.float32(low)] = 0
    if valid is not None:
        labels[~valid] = IGNORE
    return labels


def _with_torch(cams: Any, present: Any, valid: Any, low: float, high: float) -> Any:
    import torch

    if present is not None:
        cams = torch.where(present[:, :, None, None], cams, torch.zeros_like(cams))
    most, first = cams.max(dim=1).values, cams.argmax(dim=1)
    limit_low, limit_high = (torch.tensor(v, dtype=torch.float32, device=cams.device) for v in (low, high))
    labels = (first + 1).to(torch.uint8)
    labels[most <= limit_high] = IGNORE
    labels[most <= limit_low] = 0
    if valid is not None:
        labels[~valid] = IGNORE
    return labels
