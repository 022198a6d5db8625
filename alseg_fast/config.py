"""The only reader of environment variables.

``ALSEG_BACKEND``  force one implementation (reference, native, faiss, numba, triton); empty: choose per call.
``ALSEG_SIMD``     pin the native kernels to an instruction-set level (baseline, avx2, avx512).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def forced_backend() -> str | None:
    """Name of the backend forced through ``ALSEG_BACKEND``, or None."""
    return os.environ.get("ALSEG_BACKEND") or None


def forced_simd_level() -> str | None:
    """Instruction-set level forced through ``ALSEG_SIMD``, or None."""
    return os.environ.get("ALSEG_SIMD") or None


def tunes_malloc() -> bool:
    """Whether the user has told glibc how to keep memory (``MALLOC_ARENA_MAX`` apart), or has another allocator."""
    names = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_", "LD_PRELOAD")
    return any(os.environ.get(name) for name in (*names, "GLIBC_TUNABLES"))


def available_cpus() -> int:
    """CPUs this process may use: its affinity mask, cut by a container's CPU quota; at least 1."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        return max(1, cpus)  # no cgroup v2 here: the affinity mask is all there is
    if quota == "max":
        return max(1, cpus)
    return max(1, min(cpus, -(-int(quota) // int(period))))


@contextmanager
def openblas_core_type() -> Iterator[None]:
    """While a library that brings an OpenBLAS of its own is loaded: names the CPU to it as one with AVX-512.

    OpenBLAS reads ``OPENBLAS_CORETYPE`` once, when it is loaded. FAISS's wheels bring version 0.3.15, which takes
    kernels of 2013 for CPUs that it does not know: matrix products are then half as fast as they could be. Nothing is
    changed where the variable is set already or the CPU lacks AVX-512, and it is gone again afterwards.
    """
    name = "OPENBLAS_CORETYPE"
    try:
        flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        flags = ""  # not Linux, or not x86
    if name in os.environ or not {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= set(flags.split()):
        yield
        return
    os.environ[name] = "SkylakeX"
    try:
        yield
    finally:
        os.environ.pop(name, None)


def repeatable_cublas() -> None:
    """Before the first matrix product on CUDA: lets cuBLAS give the same bits every time, if nobody has decided yet."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
