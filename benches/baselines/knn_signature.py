"""What every baseline of `bench knn` looks like.

``make(rows, queries, k, threads) -> call`` with rows [N, D] and queries [Q, D] float32, distributions: what is
compared is their Jensen-Shannon divergence. ``call()`` gives [Q, k] row numbers, in any order of distance.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
Call = Callable[[], NDArray[np.integer[Any]]]

ROWS_A_BLOCK = 65536


def scan(n: int, k: int, threads: int, distances: Callable[[int, int], NDArray[Any]]) -> NDArray[np.int64]:
    """The k smallest of blocks of distances [Q, last - first], by partition; blocks on threads."""

    def best(first: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        d = distances(first, min(first + ROWS_A_BLOCK, n))
        chosen = np.argpartition(d, min(k, d.shape[1]) - 1, axis=1)[:, :k]
        return np.take_along_axis(d, chosen, 1), chosen + first

    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(best, range(0, n, ROWS_A_BLOCK)))
    d, rows = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
    return np.asarray(np.take_along_axis(rows, np.argpartition(d, k - 1, axis=1)[:, :k], 1), np.int64)
