"""Rows as FAISS takes them: float32 square roots, and how far their products can be from the true ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from ..js_rerank.numba_cpu import compile_with, machine_rows

_ROUNDING = 2.0**-24  # of float32, relative
_HALF_ROUNDING, _HALF_STEP = 2.0**-11, 2.0**-25  # of float16: relative, and absolute where it is subnormal


def _signature(row: Any) -> Any:
    inputs = [types.Array(t, n, "C", readonly=True) for t, n in ((row, 2), (types.float64, 2), (types.float64, 1))]
    return types.void(*inputs, types.int64, types.Array(types.float32, 2, "C"))


@compile_with(_signature(types.float32), _signature(types.uint16))
def _embed_kernel(hist, scale, weights, first, out):  # type: ignore[no-untyped-def]
    channels = scale.shape[1]
    bins = hist.shape[1] // channels
    for i in range(out.shape[0]):
        for c in range(channels):
            factor = scale[first + i, c] * weights[c]
            for j in range(c * bins, (c + 1) * bins):
                h = hist[first + i, j]
                if isinstance(h, np.uint16):
                    value = np.float64(np.uint32(np.uint32(h) << np.uint32(13)).view(np.float32)) * 2.0**112
                else:
                    value = np.float64(h)
                out[i, j] = np.float32(math.sqrt(value * factor))


def embed_float32(
    hist: NDArray[Any],
    scale: NDArray[np.float64],
    weights: NDArray[np.float64],
    first: int,
    last: int,
    *,
    further: float | None = None,
) -> NDArray[np.float32]:
    """Rows first .. last of `common.embed`, each element rounded once; `further` adds a last column of that value."""
    dim = hist.shape[1]
    out = np.empty((last - first, dim + (further is not None)), np.float32)
    if further is not None:
        out[:, dim] = further
    _embed_kernel(machine_rows(hist), scale, weights, first, out)
    return out


def product_error(dim: int, *, half: bool = False) -> float:
    """Bound on |computed inner product - true one| of two embedded rows.

    With every element off by a relative u = 2^-24 and `dim` products added up in any order, the error is at most
    ((1 + u)^(dim + 2) - 1) sum |s_j t_j|, and the sum is at most |s| |t| = 1. With a further column of 1 times a number
    of at most 2 it is at most thrice that (for dim + 1). Elements kept as float16 are off by 2^-11 of themselves, or
    2^-25 where they are subnormal; their products are added up in float32.
    """
    error = 3.1 * (dim + 3) * _ROUNDING + 1e-12
    if half:
        error += 2.1 * _HALF_ROUNDING + 2.1 * _HALF_STEP * math.sqrt(dim)
    return error
