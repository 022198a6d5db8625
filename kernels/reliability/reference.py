"""The definition, in float64 NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PERPLEXITY, RECIPROCAL, PRINTED = 0, 1, 2  # forms
SLACK = 1e-3  # by which rounding may leave 0..1


def reliability(
    maps: NDArray[np.float32],
    valid: NDArray[np.bool_] | None,
    threshold: float,
    alpha: float,
    beta: float,
    least_ratio: float,
    form: int,
    num_threads: int = 0,
) -> tuple[NDArray[np.float32], int]:
    """maps [N, P], valid [N, P] or None -> [N, P], and 1 if a value is not in 0..1.

    d = (m - threshold) / (1 - threshold) from the threshold on, (threshold - m) / threshold below it, in
    [least_ratio, 1]; perplexity = (-ln(alpha d))^beta. Reciprocal: (1 / perplexity) over its mean over valid pixels;
    printed: perplexity over the mean of 1 / perplexity; 0 where a pixel is not valid.
    """
    m = maps.astype(np.float64)
    if not ((m >= -SLACK) & (m <= 1 + SLACK)).all():
        return np.zeros(maps.shape, np.float32), 1
    ratio = np.where(m >= threshold, (m - threshold) / (1 - threshold), (threshold - m) / threshold)
    perplexity = (-np.log(alpha * np.clip(ratio, least_ratio, 1))) ** beta
    if form == PERPLEXITY:
        return perplexity.astype(np.float32), 0
    inside = np.ones(maps.shape, bool) if valid is None else valid
    total = np.where(inside, 1 / perplexity, 0).sum(axis=1, keepdims=True)
    scale = inside.sum(axis=1, keepdims=True) / np.where(total > 0, total, 1)
    weights = np.where(inside, (1 / perplexity if form == RECIPROCAL else perplexity) * scale, 0)
    return weights.astype(np.float32), 0
