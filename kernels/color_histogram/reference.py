"""The definition, in integer NumPy: bytes of a colour space, their bins, the pixels of each bin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..slic.common import lab_to_bytes

Ints = NDArray[np.int64]


def to_hsv(rgb: Ints) -> Ints:
    """[..., 3] 0..255 -> hue in 256ths of the circle (256 is 0 again), saturation and value in 0..255, rounded."""
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    value = rgb.max(axis=-1)
    spread = value - rgb.min(axis=-1)
    sixths = np.where(r == value, g - b, np.where(g == value, b - r + 2 * spread, r - g + 4 * spread))  # times spread
    hue = (256 * sixths + 3 * spread) // np.maximum(6 * spread, 1) % 256
    saturation = (510 * spread + value) // np.maximum(2 * value, 1)
    return np.stack([hue, saturation, value], axis=-1)


def bytes_of(rgb: Ints, space: str) -> Ints:
    """[..., 3] bytes of the colour space: what is cut into bins."""
    if space == "hsv":
        return to_hsv(rgb)
    return lab_to_bytes(rgb) if space == "lab" else rgb


def color_histogram(
    images: Sequence[NDArray[np.uint8]],
    masks: Sequence[NDArray[np.bool_]] | None,
    space: str,
    bins: int,
    joint: bool,
    num_threads: int = 0,
) -> NDArray[np.uint64]:
    """images [H, W, 3], masks [H, W] or None -> counts [N, 3 bins], or [N, bins^3] where joint."""
    rows = []
    for i, image in enumerate(images):
        pixels = image.reshape(-1, 3) if masks is None else image[masks[i]]
        b = bytes_of(pixels.astype(np.int64), space) * bins // 256  # [P, 3]
        if joint:
            rows.append(np.bincount((b[:, 0] * bins + b[:, 1]) * bins + b[:, 2], minlength=bins**3))
        else:
            rows.append(np.concatenate([np.bincount(b[:, c], minlength=bins) for c in range(3)]))
    return np.stack(rows).astype(np.uint64)
