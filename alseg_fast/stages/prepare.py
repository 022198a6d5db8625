"""A decoded picture -> its place in the model's input tensor: stretch, letterbox or short side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ops import resize_normalize
from ..runtimes.spec import ModelSpec

SIZE_MULTIPLE = 32
"""Sides of short-side inputs are rounded to this: encoders halve their input up to five times."""


@dataclass(frozen=True)
class Placement:
    """Where the picture lies in the input tensor, in input pixels."""

    size: tuple[int, int]  # (h, w) of the input tensor
    top: int
    left: int
    height: int
    width: int

    def box(self, logits_size: tuple[int, int]) -> tuple[float, float, float, float] | None:
        """The same part in logit pixels; None when it is all of them."""
        if (self.height, self.width) == self.size:
            return None
        y, x = logits_size[0] / self.size[0], logits_size[1] / self.size[1]
        return self.top * y, self.left * x, self.height * y, self.width * x


def place(spec: ModelSpec, width: int, height: int) -> Placement:
    """Place a width x height picture by the model's resize rule.

    stretch: fills the input, aspect ratio not kept. letterbox: kept, centred, the rest padded. short-side:
    kept, the shorter side becomes the shorter input side, both rounded to multiples of 32 (needs a graph
    that takes any size).
    """
    h, w = spec.input_size
    if spec.resize == "stretch":
        return Placement((h, w), 0, 0, h, w)
    if spec.resize == "letterbox":
        scale = min(h / height, w / width)
        inner_h = min(h, max(1, round(height * scale)))
        inner_w = min(w, max(1, round(width * scale)))
        return Placement((h, w), (h - inner_h) // 2, (w - inner_w) // 2, inner_h, inner_w)
    scale = min(h, w) / min(height, width)
    size = (_multiple(height * scale), _multiple(width * scale))
    return Placement(size, 0, 0, *size)


def _multiple(pixels: float) -> int:
    return max(1, round(pixels / SIZE_MULTIPLE)) * SIZE_MULTIPLE


def decode_at_least(spec: ModelSpec) -> tuple[int, int]:
    """(height, width) below which decoding must not shrink a picture."""
    if spec.resize == "short-side":
        return (min(spec.input_size),) * 2
    return spec.input_size


def fill(spec: ModelSpec, image: NDArray[np.uint8], placement: Placement, slot: NDArray[Any]) -> None:
    """Write the picture into one image's slot of the input batch.

    Args:
        image: [h, w, 3] uint8 RGB.
        slot: [3, H, W] or [H, W, 3] by the model's layout. Padding is 0, which after normalisation is the
            model's mean colour.
    """
    last = spec.input_layout == "NHWC"
    rows = slice(placement.top, placement.top + placement.height)
    columns = slice(placement.left, placement.left + placement.width)
    if (placement.height, placement.width) != placement.size:
        slot[...] = 0
    resize_normalize(
        image,
        slot[rows, columns] if last else slot[:, rows, columns],
        mean=spec.mean,
        std=spec.std,
        scale=spec.scale,
        bgr=spec.channel_order == "bgr",
        channels_last=last,
        num_threads=1,
    )
