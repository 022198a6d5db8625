"""The definition, in float64 NumPy.

With m = (p + q) / 2 and r = (p - q) / (p + q), the divergence is the sum over bins of m * g(r), where
g(r) = ((1 + r) ln(1 + r) + (1 - r) ln(1 - r)) / 2 >= 0: no logarithm of 0 and no cancellation between bins. Every term
becomes a multiple of 2^-60 before it is added, so that a sum does not depend on the order of the bins: rows that are
equally far by symmetry are so to the last bit, for every implementation that adds the same terms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FIXED_POINT = 2.0**60


def divergence_terms(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """m * g(r) of each bin; p, q >= 0 and broadcast."""
    m = (p + q) / 2
    r = np.divide(p - q, p + q, out=np.zeros(np.broadcast_shapes(p.shape, q.shape)), where=p + q > 0)
    a = np.abs(r)
    rest = 1 - a
    inner = np.log1p(-a, out=np.zeros_like(a), where=rest > 0) * rest
    return np.asarray(m * ((1 + a) * np.log1p(a) + inner) / 2)


def js_rerank(
    queries: NDArray[np.float32],
    query_scale: NDArray[np.float64],
    hist: NDArray[Any],
    scale: NDArray[np.float64],
    weights: NDArray[np.float64],
    index: NDArray[np.int64],
    num_threads: int = 0,
) -> NDArray[np.float64]:
    """queries [Q, D] with query_scale [Q, C], rows hist [n, D] with scale [n, C] (see ``js_knn/common.py``), weights
    [C] that sum to 1, index [Q, m] of rows -> distances [Q, m] float64 in nats; inf where the index is negative.
    """
    n_queries, dim = queries.shape
    channels = query_scale.shape[1]
    bins = dim // channels
    p_all = queries.astype(np.float64) * np.repeat(query_scale, bins, axis=1)
    out = np.full(index.shape, np.inf)
    for i in range(n_queries):
        found = index[i] >= 0
        rows = index[i][found]
        q = hist[rows].astype(np.float64) * np.repeat(scale[rows], bins, axis=1)
        terms = divergence_terms(p_all[i], q) * np.repeat(weights, bins)
        out[i, found] = np.rint(np.maximum(terms, 0) * FIXED_POINT).astype(np.int64).sum(axis=1) / FIXED_POINT
    return out
