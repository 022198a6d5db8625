"""The definition, in float64 NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..uncertainty.reference import axis_positions


def foreground(
    logits: NDArray[Any], size: tuple[int, int], sigmoid: bool, align_corners: bool, num_threads: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """logits [N, T, 1, h, w] -> sums [N, 3] of p - 1/2, (p - 1/2)^2 and p ln p over passes and pixels; status [N]."""
    y0, y1, fy = axis_positions(logits.shape[3], size[0], 0.0, logits.shape[3], align_corners)
    x0, x1, fx = axis_positions(logits.shape[4], size[1], 0.0, logits.shape[4], align_corners)
    with np.errstate(all="ignore"):
        z = logits.astype(np.float64)
        z = z[..., y0, :] * (1 - fy)[:, None] + z[..., y1, :] * fy[:, None]
        z = z[..., x0] * (1 - fx) + z[..., x1] * fx
        if sigmoid:
            p, log_p = 1 / (1 + np.exp(-z)), -np.logaddexp(0, -z)
        else:
            p = np.clip(z, 0, 1)
            log_p = np.log(np.where(p > 0, p, 1))
        terms = np.stack([p - 0.5, (p - 0.5) ** 2, np.where(p > 0, p * log_p, 0)])
    status = (~np.isfinite(logits.astype(np.float64)).all(axis=(1, 2, 3, 4))).astype(np.uint8)
    if not sigmoid:
        outside = (logits < -2e-3) | (logits > 1.002)
        status = status | np.where(outside.any(axis=(1, 2, 3, 4)), 2, 0).astype(np.uint8)
    return np.asarray(terms.sum(axis=(2, 3, 4, 5)).T), np.asarray(status)
