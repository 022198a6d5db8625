"""Device functions of the sums over the classes of one pass, for classes that share one probability.

With the softmax, the scores have lost the largest score of their *source* pixel (the shift). The interpolated shift is
at least the pixel's own maximum, so 2^t cannot overflow and no loop for the maximum is needed: one exp2 a class and
pixel. Only where the sum underflows FLOOR, because neighbouring source pixels strongly favour different classes, is
the tile done again with the true maximum.
"""

# Triton's compiler takes no starred tuple, and needs `else` where a branch on a constant returns another type.
# ruff: noqa: SIM102
# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call,misc,assignment"

from __future__ import annotations

import triton
import triton.language as tl

from .triton_tile import LN2, SIGMOID, SOFTMAX, TINY, sample

# Bits of common.MEASURES that need the moment, the second largest, the largest, the spread or the votes.
ENTROPY, MARGIN, DOUBT, EXPECTED = tl.constexpr(1), tl.constexpr(2), tl.constexpr(4), tl.constexpr(8 + 16)
VARIANCE, VOTES = tl.constexpr(32), tl.constexpr(64)
FLOOR = tl.constexpr(2.0**-24)  # below it, z has lost as many digits to the shift as the entropy can bear


@triton.jit
def add(total, moment, z, ACTIVATION: tl.constexpr, MOMENT: tl.constexpr):
    """Adds a class's weight w, 2^z or max(z, 0), and w log2 w; also returns what classes are ranked by."""
    if ACTIVATION == SOFTMAX:
        w = tl.exp2(z)
        log2_w = z
    else:
        w = tl.maximum(z, 0.0)
        z = w
        log2_w = tl.log2(tl.maximum(w, TINY))
    if MOMENT:
        moment += w * log2_w
    return total + w, moment, z


@triton.jit
def rank(first, second, arg, z, c, SECOND: tl.constexpr, FIRST: tl.constexpr):
    """The largest two values and the first class that has the largest."""
    if SECOND:
        second = tl.maximum(second, tl.minimum(z, first))
    if FIRST:
        arg = tl.where(z > first, c, arg)
        first = tl.maximum(first, z)
    return first, second, arg


@triton.jit
def scan(
    upper,
    lower,
    right,
    stride_c,
    n_classes,
    lows,
    gain,
    fx,
    fy,
    ACTIVATION: tl.constexpr,
    MOMENT: tl.constexpr,
    SECOND: tl.constexpr,
    FIRST: tl.constexpr,
    RUN: tl.constexpr,
    RAW: tl.constexpr,
    IDENTITY: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    """Sums over the classes of one pass: (total, moment, first, second, arg, peak).

    total = sum w, moment = sum w log2 w, with w = 2^(z - peak) or max(z, 0); first and second are the largest values
    of z - peak or w. peak is 0 but where the tile was done again. RUN > 0: classes are added up in runs of this many,
    which rounds less.
    """
    zero = tl.zeros([ROWS, COLS], tl.float32)
    total, moment, peak = zero, zero, zero
    first, second = zero - 3e38, zero - 3e38
    arg = tl.zeros([ROWS, COLS], tl.int32)
    stride_c = tl.cast(stride_c, tl.int64)  # widened once, not in the loop
    above, below = upper, lower
    if RUN == 0:
        for c in range(n_classes):
            z = sample(above, below, right, lows, gain, fx, fy, RAW, IDENTITY)
            total, moment, z = add(total, moment, z, ACTIVATION, MOMENT)
            first, second, arg = rank(first, second, arg, z, c, SECOND, FIRST)
            above += stride_c
            below += stride_c
    else:
        for start in range(0, n_classes, RUN):
            part, part_moment = zero, zero
            for c in range(start, tl.minimum(start + RUN, n_classes)):
                z = sample(above, below, right, lows, gain, fx, fy, RAW, IDENTITY)
                part, part_moment, z = add(part, part_moment, z, ACTIVATION, MOMENT)
                first, second, arg = rank(first, second, arg, z, c, SECOND, FIRST)
                above += stride_c
                below += stride_c
            total += part
            moment += part_moment
    if ACTIVATION == SOFTMAX:
        if tl.min(total) < FLOOR:
            peak = zero - 3e38
            above, below = upper, lower
            for _ in range(n_classes):
                peak = tl.maximum(peak, sample(above, below, right, lows, gain, fx, fy, RAW, IDENTITY))
                above += stride_c
                below += stride_c
            total, moment = zero, zero
            above, below = upper, lower
            for _ in range(n_classes):
                z = sample(above, below, right, lows, gain, fx, fy, RAW, IDENTITY) - peak
                w = tl.exp2(z)
                total += w
                if MOMENT:
                    moment += w * z
                above += stride_c
                below += stride_c
            first, second = first - peak, second - peak
    return total, moment, first, second, arg, peak


@triton.jit
def entropy_nats(total, moment, n_classes, ACTIVATION: tl.constexpr):
    """Entropy in nats of the weights that add up to `total`; uniform where they are all 0."""
    if ACTIVATION == SOFTMAX:
        return (tl.log2(total) - moment / total) * LN2
    known = total > TINY
    total = tl.where(known, total, 1.0)
    uniform = tl.log2(tl.cast(n_classes, tl.float32))
    return tl.where(known, tl.log2(total) - moment / total, uniform) * LN2


@triton.jit
def one_pass(
    upper,
    lower,
    right,
    stride_c,
    n_classes,
    lows,
    gain,
    fx,
    fy,
    ACTIVATION: tl.constexpr,
    BITS: tl.constexpr,
    RUN: tl.constexpr,
    RAW: tl.constexpr,
    IDENTITY: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    """(peak, inverse, entropy in nats, arg-max) of one of several passes; `share` takes the first two."""
    total, moment, _, _, arg, peak = scan(
        upper,
        lower,
        right,
        stride_c,
        n_classes,
        lows,
        gain,
        fx,
        fy,
        ACTIVATION,
        EXPECTED & BITS != 0,
        False,
        VOTES & BITS != 0,
        RUN,
        RAW,
        IDENTITY,
        ROWS,
        COLS,
    )
    entropy = tl.zeros([ROWS, COLS], tl.float32)
    if EXPECTED & BITS != 0:
        entropy = entropy_nats(total, moment, n_classes, ACTIVATION)
    return peak, tl.where(total > TINY, 1.0 / tl.maximum(total, TINY), 0.0), entropy, arg


@triton.jit
def share(z, peak, inverse, n_classes, ACTIVATION: tl.constexpr):
    """A class's probability; uniform where the pass has no positive score."""
    if ACTIVATION == SOFTMAX:
        return tl.exp2(z - peak) * inverse
    uniform = 1.0 / tl.cast(n_classes, tl.float32)
    return tl.where(inverse > 0.0, tl.maximum(z, 0.0) * inverse, uniform)


@triton.jit
def binary_entropy(p, q):
    return (p * tl.log2(tl.maximum(p, TINY)) + q * tl.log2(tl.maximum(q, TINY))) * -LN2


@triton.jit
def binary(z, gain, ACTIVATION: tl.constexpr):
    """(p, 1 - p, entropy in nats) of one channel; a sigmoid's z times the gain is in units of log2."""
    if ACTIVATION == SIGMOID:
        a = tl.abs(z) * gain
        e = tl.exp2(-a)
        high = 1.0 / (1.0 + e)
        low = e * high
        p, q = tl.where(z >= 0.0, high, low), tl.where(z >= 0.0, low, high)
        return p, q, (tl.log2(1.0 + e) + a * low) * LN2
    p = tl.minimum(tl.maximum(z, 0.0), 1.0)
    q = 1.0 - p
    return p, q, binary_entropy(p, q)
