"""The C++ implementation: every pair once, in float with terms that keep their relative precision."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty


def js_channel_sums(hist: NDArray[Any], scale: NDArray[np.float64], num_threads: int = 0) -> NDArray[np.float64]:
    """Same as ``reference.js_channel_sums``; all arrays must be C-contiguous."""
    sums: NDArray[np.float64] = empty((scale.shape[1],), np.float64)
    _native.js_channel_sums(hist=hist, scale=scale, num_threads=num_threads, out=sums)
    return sums
