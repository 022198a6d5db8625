"""Approximate graph indexes on the divergence, with the settings of their best recall; the build is not timed here."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .knn_signature import Call, Rows


def nmslib(rows: Rows, queries: Rows, k: int, threads: int) -> Call:
    """HNSW in the space `jsdivfast`, M = 16, efConstruction = 200, ef = 400."""
    import nmslib as library

    index = library.init(method="hnsw", space="jsdivfast", data_type=library.DataType.DENSE_VECTOR)
    index.addDataPointBatch(np.maximum(rows, np.float32(1e-7)))
    index.createIndex({"M": 16, "efConstruction": 200, "indexThreadQty": threads})
    index.setQueryTimeParams({"ef": 400})
    wanted = np.maximum(queries, np.float32(1e-7))

    def call() -> Any:
        found = np.full((len(queries), k), -1, np.int64)
        for i, (names, _) in enumerate(index.knnQueryBatch(wanted, k=k, num_threads=threads)):
            found[i, : len(names)] = names
        return found

    return call


def pynndescent(rows: Rows, queries: Rows, k: int, threads: int) -> Call:
    """`metric="jensen_shannon"`, 30 neighbours in the graph, epsilon = 0.3; compiling alone takes a minute."""
    import numba
    from pynndescent import NNDescent

    settings: Any = numba.config
    numba.set_num_threads(min(threads, settings.NUMBA_NUM_THREADS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        index = NNDescent(rows, metric="jensen_shannon", n_neighbors=30, random_state=0, n_jobs=threads)
        index.prepare()
    return lambda: np.asarray(index.query(queries, k=k, epsilon=0.3)[0], np.int64)
