"""The definition, in float64 NumPy: probabilities, their mean over passes, interpolation, mean over each region."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .common import BAD_SEGMENT, NOT_FINITE, OUT_OF_RANGE

F64 = NDArray[np.float64]


def class_probs(z: F64, activation: str) -> F64:
    """[T, C, h, w] scores -> probabilities of C classes, of 2 where there is one channel."""
    if activation == "softmax":
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))
    if activation == "sigmoid":
        q = np.exp(-np.abs(z))
        z = np.maximum(np.where(z >= 0, 1, q) / (1 + q), 1e-30)  # so that a sum of them can be divided by
    if z.shape[1] == 1:
        p = np.clip(z, 0, 1)
        return np.concatenate([1 - p, p], axis=1)
    p = np.maximum(z, 0)
    total = p.sum(axis=1, keepdims=True)
    return np.where(total > 0, p / np.where(total > 0, total, 1), 1 / z.shape[1])


def interpolate(p: F64, n_out: int, start: float, extent: float, axis: int) -> F64:
    """Linearly along one axis, of which `extent` pixels from `start` on are what the output shows."""
    n_in = p.shape[axis]
    source = np.clip(start + (np.arange(n_out) + 0.5) * extent / n_out - 0.5, 0, n_in - 1)
    before = source.astype(np.int64)
    weight = (source - before).reshape([-1 if i == axis else 1 for i in range(p.ndim)])
    after = np.minimum(before + 1, n_in - 1)
    return np.asarray(p.take(before, axis) * (1 - weight) + p.take(after, axis) * weight)


def region_probs(
    scores: NDArray[np.float32],
    activation: str,
    box: tuple[float, float, float, float],
    ids: NDArray[np.int32],
    n_segments: int,
    num_threads: int = 0,
) -> tuple[NDArray[Any], int]:
    """scores [T, C, h, w], ids [H, W] -> probabilities [S, L], status bits."""
    z = scores.astype(np.float64)
    n_labels = max(2, z.shape[1])
    means = np.full((n_segments, n_labels), 1 / n_labels)
    if not np.isfinite(z).all():
        return means, NOT_FINITE
    if activation == "probabilities" and (z.min() < -2e-3 or z.max() > 1.002):
        return means, OUT_OF_RANGE
    if ids.min() < -1 or ids.max() >= n_segments:
        return means, BAD_SEGMENT
    p = class_probs(z, activation).mean(axis=0)  # [L, h, w]
    top, left, height, width = box
    p = interpolate(interpolate(p, ids.shape[0], top, height, 1), ids.shape[1], left, width, 2)  # [L, H, W]
    for i in np.unique(ids[ids >= 0]):
        means[i] = p[:, ids == i].mean(axis=1)
    return means.astype(np.float32), 0
