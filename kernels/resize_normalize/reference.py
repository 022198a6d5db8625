"""The definition, in float64 NumPy: two small matrices of filter weights, one an axis."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def weights(n_in: int, n_out: int, antialias: bool) -> NDArray[np.float64]:
    """[n_out, n_in] rows of a triangle filter that sums to 1; it widens when shrinking with antialias."""
    scale = n_in / n_out
    support = max(scale, 1.0) if antialias else 1.0
    centre = (np.arange(n_out) + 0.5) * scale
    if not antialias:
        centre = np.clip(centre, 0.5, n_in - 0.5)
    distance = np.abs(np.arange(n_in) + 0.5 - centre[:, None]) / support
    w = np.clip(1.0 - distance, 0.0, None)
    return np.asarray(w / w.sum(axis=1, keepdims=True))


def resize_normalize(
    image: NDArray[np.uint8],
    out: NDArray[Any],
    channel_axis: int,
    gain: tuple[float, float, float],
    bias: tuple[float, float, float],
    reverse_channels: bool,
    antialias: bool,
    num_threads: int,
) -> None:
    """Fill `out` with ``resize(image) * gain + bias`` per output channel."""
    target = out if channel_axis == 2 else np.moveaxis(out, 0, 2)  # [H, W, 3] view
    rows = weights(image.shape[0], target.shape[0], antialias)
    columns = weights(image.shape[1], target.shape[1], antialias)
    pixels = image[..., ::-1] if reverse_channels else image
    value = np.einsum("yi,ijc,xj->yxc", rows, pixels.astype(np.float64), columns, optimize=True)
    value = value * np.asarray(gain) + np.asarray(bias)
    target[...] = np.floor(np.clip(value, 0, 255) + 0.5) if out.dtype == np.uint8 else value
