"""The C++ implementation: sliding column counts and prefix sums, at a cost that no radius changes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty


def region_impurity(
    labels: NDArray[Any],
    entropy: NDArray[np.float32] | None,
    valid: NDArray[np.bool_] | None,
    n_classes: int,
    radius: int,
    num_threads: int = 0,
) -> tuple[NDArray[np.float32], int]:
    """Same as ``reference.region_impurity``; all arrays must be C-contiguous, labels uint8 or uint16."""
    out = empty(labels.shape, np.float32)
    status = _native.region_impurity(
        labels=labels,
        entropy=entropy,
        valid=valid,
        n_classes=n_classes,
        radius=radius,
        num_threads=num_threads,
        out=out,
    )
    return out, status
