"""The Numba implementation: float64, a polynomial logarithm that LLVM vectorises, pairs spread over threads.

Threads are Python threads that run machine code without the GIL, not Numba's own: its pool is one for the whole
process, and its default layer ends the process when two threads use it at once. The first use compiles for about
three seconds; the result is kept on disk where the package's or the user's cache directory can be written.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from ... import config
from ...alloc import empty
from .reference import FIXED_POINT

_LN2 = float(np.log(2))
_SQRT_HALF_BITS = int(np.float64(np.sqrt(0.5)).view(np.int64))
_MANTISSA_BITS = 52
_PAIRS_A_PIECE = 2048
_HALF_REBIASED = np.float32(2.0**112)  # what the exponents of float16 and float32 differ by


def compile_with(*signatures: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`numba.njit` without the GIL and with C's division, cached on disk where that is possible."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        compiler: Any = numba.njit
        options = {"nogil": True, "error_model": "numpy"}
        try:
            compiled: Callable[..., Any] = compiler(list(signatures), cache=True, **options)(function)
        except RuntimeError:  # no directory that a cache could be written to
            compiled = compiler(list(signatures), **options)(function)
        return compiled

    return decorate


@numba.njit(inline="always")
def _ln(y: float) -> float:
    """Natural logarithm of a normal y > 0, relative error below 1e-15: y = 2^e * m with m in [sqrt(1/2), sqrt(2)),
    ln m = 2 atanh((m - 1) / (m + 1)) by its series, whose argument is at most 0.172.
    """
    bits = np.float64(y).view(np.int64)
    exponent = (bits - _SQRT_HALF_BITS) >> _MANTISSA_BITS
    m = np.int64(bits - (exponent << _MANTISSA_BITS)).view(np.float64)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = 1 / 21 + z * (1 / 23)
    series = 1 / 19 + z * series
    series = 1 / 17 + z * series
    series = 1 / 15 + z * series
    series = 1 / 13 + z * series
    series = 1 / 11 + z * series
    series = 1 / 9 + z * series
    series = 1 / 7 + z * series
    series = 1 / 5 + z * series
    series = 1 / 3 + z * series
    return np.float64(exponent) * _LN2 + (2.0 * s + 2.0 * s * (z * series))


@numba.njit(inline="always")
def _term(p: float, q: float, weight: float) -> np.int64:
    """weight * m * g(r) of one bin as a multiple of 2^-60, see `reference`."""
    total = p + q
    a = abs(p - q) / total if total > 0 else 0.0
    b = 1.0 - a
    rest = b * _ln(b) if b > 0 else 0.0
    value = total * 0.5 * ((1.0 + a) * _ln(1.0 + a) + rest) * 0.5 * weight
    return np.int64(np.rint(max(value, 0.0) * FIXED_POINT))


@numba.njit(inline="always")
def _as_float(h: Any) -> float:
    """A bin as float64; float16 arrives as its bits, of which those of a number >= 0 are a float32's, shifted."""
    if isinstance(h, np.uint16):
        return np.float64(np.uint32(np.uint32(h) << np.uint32(13)).view(np.float32) * _HALF_REBIASED)
    return np.float64(h)


def _constant(dtype: Any, ndim: int) -> Any:
    return types.Array(dtype, ndim, "C", readonly=True)


def _pairs_signature(row: Any) -> Any:
    arrays = (_constant(types.float64, 2), _constant(row, 2), _constant(types.float64, 2), _constant(types.float64, 1))
    pairs = (_constant(types.int64, 1), _constant(types.int64, 1))
    return types.void(*arrays, *pairs, types.int64, types.int64, types.Array(types.float64, 1, "C"))


@compile_with(_pairs_signature(types.float32), _pairs_signature(types.uint16))
def _pairs_kernel(p, hist, scale, weights, query, row, first, last, out):  # type: ignore[no-untyped-def]
    channels = scale.shape[1]
    bins = hist.shape[1] // channels
    for i in range(first, last):
        r = row[i]
        if r < 0:
            out[i] = np.inf
            continue
        own, other = p[query[i]], hist[r]
        total = np.int64(0)
        for c in range(channels):
            factor, weight = scale[r, c], weights[c]
            for j in range(c * bins, (c + 1) * bins):
                total += _term(own[j], _as_float(other[j]) * factor, weight)
        out[i] = np.float64(total) / FIXED_POINT


def machine_rows(hist: NDArray[Any]) -> NDArray[Any]:
    """Rows as the compiled functions take them: float32, or float16 as its bits."""
    return hist.view(np.uint16) if hist.dtype == np.float16 else hist


def in_pieces(n: int, piece: int, num_threads: int, work: Callable[[int, int], Any]) -> list[Any]:
    """work(first, last) of each piece of 0 .. n, on threads; which pieces there are depends on n alone."""
    bounds = [(first, min(first + piece, n)) for first in range(0, n, piece)]
    threads = min(len(bounds), num_threads or config.available_cpus())
    if threads <= 1:
        return [work(first, last) for first, last in bounds]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda bound: work(*bound), bounds))


def rerank_pairs(
    queries: NDArray[np.float32],
    query_scale: NDArray[np.float64],
    hist: NDArray[Any],
    scale: NDArray[np.float64],
    weights: NDArray[np.float64],
    query: NDArray[np.int64],
    row: NDArray[np.int64],
    num_threads: int = 0,
) -> NDArray[np.float64]:
    """Distances [P] of the pairs (query[i], row[i]); inf where the row is negative."""
    bins = queries.shape[1] // query_scale.shape[1]
    p = queries.astype(np.float64) * np.repeat(query_scale, bins, axis=1)
    rows = machine_rows(hist)
    query, row = np.ascontiguousarray(query, np.int64), np.ascontiguousarray(row, np.int64)
    out: NDArray[np.float64] = empty((len(row),), np.float64)
    in_pieces(
        len(row),
        _PAIRS_A_PIECE,
        num_threads,
        lambda first, last: _pairs_kernel(p, rows, scale, weights, query, row, first, last, out),
    )
    return out


def js_rerank(
    queries: NDArray[np.float32],
    query_scale: NDArray[np.float64],
    hist: NDArray[Any],
    scale: NDArray[np.float64],
    weights: NDArray[np.float64],
    index: NDArray[np.int64],
    num_threads: int = 0,
) -> NDArray[np.float64]:
    """Same as ``reference.js_rerank``; all arrays must be C-contiguous."""
    n_queries, m = index.shape
    query = np.repeat(np.arange(n_queries), m)
    flat = rerank_pairs(queries, query_scale, hist, scale, weights, query, index.reshape(-1), num_threads)
    return flat.reshape(n_queries, m)
