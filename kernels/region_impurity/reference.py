"""The definition, in float64 NumPy: for every pixel, look at its window."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .common import BAD_LABEL, NOT_FINITE


def region_impurity(
    labels: NDArray[Any],
    entropy: NDArray[np.float32] | None,
    valid: NDArray[np.bool_] | None,
    n_classes: int,
    radius: int,
    num_threads: int = 0,
) -> tuple[NDArray[np.float32], int]:
    """labels [N, H, W], entropy [N, H, W] or None, valid [N, H, W] or None -> scores [N, H, W], status bits."""
    counts = np.ones(labels.shape, bool) if valid is None else valid
    out = np.zeros(labels.shape)
    status = BAD_LABEL if (labels[counts] >= n_classes).any() else 0
    if entropy is not None and not np.isfinite(entropy[counts]).all():
        status |= NOT_FINITE
    if status:
        return out.astype(np.float32), status
    for i, y, x in np.argwhere(counts):
        window = (i, slice(max(y - radius, 0), y + radius + 1), slice(max(x - radius, 0), x + radius + 1))
        inside = counts[window]
        shares = np.bincount(labels[window][inside]) / inside.sum()
        shares = shares[shares > 0]
        out[i, y, x] = -(shares * np.log(shares)).sum()
        if entropy is not None:
            out[i, y, x] *= entropy[window][inside].astype(np.float64).mean()
    return out.astype(np.float32), status
