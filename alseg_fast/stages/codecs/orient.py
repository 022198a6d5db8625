"""EXIF orientation applied to decoded pixels."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]

_BAND = 64
_VIEWS: dict[int, Callable[[Plane], Plane]] = {
    1: lambda plane: plane,
    2: lambda plane: plane[:, ::-1],
    3: lambda plane: plane[::-1, ::-1],
    4: lambda plane: plane[::-1],
    5: lambda plane: plane.T,
    6: lambda plane: plane.T[:, ::-1],
    7: lambda plane: plane[::-1, ::-1].T,
    8: lambda plane: plane.T[::-1],
}


def orient(pixels: NDArray[np.uint8], orientation: int, out: NDArray[np.uint8]) -> None:
    """Write pixels [h, w, 3] upright into out: [h, w, 3] for orientation 1..4, [w, h, 3] for 5..8.

    Channel by channel: a strided copy of single bytes is three times as fast as one of 3-byte pixels.
    Band by band, where rows become columns: 64 of them stay in the cache.
    """
    view = _VIEWS[orientation]
    columns = out.shape[1]
    band = _BAND if orientation >= 5 else columns
    for start in range(0, columns, band):
        for channel in range(3):
            out[:, start : start + band, channel] = view(pixels[..., channel])[:, start : start + band]
