"""What every baseline of `bench slic` looks like.

``make(image, n_segments, threads) -> call`` with image [H, W, 3] uint8 RGB; ``call()`` gives labels [H, W] of
integers >= 0. A call does all of it: colour conversion, the iterations, connectivity.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Call = Callable[[], NDArray[np.integer[Any]]]

N_ITER = 10
COMPACTNESS = 10.0


def cell_side(image: Image, n_segments: int) -> int:
    """Side of a square cell when so many cover the picture, pixels: the form in which some ask for the number."""
    return max(1, round(math.sqrt(image.shape[0] * image.shape[1] / n_segments)))
