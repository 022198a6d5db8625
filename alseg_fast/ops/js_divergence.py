"""js_divergence: the Jensen-Shannon divergence of histograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_threads
from ..errors import DataError, DtypeError, RangeError, ShapeError
from ..kernels.js_rerank import js_rerank as _op
from .simd import apply_simd_level

_NAME = "js_divergence"


def js_divergence(
    p: Any,
    q: Any,
    *,
    channels: int = 1,
    weights: Sequence[float] | None = None,
    num_threads: int | None = None,
) -> NDArray[np.float64]:
    """Jensen-Shannon divergence of pairs of histograms, with channels that are weighted.

    Equivalent NumPy, for one channel and p, q with a sum of 1 (see kernels/js_rerank/reference.py):
        m = (p + q) / 2; d = (p * log(p / m) + q * log(q / m)).sum(-1) / 2, with 0 log 0 = 0

    Args:
        p, q: [..., D] numbers >= 0, whose leading axes broadcast against each other; float16, float32, float64 or
            integers, any strides. Each channel is divided by its sum.
        channels: C, how many histograms of D / C bins lie side by side in a row.
        weights: [C] positive weights of the channels' divergences, used as they are given (they need not sum to 1);
            None is 1 / C each.
        num_threads: None uses every CPU of the process; same bits for any number.
    Returns: [...] float64 in nats, 0 to ln 2 times the sum of the weights: sum over channels of weight * JSD. It is
    symmetric, and does not depend on the order of the bins, to the last bit. Its square root is a metric.
    Raises:
        ShapeError: a shape is wrong, the widths differ, or D is no multiple of channels.
        DtypeError: p or q does not hold numbers.
        DataError: p or q holds NaN, infinite or negative values, or a channel without mass.
        RangeError: channels, weights or num_threads is out of range.
    Back ends: native (CPU), numba, reference.
    Source: Lin (1991), "Divergence measures based on the Shannon entropy", equal weights of both sides.
    """
    count = _take_channels(channels)
    left, right = _take(p, "p"), _take(q, "q")
    dim = left.shape[-1]
    if right.shape[-1] != dim:
        raise ShapeError(
            f"{_NAME}: q must have as many bins as p = {dim}; got {right.shape[-1]}. Pass histograms of one layout."
        )
    if dim % count:
        raise ShapeError(
            f"{_NAME}: p must have a multiple of channels = {count} bins; got {dim}. Correct channels, or the bins."
        )
    try:
        shape = np.broadcast_shapes(left.shape[:-1], right.shape[:-1])
    except ValueError:
        raise ShapeError(
            f"{_NAME}: p and q must have leading axes that broadcast; got {list(left.shape)} and {list(right.shape)}. "
            "Insert axes of length 1."
        ) from None
    scales = [_scale(x, name, count) for x, name in ((left, "p"), (right, "q"))]
    share, total = _take_weights(weights, count)
    threads = check_threads(_NAME, num_threads)
    apply_simd_level()
    rows_p, rows_q = (x.reshape(-1, dim) for x in (left, right))
    # Each row of p meets the same number of rows of q: one line of `index` a row.
    of_p, of_q = (
        np.broadcast_to(np.arange(len(rows)).reshape(x.shape[:-1]), shape).ravel()
        for rows, x in ((rows_p, left), (rows_q, right))
    )
    if len(of_p) == 0:
        return np.empty(shape, np.float64)
    by_p = np.argsort(of_p, kind="stable")
    index = of_q[by_p].reshape(len(rows_p), -1).astype(np.int64)
    found = _op("cpu", rows_p, scales[0], rows_q, scales[1], share, index, threads)
    out = np.empty(len(of_p), np.float64)
    out[by_p] = found.ravel() * total
    return out.reshape(shape)


def _take(x: Any, name: str) -> NDArray[np.float64]:
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise DtypeError(
            f"{_NAME}: {name} must hold real numbers; got {array.dtype}. Convert with {name}.astype(np.float32)."
        )
    if array.ndim < 1 or array.shape[-1] < 1:
        raise ShapeError(f"{_NAME}: {name} must have shape [..., D], D >= 1; got {list(array.shape)}. Pass histograms.")
    return np.ascontiguousarray(array, np.float64)


def _take_channels(channels: int) -> int:
    if isinstance(channels, bool) or not isinstance(channels, (int, np.integer)) or channels < 1:
        raise RangeError(f"{_NAME}: channels must be an integer >= 1; got {channels!r}. 1 is one histogram a row.")
    return int(channels)


def _scale(x: NDArray[np.float64], name: str, channels: int) -> NDArray[np.float64]:
    """[n, C] 1 / sum of each channel."""
    if not np.isfinite(x).all() or (x < 0).any():
        raise DataError(
            f"{_NAME}: {name} must be finite and >= 0; got {float(x.min()):.4g} to {float(x.max()):.4g}. "
            "Pass counts or shares."
        )
    with np.errstate(divide="ignore", over="ignore"):
        sums = x.reshape(-1, channels, x.shape[-1] // channels).sum(axis=2)
        scale = 1 / sums
    usable = np.isfinite(scale) & (scale > 0)
    if not usable.all():
        row, channel = (int(v) for v in np.argwhere(~usable)[0])
        raise DataError(
            f"{_NAME}: {name} must have mass in each channel; got a sum of {sums[row, channel]:.4g} in channel "
            f"{channel} of row {row}. Leave such rows out, or add a constant to each bin."
        )
    return np.asarray(scale, np.float64)


def _take_weights(weights: Sequence[float] | None, channels: int) -> tuple[NDArray[np.float64], float]:
    """Weights that sum to 1, and what the divergence is multiplied with."""
    if weights is None:
        return np.full(channels, 1 / channels), 1.0
    given = np.asarray(weights, np.float64)
    total = float(given.sum())
    if given.shape != (channels,) or not np.isfinite(given).all() or not (given > 0).all() or not np.isfinite(total):
        raise RangeError(
            f"{_NAME}: weights must be {channels} positive finite numbers, one a channel; got {weights!r}. "
            "None weighs all channels alike."
        )
    return given / total, total
