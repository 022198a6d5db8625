"""The only reader of environment variables.

``ALSEG_BACKEND``  force one implementation (reference, native, numba, triton); empty: choose per call.
``ALSEG_SIMD``     pin the native kernels to an instruction-set level (baseline, avx2, avx512).
"""

from __future__ import annotations

import os


def forced_backend() -> str | None:
    """Name of the backend forced through ``ALSEG_BACKEND``, or None."""
    return os.environ.get("ALSEG_BACKEND") or None


def forced_simd_level() -> str | None:
    """Instruction-set level forced through ``ALSEG_SIMD``, or None."""
    return os.environ.get("ALSEG_SIMD") or None


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
