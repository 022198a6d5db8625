"""The kernel of several passes (T > 1) over any number of classes that share one probability."""

# Triton's compiler takes no starred tuple, and needs `else` where a branch on a constant returns another type.
# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call,misc,assignment"

from __future__ import annotations

import triton
import triton.language as tl

from .triton_scan import VARIANCE, VOTES, one_pass, share
from .triton_tile import LN2, SOFTMAX, TINY, corner_lows, locate, sample, source_rows
from .triton_write import write


@triton.jit
def follow(moved, squares, p, p0, BITS: tl.constexpr):
    """Adds a pass's probability to the sums over passes.

    For the variance they are sums of differences from the first pass: equal passes then have variance 0 to the bit,
    and near ones keep their digits.
    """
    if VARIANCE & BITS != 0:
        d = p - p0
        return moved + d, squares + d * d
    return moved + p, squares


@triton.jit(do_not_specialize=["strides", "extent", "gain", "scale", "first_tile", "n_labels", "n_segments"])
def _uncertainty_wide_kernel(
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
    """Softmax or probabilities of T passes, in two phases.

    Phase 1 goes through the classes of each pass and keeps what divides its scores, and its vote. Phase 2 has the
    classes outside and the passes inside, so that the mean over passes of a class is complete before the next class:
    no array over classes, but two exp2 a class, pass and pixel.

    What is kept goes through `scratch`, [programs, T, 2 or 3, COLS, ROWS] float32, of which a thread reads its own
    rows at once, C times, from the first cache. In registers it would need the loops over passes unrolled.
    """
    n, inside, offset, near, fx, fy = locate(axes, extent, first_tile, ROWS, COLS)
    n_passes, n_classes = extent[0], extent[1]
    stride_n, stride_t, stride_c, stride_h, stride_w = strides
    stride_t, stride_c = tl.cast(stride_t, tl.int64), tl.cast(stride_c, tl.int64)
    upper, lower, right = source_rows(logits_ptr + n * stride_n, near, stride_h, stride_w, RAW)
    number = n * n_passes  # of the image's first pass
    SHIFTED: tl.constexpr = RAW and ACTIVATION == SOFTMAX
    PART: tl.constexpr = ROWS * COLS
    STEP: tl.constexpr = PART * (3 if VOTES & BITS != 0 else 2)
    zero = tl.zeros([ROWS, COLS], tl.float32)
    per_pass = 1.0 / tl.cast(n_passes, tl.float32)
    expected, most = zero, tl.zeros([ROWS, COLS], tl.int32)
    slot = tl.arange(0, ROWS)[:, None] + tl.arange(0, COLS)[None, :] * ROWS
    slots = scratch_ptr + tl.program_id(0).to(tl.int64) * n_passes * STEP + slot
    above, below = upper, lower
    to = slots
    for t in range(n_passes):
        lows = corner_lows(shift_ptr, number + t, near, extent, SHIFTED, IDENTITY)
        peak, inverse, entropy, arg = one_pass(
            above,
            below,
            right,
            stride_c,
            n_classes,
            lows,
            gain,
            fx,
            fy,
            ACTIVATION,
            BITS,
            CLASSES,
            RAW,
            IDENTITY,
            ROWS,
            COLS,
        )
        tl.store(to, peak)
        tl.store(to + PART, inverse)
        expected += entropy
        if VOTES & BITS != 0:
            tl.store(to + 2 * PART, arg.to(tl.float32, bitcast=True))
            same = tl.full([ROWS, COLS], 1, tl.int32)
            earlier = slots + 2 * PART
            for _ in range(t):
                same += (tl.load(earlier).to(tl.int32, bitcast=True) == arg).to(tl.int32)
                earlier += STEP
            most = tl.maximum(most, same)  # the last vote for the mode has met all the others
        above += stride_t
        below += stride_t
        to += STEP
    tl.debug_barrier()  # no thread reads what another wrote, but the compiler does not promise it
    entropy, variance, first, second = zero, zero, zero - 1.0, zero - 1.0
    label = tl.zeros([ROWS, COLS], tl.int32)
    for c in range(n_classes):
        lows = corner_lows(shift_ptr, number, near, extent, SHIFTED, IDENTITY)
        z = sample(upper, lower, right, lows, gain, fx, fy, RAW, IDENTITY)
        p0 = share(z, tl.load(slots), tl.load(slots + PART), n_classes, ACTIVATION)
        moved, squares = zero, zero
        above, below = upper + stride_t, lower + stride_t
        at = slots
        for t in range(1, n_passes):
            at += STEP
            lows = corner_lows(shift_ptr, number + t, near, extent, SHIFTED, IDENTITY)
            z = sample(above, below, right, lows, gain, fx, fy, RAW, IDENTITY)
            p = share(z, tl.load(at), tl.load(at + PART), n_classes, ACTIVATION)
            moved, squares = follow(moved, squares, p, p0, BITS)
            above += stride_t
            below += stride_t
        if VARIANCE & BITS != 0:
            moved = moved * per_pass
            p = tl.maximum(p0 + moved, 0.0)
            variance += tl.maximum(squares * per_pass - moved * moved, 0.0)
        else:
            p = (p0 + moved) * per_pass
        entropy -= p * tl.log2(tl.maximum(p, TINY))
        label = tl.where(p > first, c, label)
        second = tl.maximum(second, tl.minimum(p, first))
        first = tl.maximum(first, p)
        upper += stride_c
        lower += stride_c
    entropy, expected = entropy * LN2, expected * per_pass
    u = (
        entropy,
        1.0 - (first - second),
        1.0 - first,
        expected,
        tl.maximum(entropy - expected, 0.0),
        variance / tl.cast(n_classes, tl.float32),
        1.0 - most.to(tl.float32) * per_pass,
    )
    write(u, label, n, inside, offset, out, n_labels, n_segments, scale, BITS)
