"""The C++ implementation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty


def edge_map(
    image: NDArray[np.uint8] | None,
    labels: NDArray[np.int32] | None,
    threshold: float,
    dilation: int,
    num_threads: int = 0,
) -> NDArray[np.bool_]:
    """Same as ``reference.edge_map``; arrays must be C-contiguous."""
    given = image if image is not None else labels
    assert given is not None
    out = empty(given.shape[:2], np.bool_)
    _native.edge_map(
        image=image, labels=labels, threshold=threshold, dilation=dilation, num_threads=num_threads, out=out
    )
    return out
