"""SimSIMD and NumKong: `cdist` in blocks of rows, then a partition.

Their AVX-512 kernels leave out every bin in which either side is zero, so that sparse histograms are compared wrongly
(recall 0.16): a small number is added to all bins first, before the clock starts.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from .knn_signature import Call, Rows, scan

EPSILON = np.float32(1e-6)


def _lift(rows: Rows) -> Rows:
    lifted = rows + EPSILON
    return np.asarray(lifted / lifted.sum(axis=1, keepdims=True), np.float32)


def _make(library: Any, rows: Rows, queries: Rows, k: int, threads: int) -> Call:
    lifted, wanted = _lift(rows), _lift(queries)

    def distances(first: int, last: int) -> Any:
        return np.asarray(library.cdist(wanted, lifted[first:last], metric="jensenshannon"))

    return lambda: scan(len(rows), k, threads, distances)


def simsimd(rows: Rows, queries: Rows, k: int, threads: int) -> Call:
    """SimSIMD 6."""
    return _make(import_module("simsimd"), rows, queries, k, threads)


def numkong(rows: Rows, queries: Rows, k: int, threads: int) -> Call:
    """NumKong, its successor."""
    return _make(import_module("numkong"), rows, queries, k, threads)
