"""The C++ implementation: eight rows at a time across, then along, then the smoothed values into soft bins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty
from .common import BINS, HEIGHT, cubic_taps, edge_shares, gaussian_weights, width_for


def belharbi_histogram(images: Sequence[NDArray[np.uint8]], num_threads: int = 0) -> NDArray[np.uint64]:
    """Same as ``reference.belharbi_histogram``."""
    counts = empty((len(images), 3, BINS), np.uint64)
    for image, row in zip(images, counts, strict=True):
        height, width = image.shape[:2]
        out_width = width_for(height, width)
        first_x, weight_x = cubic_taps(width, out_width)
        first_y, weight_y = cubic_taps(height, HEIGHT)
        _native.belharbi_histogram(
            image=image,
            out_width=out_width,
            first_x=first_x,
            weight_x=weight_x,
            first_y=first_y,
            weight_y=weight_y,
            gaussian=gaussian_weights(),
            shares=edge_shares(),
            num_threads=num_threads,
            counts=row,
        )
    return counts.reshape(len(images), 3 * BINS)
