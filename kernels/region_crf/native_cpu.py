"""The C++ implementation: sparse weights, vectors over classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty


def region_crf(
    probs: NDArray[np.float32],
    colors: NDArray[np.float32],
    pairs: NDArray[np.int32],
    lengths: NDArray[np.int64],
    n_iter: int,
    weight: float,
    sigma: float,
    penalty: NDArray[np.float32] | None,
    clamp: NDArray[np.int32] | None,
    num_threads: int = 0,
) -> NDArray[np.float32]:
    """Same as ``reference.region_crf``; all arrays must be C-contiguous."""
    out = empty(probs.shape, np.float32)
    _native.region_crf(
        probs=probs,
        colors=colors,
        pairs=pairs,
        lengths=lengths,
        n_iter=n_iter,
        weight=weight,
        sigma=sigma,
        penalty=penalty,
        clamp=clamp,
        num_threads=num_threads,
        out=out,
    )
    return out
