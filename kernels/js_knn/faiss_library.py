"""FAISS itself: loading it, and what is set around calls of it. Imported only by this op's FAISS files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ... import config

with config.openblas_core_type():
    import faiss

__all__ = ["faiss", "gpu_missing", "matrix_products", "on_one_thread"]

_QUERIES_FOR_BLAS = 8  # from so many queries on a matrix product is faster than FAISS's own loops (measured at D = 96)
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


def on_one_thread() -> None:
    """FAISS and its BLAS use no further threads in calls from this thread.

    OpenMP keeps the number for each calling thread, so this is said in threads of our own, which end with the search.
    """
    faiss.omp_set_num_threads(1)


def gpu_missing(*arguments: Any, **options: Any) -> str | None:
    """Why FAISS cannot use a GPU here, or None."""
    if not hasattr(faiss, "StandardGpuResources"):
        return f"the installed FAISS {faiss.__version__} is built for CPUs only; install faiss-gpu in its place"
    if faiss.get_num_gpus() < 1:
        return "FAISS finds no CUDA device"
    return None
