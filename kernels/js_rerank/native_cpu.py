"""The C++ implementation: a vectorised logarithm in double, terms in fixed point."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty


def js_rerank(
    queries: NDArray[Any],
    query_scale: NDArray[np.float64],
    hist: NDArray[Any],
    scale: NDArray[np.float64],
    weights: NDArray[np.float64],
    index: NDArray[np.int64],
    num_threads: int = 0,
) -> NDArray[np.float64]:
    """Same as ``reference.js_rerank``; queries and hist are float16, float32 or float64, all arrays C-contiguous."""
    out: NDArray[np.float64] = empty(index.shape, np.float64)
    _native.js_rerank(
        queries=queries,
        query_scale=query_scale,
        hist=hist,
        scale=scale,
        weights=weights,
        index=index,
        num_threads=num_threads,
        out=out,
    )
    return out
