"""The C++ implementation: upsampled on the fly, no map is made."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty


def foreground(
    logits: NDArray[Any], size: tuple[int, int], sigmoid: bool, align_corners: bool, num_threads: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Same as ``reference.foreground``."""
    sums, status = empty((logits.shape[0], 3), np.float64), empty((logits.shape[0],), np.uint8)
    _native.foreground_moments(
        logits=logits,
        dtype=1 if logits.dtype == np.float16 else 0,
        size=size,
        sigmoid=sigmoid,
        align_corners=align_corners,
        num_threads=num_threads,
        sums=sums,
        status=status,
    )
    return sums, status
