"""The C++ implementation: the weight of each small pixel in each region, then one product per pair of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty

_ACTIVATION_CODES = {"softmax": 0, "sigmoid": 1, "probabilities": 2}


def region_probs(
    scores: NDArray[np.float32],
    activation: str,
    box: tuple[float, float, float, float],
    ids: NDArray[np.int32],
    n_segments: int,
    num_threads: int = 0,
) -> tuple[NDArray[Any], int]:
    """Same as ``reference.region_probs``; all arrays must be C-contiguous."""
    out = empty((n_segments, max(2, scores.shape[1])), np.float32)
    status = _native.region_probs(
        scores=scores,
        activation=_ACTIVATION_CODES[activation],
        box=box,
        ids=ids,
        n_segments=n_segments,
        num_threads=num_threads,
        out=out,
    )
    return out, status
