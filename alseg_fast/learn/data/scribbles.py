"""A thin line along the middle of a region, as an annotator would draw it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .regions import connected_components


def scribble_path(region: npt.NDArray[np.bool_], *, inset: float, length: float) -> npt.NDArray[np.int64]:
    """Flat indices of an 8-connected path of single pixels inside a region, from end to end.

    The longest geodesic (found by two breadth-first searches, each to the farthest pixel) of the region's core: the
    largest connected part of the pixels whose city-block distance to the outside is at least `inset` times the
    largest one. Among shortest paths the one through deeper pixels is taken, step by step. No random numbers.

    Args:
        region: [H, W] bool, at least one pixel; the outside of the array is outside.
        inset: in [0, 1).
        length: share of the path that is kept, around its middle, in (0, 1].
    """
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    top, left = rows[0], columns[0]
    box = np.pad(region[top : rows[-1] + 1, left : columns[-1] + 1], 1)
    depth = _depth(box)
    core = depth >= max(1.0, inset * depth.max())
    parts = connected_components(core.view(np.uint8))
    sizes = np.bincount(parts.ravel())
    sizes[np.unique(parts[~core])] = 0
    core = parts == sizes.argmax()
    path = _longest_geodesic(core, depth)
    n_kept = max(1, int(length * len(path) + 0.5))
    first = (len(path) - n_kept) // 2
    y, x = np.divmod(path[first : first + n_kept], box.shape[1])
    indices: npt.NDArray[np.int64] = (y - 1 + top) * region.shape[1] + x - 1 + left
    return indices


def _depth(box: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """City-block distance to the nearest pixel outside; the border of the array is outside."""
    depth = np.where(box, sum(box.shape), 0)
    for axis in (0, 1):
        shape = [1, 1]
        shape[axis] = -1
        ramp = np.arange(box.shape[axis]).reshape(shape)
        ahead = np.minimum.accumulate(depth - ramp, axis) + ramp
        back = np.flip(np.minimum.accumulate(np.flip(depth + ramp, axis), axis), axis) - ramp
        depth = np.minimum(ahead, back)
    return depth


def _longest_geodesic(core: npt.NDArray[np.bool_], depth: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Flat indices from one end to the other; `core` has a border of False."""
    width = core.shape[1]
    steps = np.array([dy * width + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx])
    free = core.ravel()
    start = _farthest(_distances(free, int(np.flatnonzero(free)[0]), steps))
    distances = _distances(free, start, steps)
    at = _farthest(distances)
    path = [at]
    flat_depth = depth.ravel()
    while distances[at]:
        near = at + steps
        near = near[distances[near] == distances[at] - 1]
        at = int(near[np.argmax(flat_depth[near])])
        path.append(at)
    return np.array(path)


def _farthest(distances: npt.NDArray[np.int64]) -> int:
    return int(np.argmax(distances))


def _distances(free: npt.NDArray[np.bool_], start: int, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Steps from `start` to every free pixel, -1 elsewhere."""
    distances = np.full(len(free), -1)
    owner = np.zeros(len(free), np.int64)
    frontier = np.array([start])
    distances[start] = level = 0
    while len(frontier):
        level += 1
        near = (frontier[:, None] + steps).ravel()
        near = near[free[near] & (distances[near] < 0)]
        distances[near] = level
        owner[near] = np.arange(len(near))
        frontier = near[owner[near] == np.arange(len(near))]  # each pixel once
    return distances
