"""The kernel of several passes (T > 1) over few classes that share one probability."""

# Triton's compiler takes no starred tuple, and needs `else` where a branch on a constant returns another type.
# ruff: noqa: RUF005
# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call,misc,assignment"

from __future__ import annotations

import triton
import triton.language as tl

from .triton_scan import EXPECTED, VARIANCE, VOTES, entropy_nats
from .triton_tile import LN2, PROBABILITIES, SOFTMAX, TINY, corner_lows, locate, sample, source_rows
from .triton_write import write


@triton.jit
def count_votes(votes, arg, CLASSES: tl.constexpr):
    """Adds a pass's vote to its class's counter; four counters of eight bits in a word."""
    counted = ()
    for word in tl.static_range((CLASSES + 3) // 4):
        one = tl.where(arg // 4 == word, 1, 0) << (arg % 4 * 8)
        counted = counted + (votes[word] + one,)
    return counted


@triton.jit
def most_votes(votes, CLASSES: tl.constexpr):
    most = votes[0] & 0xFF
    for c in tl.static_range(1, CLASSES):
        most = tl.maximum(most, (votes[c // 4] >> (c % 4 * 8)) & 0xFF)
    return most


@triton.jit
def weights(scores, largest, ACTIVATION: tl.constexpr, CLASSES: tl.constexpr):
    """(weights, total, moment) as in `triton_scan.scan`; weights are 2^(z - largest) or max(z, 0)."""
    total, moment = tl.zeros_like(largest), tl.zeros_like(largest)
    each = ()
    for c in tl.static_range(CLASSES):
        if ACTIVATION == SOFTMAX:
            z = scores[c] - largest
            w = tl.exp2(z)
            moment += w * z
        else:
            w = scores[c]
            moment += w * tl.log2(tl.maximum(w, TINY))
        total += w
        each = each + (w,)
    return each, total, moment


@triton.jit(do_not_specialize=["strides", "extent", "gain", "scale", "first_tile", "n_labels", "n_segments"])
def _uncertainty_passes_kernel(
    logits_ptr,
    strides,
    shift_ptr,
    axes,
    extent,
    gain,
    out,
    n_labels,
    n_segments,
    scale,
    first_tile,
    scratch_ptr,
    ACTIVATION: tl.constexpr,
    BITS: tl.constexpr,
    LABELS: tl.constexpr,
    PASSES: tl.constexpr,
    CLASSES: tl.constexpr,
    RAW: tl.constexpr,
    IDENTITY: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    """Softmax or probabilities of T passes, with the running mean of every class in registers: one exp2 each.

    A pass's scores and the classes' means take 2 C registers a pixel, the variance C more; the tile is low for it, so
    that the interpolation along x serves fewer rows than elsewhere. CLASSES is C; T is at most 255.
    """
    n, inside, offset, near, fx, fy = locate(axes, extent, first_tile, ROWS, COLS)
    n_passes = extent[0]
    stride_n, stride_t, stride_c, stride_h, stride_w = strides
    stride_t, stride_c = tl.cast(stride_t, tl.int64), tl.cast(stride_c, tl.int64)
    upper, lower, right = source_rows(logits_ptr + n * stride_n, near, stride_h, stride_w, RAW)
    number = n * n_passes
    zero = tl.zeros([ROWS, COLS], tl.float32)
    none = tl.zeros([ROWS, COLS], tl.int32)
    expected, seen = zero, 0.0
    means, spreads, votes = (), (), ()
    for _ in tl.static_range(CLASSES):
        means = means + (zero,)
        if VARIANCE & BITS != 0:
            spreads = spreads + (zero,)
    if VOTES & BITS != 0:
        for _ in tl.static_range((CLASSES + 3) // 4):
            votes = votes + (none,)
    for t in range(n_passes):
        lows = corner_lows(shift_ptr, number + t, near, extent, RAW and ACTIVATION == SOFTMAX, IDENTITY)
        scores, largest, arg = (), zero - 3e38, none
        above, below = upper, lower
        for c in tl.static_range(CLASSES):
            z = sample(above, below, right, lows, gain, fx, fy, RAW, IDENTITY)
            if ACTIVATION == PROBABILITIES:
                z = tl.maximum(z, 0.0)
            if VOTES & BITS != 0:
                arg = tl.where(z > largest, c, arg)
            largest = tl.maximum(largest, z)
            scores = scores + (z,)
            above += stride_c
            below += stride_c
        each, total, moment = weights(scores, largest, ACTIVATION, CLASSES)
        if EXPECTED & BITS != 0:
            expected += entropy_nats(total, moment, CLASSES, ACTIVATION)
        if VOTES & BITS != 0:
            votes = count_votes(votes, arg, CLASSES)
        known = total > TINY
        inverse = 1.0 / tl.where(known, total, 1.0)
        seen += 1.0
        part = 1.0 / seen
        moved, spread = (), ()
        for c in tl.static_range(CLASSES):
            p = each[c] * inverse
            if ACTIVATION == PROBABILITIES:
                p = tl.where(known, p, 1.0 / CLASSES)
            if VARIANCE & BITS != 0:
                # Welford (1962): equal passes have variance 0 to the bit, and near ones keep their digits.
                d = p - means[c]
                mean = means[c] + d * part
                moved = moved + (mean,)
                spread = spread + (spreads[c] + d * (p - mean),)
            else:
                moved = moved + (means[c] + p,)
        means, spreads = moved, spread
        upper += stride_t
        lower += stride_t
    per_pass = 1.0 / tl.cast(n_passes, tl.float32)
    entropy, variance, first, second, label = zero, zero, zero - 1.0, zero - 1.0, none
    for c in tl.static_range(CLASSES):
        p = means[c]
        if VARIANCE & BITS != 0:
            variance += spreads[c]
        else:
            p = p * per_pass
        entropy -= p * tl.log2(tl.maximum(p, TINY))
        label = tl.where(p > first, c, label)
        second = tl.maximum(second, tl.minimum(p, first))
        first = tl.maximum(first, p)
    entropy, expected, dissent = entropy * LN2, expected * per_pass, zero
    if VOTES & BITS != 0:
        dissent = 1.0 - most_votes(votes, CLASSES).to(tl.float32) * per_pass
    u = (
        entropy,
        1.0 - (first - second),
        1.0 - first,
        expected,
        tl.maximum(entropy - expected, 0.0),
        variance * (per_pass / CLASSES),
        dissent,
    )
    write(u, label, n, inside, offset, out, n_labels, n_segments, scale, BITS)
