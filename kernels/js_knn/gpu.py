"""Whether FAISS can search on a GPU here, told without loading FAISS where there is no GPU at all."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

_DRIVER = "libcuda.so.1"


def gpu_missing(*arguments: Any, **options: Any) -> str | None:
    """The reason why a call cannot run on a GPU, or None."""
    if not _has_driver():
        return f"there is no CUDA driver here ({_DRIVER} cannot be loaded)"
    from .faiss_library import faiss

    if not hasattr(faiss, "StandardGpuResources"):
        return f"the installed FAISS {faiss.__version__} is built for CPUs only; install faiss-gpu in its place"
    if faiss.get_num_gpus() < 1:
        return "FAISS finds no CUDA device"
    return None


@cache
def _has_driver() -> bool:
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return False
    return True
