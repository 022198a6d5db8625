"""FAISS itself: loading it, and what is set around calls of it. Imported only by this op's FAISS files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from ... import config

with config.openblas_core_type():
    import faiss

__all__ = ["faiss", "matrix_products", "own_threads"]

_QUERIES_FOR_BLAS = 8  # from so many queries on a matrix product is faster than FAISS's own loops (measured at D = 96)
_MOST_THREADS = 32  # that call OpenBLAS at once; its buffers are limited
_lock = threading.Lock()
_users = 0
_before = 0


@contextmanager
def matrix_products(dim: int) -> Iterator[None]:
    """FAISS uses BLAS where it pays.

    From 1.15 on, FAISS compares queries * dim with a threshold of 128,000, below which its loops take five times as
    long at 96 dimensions. The setting is one for the process: the first user lowers it, the last one puts it back.
    Earlier versions compare the queries alone with 20, which is left as it is.
    """
    global _users, _before
    with _lock:
        if _users == 0:
            _before = faiss.cvar.distance_compute_blas_threshold
        _users += 1
        faiss.cvar.distance_compute_blas_threshold = min(
            faiss.cvar.distance_compute_blas_threshold, _QUERIES_FOR_BLAS * dim
        )
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                faiss.cvar.distance_compute_blas_threshold = _before


def own_threads(num_threads: int) -> ThreadPoolExecutor:
    """Threads in each of which FAISS and its BLAS use no further ones; 0: one a CPU.

    OpenMP keeps its number of threads for each calling thread, so nothing changes for others. The pieces of work are
    cut by shape alone: the results do not depend on how many threads there are.
    """
    return ThreadPoolExecutor(
        min(_MOST_THREADS, num_threads or config.available_cpus()), initializer=faiss.omp_set_num_threads, initargs=(1,)
    )
