"""The C++ implementation: one pass for the perplexity and the sums, one that scales."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty


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
    """Same as ``reference.reliability``; arrays must be C-contiguous."""
    out = empty(maps.shape, np.float32)
    status = _native.reliability(
        maps=maps,
        valid=valid,
        threshold=threshold,
        alpha=alpha,
        beta=beta,
        least_ratio=least_ratio,
        form=form,
        num_threads=num_threads,
        out=out,
    )
    return out, status
