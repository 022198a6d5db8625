"""The definition, in float64 NumPy: the distance to every row, sorted by (distance, key)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..js_rerank.reference import js_rerank
from .common import LN2, NO_KEY, Block, KnnResult, embed

ROUNDING = 1e-12  # more than the bound and the distances are off by


def js_knn(
    queries: NDArray[np.float32],
    query_scale: NDArray[np.float64],
    blocks: Sequence[Block],
    k: int,
    weights: NDArray[np.float64],
    exclude: NDArray[np.int64] | None = None,
    within: NDArray[np.float64] | None = None,
    candidates: int = 0,
    num_threads: int = 0,
) -> KnnResult:
    """The k nearest rows of all blocks to each query, by (distance, key).

    Args:
        queries: [Q, D] float32, C-contiguous, with query_scale [Q, C]: as `Block.hist` and `Block.scale`.
        weights: [C] float64, > 0, sum 1.
        exclude: [Q] int64, the key of a row that is no neighbour of the query (itself), or NO_KEY.
        within: [Q] float64, only rows at a distance < within count.
        candidates: 0: exact, and certified for every query. m >= k: only the m rows with the smallest h2 of each
            query are looked at; certified where there are no others, or where ln 2 * h2 of the last of them is above
            the k-th distance (at it, a row that was not looked at may tie with the k-th and have a smaller key).
    """
    n_queries = len(queries)
    hist = np.concatenate([b.hist.astype(np.float32) for b in blocks])
    scale = np.concatenate([b.scale for b in blocks])
    key = np.concatenate([b.key for b in blocks])
    alive = np.concatenate([np.ones(len(b.key), np.bool_) if b.alive is None else b.alive for b in blocks])
    rows = embed(hist, scale, weights)
    result = KnnResult(
        np.full((n_queries, k), NO_KEY),
        np.full((n_queries, k), np.inf),
        np.ones(n_queries, np.bool_),
        np.zeros(n_queries, np.int64),
        np.zeros(n_queries, np.int64),
        np.zeros(n_queries, np.int32),
    )
    for i in range(n_queries):
        rest = np.flatnonzero(alive if exclude is None else alive & (key != exclude[i]))
        result.visited[i] = len(rest)
        h2 = 1 - rows[rest] @ embed(queries[i : i + 1], query_scale[i : i + 1], weights)[0]
        chosen = np.lexsort((key[rest], h2))[: candidates or len(rest)]
        unseen = np.inf if len(chosen) == len(rest) else LN2 * h2[chosen[-1]] - ROUNDING
        chosen = rest[chosen]
        result.reranked[i] = len(chosen)
        d = js_rerank(queries[i : i + 1], query_scale[i : i + 1], hist, scale, weights, chosen[None], num_threads)[0]
        limit = np.inf if within is None else within[i]
        chosen, d = chosen[d < limit], d[d < limit]
        best = np.lexsort((key[chosen], d))[:k]
        result.keys[i, : len(best)] = key[chosen[best]]
        result.distances[i, : len(best)] = d[best]
        # A row at just the k-th distance could still be a neighbour, by its key; one at the limit is none.
        result.certified[i] = unseen >= limit or (len(best) == k and unseen > d[best[-1]])
    return result
