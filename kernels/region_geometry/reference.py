"""The definition, in NumPy: look at each region, and at each edge between two pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
Shapes = tuple[I64, NDArray[np.int32], I64, I64 | None]


def in_range(ids: NDArray[np.int32], n_segments: int) -> bool:
    return bool(ids.min() >= -1 and ids.max() < n_segments)


def pixel_edges(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The two pixels at every edge between neighbours of [H, W], first those side by side."""
    first = np.concatenate([values[:, :-1].ravel(), values[:-1].ravel()])
    return first, np.concatenate([values[:, 1:].ravel(), values[1:].ravel()])


def region_geometry(
    ids: NDArray[np.int32], n_segments: int, labels: NDArray[Any] | None, num_threads: int = 0
) -> Shapes | None:
    """ids [H, W] -> area [S], boxes [S, 4], perimeter [S], label_edges [S] or None; None: an id is out of range."""
    if not in_range(ids, n_segments):
        return None
    area, perimeter, edges = (np.zeros(n_segments, np.int64) for _ in range(3))
    boxes = np.zeros((n_segments, 4), np.int32)
    first, second = pixel_edges(np.pad(ids, 1, constant_values=-2))
    for i in range(n_segments):
        ys, xs = np.nonzero(ids == i)
        area[i] = ys.size
        perimeter[i] = ((first == i) != (second == i)).sum()
        if ys.size:
            boxes[i] = xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1
    if labels is None:
        return area, boxes, perimeter, None
    first, second = pixel_edges(ids)
    one, other = pixel_edges(labels)
    within = first[(first == second) & (first >= 0) & (one != other)]
    edges += np.bincount(within, minlength=n_segments)
    return area, boxes, perimeter, edges


def region_colors(
    image: NDArray[np.uint8], ids: NDArray[np.int32], n_segments: int, num_threads: int = 0
) -> NDArray[np.float32] | None:
    """image [H, W] or [H, W, 3], ids [H, W] -> mean colours [S, 3], 0 without a pixel; None: an id is out of range."""
    if not in_range(ids, n_segments):
        return None
    pixels = np.broadcast_to(image[..., None], (*ids.shape, 3)) if image.ndim == 2 else image
    means = np.zeros((n_segments, 3))
    for i in np.unique(ids[ids >= 0]):
        means[i] = pixels[ids == i].mean(axis=0)
    return means.astype(np.float32)


def region_adjacency(
    ids: NDArray[np.int32], n_segments: int, num_threads: int = 0
) -> tuple[NDArray[np.int32], I64] | None:
    """ids [H, W] -> pairs [E, 2] sorted, lengths [E]; None: an id is out of range."""
    if not in_range(ids, n_segments):
        return None
    both = np.sort(np.stack(pixel_edges(ids), axis=1), axis=1)
    both = both[(both[:, 0] >= 0) & (both[:, 0] != both[:, 1])]
    pairs, lengths = np.unique(both, axis=0, return_counts=True)
    return pairs.astype(np.int32).reshape(-1, 2), lengths.astype(np.int64)
