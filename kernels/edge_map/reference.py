"""The definition, in float64 NumPy: gradient or change of label, then the largest value in a square."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def gradient(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """[H, W] or [H, W, 3] uint8 -> Sobel magnitude in 0..1, the border repeated."""
    grey = np.asarray(image if image.ndim == 2 else image @ np.array(LUMA), np.float64) / 255
    p = np.pad(grey, 1, mode="edge")
    dx, dy = p[:, 2:] - p[:, :-2], p[2:] - p[:-2]
    gx = (dx[:-2] + 2 * dx[1:-1] + dx[2:]) / 4
    gy = (dy[:, :-2] + 2 * dy[:, 1:-1] + dy[:, 2:]) / 4
    magnitude: NDArray[np.float64] = np.sqrt((gx**2 + gy**2) / 2)
    return magnitude


def changes(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """[H, W] -> where one of the four neighbours has another label."""
    p = np.pad(labels, 1, mode="edge")
    around = (p[:-2, 1:-1], p[2:, 1:-1], p[1:-1, :-2], p[1:-1, 2:])
    changed: NDArray[np.bool_] = np.any([n != labels for n in around], axis=0)
    return changed


def edge_map(
    image: NDArray[np.uint8] | None,
    labels: NDArray[np.int32] | None,
    threshold: float,
    dilation: int,
    num_threads: int = 0,
) -> NDArray[np.bool_]:
    """Exactly one of image and labels -> [H, W] bool."""
    if image is not None:
        edges: Any = gradient(image) >= threshold
    else:
        assert labels is not None
        edges = changes(labels)
    out = np.zeros_like(edges)
    for y, x in np.argwhere(edges):
        out[max(y - dilation, 0) : y + dilation + 1, max(x - dilation, 0) : x + dilation + 1] = True
    return np.asarray(out, bool)
