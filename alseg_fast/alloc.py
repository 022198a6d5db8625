"""The only allocator of kernel outputs, so that tests can poison fresh memory in one place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Uninitialised C-contiguous array; every element must be written before it is read."""
    return np.empty(shape, dtype)
