"""The kernel of independent channels, for any number of passes."""

# Triton's compiler takes no starred tuple, and needs `else` where a branch on a constant returns another type.
# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call,misc,assignment"

from __future__ import annotations

import triton
import triton.language as tl

from .triton_scan import binary, binary_entropy
from .triton_tile import SIGMOID, TINY, locate, sample, source_rows
from .triton_write import write


@triton.jit(do_not_specialize=["strides", "extent", "gain", "scale", "first_tile", "n_labels", "n_segments"])
def _uncertainty_binary_kernel(
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
    """Independent channels (sigmoid), or one channel of probabilities: the mean over channels of binary measures.

    p and q = 1 - p are both computed, so that nothing cancels near 0 or 1.
    """
    n, inside, offset, near, fx, fy = locate(axes, extent, first_tile, ROWS, COLS)
    n_passes, n_classes = extent[0], extent[1]
    stride_n, stride_t, stride_c, stride_h, stride_w = strides
    stride_t, stride_c = tl.cast(stride_t, tl.int64), tl.cast(stride_c, tl.int64)
    upper, lower, right = source_rows(logits_ptr + n * stride_n, near, stride_h, stride_w, RAW)
    zero = tl.zeros([ROWS, COLS], tl.float32)
    lows = (0.0, 0.0, 0.0, 0.0)
    per_pass = 1.0 / tl.cast(n_passes, tl.float32)
    entropy, doubt, expected, information, variance, dissent = zero, zero, zero, zero, zero, zero
    best, label = zero - 3e38, tl.zeros([ROWS, COLS], tl.int32)
    for c in range(n_classes):
        z = sample(upper, lower, right, lows, 1.0, fx, fy, RAW, IDENTITY)
        p0, q0, h0 = binary(z, gain, ACTIVATION)
        if PASSES == 1:
            low = tl.minimum(p0, q0)
            entropy += h0
            doubt += low
            score = z
            label_one = z >= 0.0 if ACTIVATION == SIGMOID else p0 >= q0
        else:
            moved, squares, h_sum = zero, zero, h0
            yes = (p0 > q0).to(tl.int32)
            above, below = upper + stride_t, lower + stride_t
            for _ in range(1, n_passes):
                z = sample(above, below, right, lows, 1.0, fx, fy, RAW, IDENTITY)
                p, q, h = binary(z, gain, ACTIVATION)
                h_sum += h
                yes += (p > q).to(tl.int32)
                # p - p0 = q0 - q; the smaller pair has the digits.
                d = tl.where(p0 < 0.5, p - p0, q0 - q)
                moved += d
                squares += d * d
                above += stride_t
                below += stride_t
            moved = moved * per_pass
            p, q = tl.maximum(p0 + moved, 0.0), tl.maximum(q0 - moved, 0.0)
            h = binary_entropy(p, q)
            entropy += h
            doubt += tl.minimum(p, q)
            expected += h_sum * per_pass
            information += tl.maximum(h - h_sum * per_pass, 0.0)
            variance += tl.maximum(squares * per_pass - moved * moved, 0.0)
            dissent += 1.0 - tl.maximum(yes, n_passes - yes).to(tl.float32) * per_pass
            score = p / tl.maximum(q, TINY)  # odds tell apart what is 1 when rounded
            label_one = p >= q
        label = tl.where(score > best, c, label)
        best = tl.maximum(best, score)
        if n_classes == 1:
            label = label_one.to(tl.int32)
        upper += stride_c
        lower += stride_c
    share_of_one = 1.0 / tl.cast(n_classes, tl.float32)
    if PASSES == 1:
        expected = entropy
    u = (
        entropy * share_of_one,
        2.0 * doubt * share_of_one,
        doubt * share_of_one,
        expected * share_of_one,
        information * share_of_one,
        variance * share_of_one,
        dissent * share_of_one,
    )
    write(u, label, n, inside, offset, out, n_labels, n_segments, scale, BITS)
