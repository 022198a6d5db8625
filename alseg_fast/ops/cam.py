"""Class activation maps as scores in 0..1 beside a background, at the resolution of the maps."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import RangeError, ShapeError
from .uncertainty_inputs import Scores, same_kind

CAM_EPSILON = 1e-5  # a map that nowhere exceeds it is empty, not blown up to the full range


def cam_scores(name: str, scores: Scores, image_labels: Any, background: float) -> Scores:
    """[N, T, C, h, w] class activation maps -> [N, T, C + 1, h, w] scores in 0..1 with the background first.

    Negative activations are 0; each map is divided by its largest value and multiplied by its image label; the
    background has the constant score `background`. NaN stays NaN, whatever the label.
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
    made = (_with_numpy if scores.device == "cpu" else _with_torch)(scores, present, background)
    return Scores(made, scores.device, False, scores.torch_device)


def _with_numpy(scores: Scores, present: Any, background: float) -> Any:
    cams: Any = scores.array
    if scores.bfloat16:
        cams = (cams.astype(np.uint32) << 16).view(np.float32)
    cams = cams.astype(np.float32)
    with np.errstate(invalid="ignore"):
        # x - x is 0, but NaN for inf and NaN: they must not vanish below 0 or behind an absent label.
        cams = np.maximum(cams, 0) + (cams - cams)
        cams = cams / np.maximum(cams.max(axis=(3, 4), keepdims=True), CAM_EPSILON)
        if present is not None:
            cams = cams * present.astype(np.float32)
    first = np.full((*cams.shape[:2], 1, *cams.shape[3:]), background, np.float32)
    return np.concatenate([first, cams], axis=2)


def _with_torch(scores: Scores, present: Any, background: float) -> Any:
    import torch

    cams = scores.array.float()
    cams = cams.clamp_min(0) + (cams - cams)
    cams = cams / cams.amax(dim=(3, 4), keepdim=True).clamp_min(CAM_EPSILON)
    if present is not None:
        cams = cams * present
    first = cams.new_full((*cams.shape[:2], 1, *cams.shape[3:]), background)
    return torch.cat([first, cams], dim=2)
