"""The C++ implementation: whole-number sums in bins, accelerated expectation maximisation on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty

F64 = NDArray[np.float64]


def value_moments(
    values: NDArray[np.float32],
    weights: NDArray[np.float32] | None,
    bin_bits: int,
    least: float,
    num_threads: int = 0,
) -> tuple[F64, int]:
    """Same as ``reference.value_moments``; arrays must be C-contiguous."""
    sums = empty((values.shape[0], 1 << bin_bits, 3), np.float64)
    status = _native.value_moments(
        values=values, weights=weights, bin_bits=bin_bits, least=least, num_threads=num_threads, out=sums
    )
    return sums, status


def gaussian_mixture(
    x: F64,
    weight: F64,
    starts: F64,
    tolerance: float,
    max_iter: int,
    variance_floor: float,
    plain: bool,
    num_threads: int = 0,
) -> tuple[F64, F64]:
    """Same as ``reference.gaussian_mixture``, to what is left when the iterations stop."""
    components = empty(starts.shape, np.float64)
    components[...] = starts
    facts = empty((len(starts), 3), np.float64)
    _native.gaussian_mixture(
        x=x,
        weight=weight,
        components=components,
        tolerance=tolerance,
        max_iter=max_iter,
        variance_floor=variance_floor,
        plain=plain,
        num_threads=num_threads,
        facts=facts,
    )
    return components, facts
