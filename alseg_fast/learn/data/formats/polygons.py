"""Polygons as masks: a pixel is inside if its centre is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def fill_polygon(points: npt.NDArray[np.floating], out: npt.NDArray[np.bool_]) -> None:
    """Set the pixels of out [H, W] whose centres lie inside a polygon (even-odd rule).

    Args:
        points: [n, 2] x, y in pixel edges: the picture is 0 .. W by 0 .. H, the first pixel's centre is (0.5, 0.5).
            Parts outside the picture are cut off. A centre exactly on a left or upper edge is inside, on a right or
            lower edge outside, so polygons that share an edge neither overlap nor leave a gap.
    """
    height, width = out.shape
    start = np.asarray(points, np.float64)
    stop = np.roll(start, -1, axis=0)
    # The row of centres y = r + 0.5 crosses an edge if min(y) <= r + 0.5 < max(y).
    low, high = np.minimum(start[:, 1], stop[:, 1]), np.maximum(start[:, 1], stop[:, 1])
    first = np.clip(np.ceil(low - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(high - 0.5), 0, height).astype(np.int64)
    counts = np.maximum(last - first, 0)
    if not counts.any():
        return
    edge = np.repeat(np.arange(len(start)), counts)
    rows = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    rise = (stop[edge, 1] - start[edge, 1]).astype(np.float64)
    x = start[edge, 0] + (rows + 0.5 - start[edge, 1]) / rise * (stop[edge, 0] - start[edge, 0])
    columns = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
    top, bottom = int(rows.min()), int(rows.max()) + 1
    # Every crossing switches inside and outside for all pixels to its right.
    switches = np.zeros((bottom - top, width + 1), np.int32)
    np.add.at(switches, (rows - top, columns), 1)
    out[top:bottom] |= (np.cumsum(switches[:, :width], axis=1) & 1).astype(np.bool_)


def fill_polygons(polygons: Sequence[npt.NDArray[np.floating]], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """[H, W] union of polygons."""
    out = np.zeros(size, np.bool_)
    for points in polygons:
        fill_polygon(points, out)
    return out
