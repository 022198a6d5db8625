"""The definition, in float64 NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..js_rerank.reference import divergence_terms


def js_channel_sums(hist: NDArray[Any], scale: NDArray[np.float64], num_threads: int = 0) -> NDArray[np.float64]:
    """Rows hist [n, D] with scale [n, C] (see ``js_knn/common.py``) -> sums [C] float64 in nats: of the divergence of
    the channel over all ordered pairs of rows, self pairs (0) included.

    An implementation may round to float inside: relative error of a sum at most 1e-5 (plus what 1e-13 a pair is).
    """
    n, dim = hist.shape
    channels = scale.shape[1]
    shares = hist.astype(np.float64).reshape(n, channels, dim // channels) * scale[:, :, None]
    sums = np.zeros(channels)
    for row in shares:
        sums += divergence_terms(row, shares).sum(axis=(0, 2))
    return sums
