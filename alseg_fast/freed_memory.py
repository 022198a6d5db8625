"""What the process does with memory that is freed."""

from __future__ import annotations

import ctypes

from . import config

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
_MMAP_THRESHOLDS = (1 << 30, 32 << 20)  # glibc before 2.35 takes no more than the second
_KEPT = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for the next allocation of the process, in place of giving it back to the kernel.

    A training on the CPU frees and allocates the same tensors in every step. By default each of 128 KiB or more comes
    fresh from the kernel, which clears it page by page at first touch. For a process that belongs to the training; not
    for a library inside somebody's program.

    Returns: False where nothing was changed: another C library, or the user has set MALLOC_... variables.
    """
    if config.tunes_malloc():
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    taken = any(mallopt(_M_MMAP_THRESHOLD, size) for size in _MMAP_THRESHOLDS)
    return bool(taken and mallopt(_M_TRIM_THRESHOLD, _KEPT))
