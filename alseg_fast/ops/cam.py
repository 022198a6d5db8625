"""Class activation maps as scores in 0..1 beside a background, at the resolution of the maps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import RangeError, ShapeError
from ..types import CAM_BACKGROUND
from .uncertainty_inputs import Scores, same_kind, take_box, take_scores

CAM_EPSILON = 1e-5  # a map that nowhere exceeds it is empty, not blown up to the full range


Box = tuple[float, float, float, float]


def cam_probabilities(
    cams: Any, image_labels: Any = None, background: float = CAM_BACKGROUND, *, box: Box | None = None
) -> Any:
    """Class activation maps as what `uncertainty` makes of them with activation="cam", for any other use.

    Args:
        cams: [N, C, h, w] or [N, T, C, h, w], as `uncertainty` takes logits.
        image_labels: [N, C], nonzero where the class is present; None: all may be.
        background: score of the background beside maps in 0..1.
        box: (top, left, height, width) of the part of the maps that the picture covers; the largest value is sought
            there.
    Returns: float32 of the same kind with C + 1 channels, background first; for activation="probabilities".
    Raises: ShapeError, DtypeError, RangeError, DeviceError; the message names the argument.
    """
    name = "cam_probabilities"
    scores = take_scores(name, cams)
    part = take_box(name, box, tuple(scores.array.shape[3:]), False)
    made = cam_scores(name, scores, image_labels, background, part).array
    made = made if len(cams.shape) == 5 else made[:, 0]
    if scores.torch_device is None or scores.device != "cpu":
        return made
    import torch

    return torch.from_numpy(made)


def cam_scores(name: str, scores: Scores, image_labels: Any, background: float, box: Box) -> Scores:
    """[N, T, C, h, w] class activation maps -> [N, T, C + 1, h, w] scores in 0..1 with the background first.

    Negative activations are 0; each map is divided by its largest value inside `box` (not above 1 outside) and
    multiplied by its image label; the background has the constant score `background`. NaN stays NaN, whatever the
    label.
    """
    if not 0.0 < background < 1.0:
        raise RangeError(f"{name}: background must be in (0, 1); got {background!r}. 0.45 is the default.")
    present = None
    if image_labels is not None:
        n, _, c = scores.array.shape[:3]
        present = same_kind(name, "image_labels", image_labels, scores)
        if tuple(present.shape) != (n, c):
            raise ShapeError(
                f"{name}: image_labels must have shape [N, C] = [{n}, {c}]; got {list(present.shape)}. "
                "Give one row an image, nonzero where the class is present."
            )
        present = (present != 0)[:, None, :, None, None]
    top, left, height, width = box
    inside = (..., *(slice(math.floor(a), math.ceil(a + n)) for a, n in ((top, height), (left, width))))
    made = (_with_numpy if scores.device == "cpu" else _with_torch)(scores, present, background, inside)
    return Scores(made, scores.device, False, scores.torch_device)


def _with_numpy(scores: Scores, present: Any, background: float, inside: Any) -> Any:
    cams: Any = scores.array
    if scores.bfloat16:
        cams = (cams.astype(np.uint32) << 16).view(np.float32)
    cams = cams.astype(np.float32)
    with np.errstate(invalid="ignore"):
        # x - x is 0, but NaN for inf and NaN: they must not vanish below 0 or behind an absent label.
        cams = np.maximum(cams, 0) + (cams - cams)
        cams = np.minimum(cams / np.maximum(cams[inside].max(axis=(3, 4), keepdims=True), CAM_EPSILON), 1)
        if present is not None:
            cams = cams * present.astype(np.float32)
    first = np.full((*cams.shape[:2], 1, *cams.shape[3:]), background, np.float32)
    return np.concatenate([first, cams], axis=2)


def _with_torch(scores: Scores, present: Any, background: float, inside: Any) -> Any:
    import torch

    cams = scores.array.float()
    cams = cams.clamp_min(0) + (cams - cams)
    cams = (cams / cams[inside].amax(dim=(3, 4), keepdim=True).clamp_min(CAM_EPSILON)).clamp_max(1)
    if present is not None:
        cams = cams * present
    first = cams.new_full((*cams.shape[:2], 1, *cams.shape[3:]), background)
    return torch.cat([first, cams], dim=2)
