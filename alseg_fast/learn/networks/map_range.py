"""Activation maps brought to 0..1, one map at a time; flat and empty maps become 0, never NaN."""

from __future__ import annotations

import torch
from torch import Tensor

MAP_EPSILON = 1e-5
"""A map whose largest value (or range) does not exceed this holds no activation."""


def scale_maps(maps: Tensor, mode: str, eps: float) -> tuple[Tensor, Tensor]:
    """[..., h, w] -> the same shape in 0..1 in at least single precision, and [...] bool: which maps are empty.

    "max": negative values are 0, divided by the largest value. "minmax": (x - min) / (max - min). A map that is
    empty is 0 everywhere and passes no gradient. NaN is not hidden: such a map is NaN and does not count as empty.
    """
    if maps.dtype in (torch.float16, torch.bfloat16):
        maps = maps.float()
    # relu, not clamp: at exactly 0 it passes no gradient, so that a dead map stays without one.
    lifted = torch.relu(maps) if mode == "max" else maps - maps.amin(dim=(-2, -1), keepdim=True)
    top = lifted.amax(dim=(-2, -1), keepdim=True)
    empty = top <= eps
    # Where a map is empty the divisor is 1, so that neither the quotient nor its gradient is 0 / 0.
    scaled = lifted / torch.where(empty, torch.ones_like(top), top)
    return scaled.masked_fill(empty, 0.0), empty[..., 0, 0]
