"""Exhaustive scans in Numba: with `np.log`, and with a polynomial logarithm that vectorises.

Both use JSD = H((p + q) / 2) - (H(p) + H(q)) / 2 with the entropies of the rows kept: one logarithm a bin and pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from .knn_signature import Call, Rows, scan

_TINY = np.float32(1e-30)
_SQRT_HALF_BITS = np.int32(np.float32(math.sqrt(0.5)).view(np.int32))


def _entropies(rows: Rows) -> Any:
    return -np.where(rows > 0, rows * np.log2(np.maximum(rows, _TINY)), 0).sum(axis=1)


@numba.njit(nogil=True, fastmath=True, error_model="numpy")
def _scan_log(queries, own, rows, others, first, out):  # type: ignore[no-untyped-def]
    for j in range(out.shape[1]):
        row = rows[first + j]
        for i in range(out.shape[0]):
            query = queries[i]
            total = np.float32(0)
            for b in range(row.shape[0]):
                m = np.float32(0.5) * (query[b] + row[b])
                if m > 0:
                    total -= m * np.log(m)
            out[i, j] = total * np.float32(1 / math.log(2)) - np.float32(0.5) * (own[i] + others[first + j])


@numba.njit(nogil=True, fastmath=True, error_model="numpy", inline="always")
def _log2(x):  # type: ignore[no-untyped-def]
    """x = 2^e (1 + f), f in [sqrt(1/2) - 1, sqrt(2) - 1): log2 by a polynomial fitted there, error below 1e-6."""
    bits = np.float32(x).view(np.int32)
    exponent = (bits - _SQRT_HALF_BITS) >> np.int32(23)
    f = np.int32(bits - (exponent << np.int32(23))).view(np.float32) - np.float32(1)
    p = np.float32(0.17213075)
    p = p * f - np.float32(0.26950934)
    p = p * f + np.float32(0.29563411)
    p = p * f - np.float32(0.35935038)
    p = p * f + np.float32(0.4806291)
    p = p * f - np.float32(0.72136404)
    p = p * f + np.float32(1.4426964)
    return np.float32(exponent) + p * f


@numba.njit(nogil=True, fastmath=True, error_model="numpy")
def _scan_polynomial(queries, own, rows, others, first, out):  # type: ignore[no-untyped-def]
    for j in range(out.shape[1]):
        row = rows[first + j]
        for i in range(out.shape[0]):
            query = queries[i]
            total = np.float32(0)
            for b in range(row.shape[0]):
                m = np.float32(0.5) * (query[b] + row[b]) + np.float32(1e-30)
                total -= m * _log2(m)
            out[i, j] = total - np.float32(0.5) * (own[i] + others[first + j])


def _make(kernel: Callable[..., None], rows: Rows, queries: Rows, k: int, threads: int) -> Call:
    own, others = _entropies(queries).astype(np.float32), _entropies(rows).astype(np.float32)

    def distances(first: int, last: int) -> Any:
        out = np.empty((len(queries), last - first), np.float32)
        kernel(queries, own, rows, others, first, out)
        return out

    distances(0, 1)  # compiles
    return lambda: scan(len(rows), k, threads, distances)


def with_log(rows: Rows, queries: Rows, k: int, threads: int) -> Call:
    """`np.log`, which LLVM calls once a number."""
    return _make(_scan_log, rows, queries, k, threads)


def with_polynomial(rows: Rows, queries: Rows, k: int, threads: int) -> Call:
    """The logarithm from the bits of the number and a polynomial."""
    return _make(_scan_polynomial, rows, queries, k, threads)
