"""Exhaustive searches of libraries that know the divergence: SciPy, FAISS, usearch."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from .knn_signature import Call, Rows, scan


def scipy(rows: Rows, queries: Rows, k: int, threads: int) -> Call:
    """`cdist(..., "jensenshannon")` in blocks."""
    from scipy.spatial.distance import cdist

    wide, wanted = rows.astype(np.float64), queries.astype(np.float64)

    def distances(first: int, last: int) -> Any:
        return cdist(wanted, wide[first:last], "jensenshannon")

    return lambda: scan(len(rows), k, threads, distances)


def faiss(rows: Rows, queries: Rows, k: int, threads: int) -> Call:
    """`METRIC_JensenShannon`, exhaustive; zeros are no numbers to it, so 1e-7 is added to all bins."""
    import faiss as library

    lifted, wanted = rows + np.float32(1e-7), queries + np.float32(1e-7)

    def call() -> Any:
        before = library.omp_get_max_threads()
        library.omp_set_num_threads(threads)
        try:
            return library.knn(wanted, lifted, k, metric=library.METRIC_JensenShannon)[1]
        finally:
            library.omp_set_num_threads(before)

    return call


def usearch(rows: Rows, queries: Rows, k: int, threads: int) -> Call:
    """`search(exact=True)` with the divergence as metric."""
    library: Any = import_module("usearch.index")
    metric = library.MetricKind.Divergence
    return lambda: np.asarray(library.search(rows, queries, k, metric, exact=True, threads=threads).keys, np.int64)
