"""The Triton kernels that prepare the source scores, and that measure a single pass (T = 1)."""

# Triton's compiler takes no starred tuple, and needs `else` where a branch on a constant returns another type.
# ruff: noqa: SIM102
# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call,misc,assignment"

from __future__ import annotations

import triton
import triton.language as tl

from .triton_scan import DOUBT, ENTROPY, EXPECTED, MARGIN, entropy_nats, scan
from .triton_tile import PROBABILITIES, SOFTMAX, TINY, corner_lows, locate, scaled, source_rows
from .triton_write import write

NOT_FINITE, OUT_OF_RANGE = tl.constexpr(1), tl.constexpr(2)


@triton.jit(do_not_specialize=["strides", "extent", "gain"])
def _uncertainty_prepare_kernel(
    logits_ptr,
    strides,
    shift_ptr,
    prepared_ptr,
    status_ptr,
    extent,
    gain,
    ACTIVATION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Marks bad images; stores the largest score of each source pixel, or all scores scaled and shifted by it.

    shift [N, T, h, w] float32 or None; prepared [N, T, C, h, w + 1] float32 or None. Grid: blocks of h * w, times T,
    times N, in one dimension, because the others end at 65535.
    """
    n_passes, n_classes, in_h, in_w, _, _, _ = extent
    stride_n, stride_t, stride_c, stride_h, stride_w = strides
    pixels = tl.cast(in_h, tl.int64) * in_w
    program, blocks = tl.program_id(0).to(tl.int64), tl.cdiv(pixels, BLOCK)
    at, number = (program % blocks) * BLOCK + tl.arange(0, BLOCK), program // blocks
    n, t = number // n_passes, number % n_passes
    inside = at < pixels
    plane = logits_ptr + n * stride_n + t * stride_t + (at // in_w) * stride_h + (at % in_w) * stride_w
    largest = tl.full([BLOCK], float("-inf"), tl.float32)
    fine = inside == inside
    in_range = fine
    here = plane
    for _ in range(n_classes):
        z = tl.load(here, mask=inside, other=0.0).to(tl.float32)
        fine = fine & (tl.abs(z) < float("inf"))
        if ACTIVATION == PROBABILITIES:
            # Rounding in a half-precision softmax can leave [0, 1] by a thousandth.
            in_range = in_range & (z >= -2e-3) & (z <= 1.002)
        largest = tl.maximum(largest, z)
        here += stride_c
    if tl.max((fine == 0).to(tl.int32)) != 0:
        tl.atomic_or(status_ptr + n, NOT_FINITE, sem="relaxed")
    if ACTIVATION == PROBABILITIES:
        if tl.max((in_range == 0).to(tl.int32)) != 0:
            tl.atomic_or(status_ptr + n, OUT_OF_RANGE, sem="relaxed")
    if shift_ptr is not None:
        tl.store(shift_ptr + number * pixels + at, largest, mask=inside)
    if prepared_ptr is not None:
        pitch = in_w + 1  # rows repeat their last value: a right neighbour is always one further
        plane_size = tl.cast(in_h, tl.int64) * pitch
        to = prepared_ptr + number * n_classes * plane_size + (at // in_w) * pitch + at % in_w
        last = inside & (at % in_w == in_w - 1)
        here = plane
        if ACTIVATION != SOFTMAX:
            largest = tl.zeros([BLOCK], tl.float32)
        for _ in range(n_classes):
            z = scaled(tl.load(here, mask=inside, other=0.0), largest, gain)
            tl.store(to, z, mask=inside)
            tl.store(to + 1, z, mask=last)
            here += stride_c
            to += plane_size


@triton.jit(do_not_specialize=["strides", "extent", "gain", "scale", "first_tile", "n_labels", "n_segments"])
def _uncertainty_single_kernel(
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
    """Softmax or probabilities of one pass: everything from one loop over the classes."""
    n, inside, offset, near, fx, fy = locate(axes, extent, first_tile, ROWS, COLS)
    n_classes = extent[1]
    stride_n, _, stride_c, stride_h, stride_w = strides
    upper, lower, right = source_rows(logits_ptr + n * stride_n, near, stride_h, stride_w, RAW)
    total, moment, first, second, arg, _ = scan(
        upper,
        lower,
        right,
        stride_c,
        n_classes,
        corner_lows(shift_ptr, n, near, extent, RAW and ACTIVATION == SOFTMAX, IDENTITY),
        gain,
        fx,
        fy,
        ACTIVATION,
        (ENTROPY + EXPECTED) & BITS != 0,
        MARGIN & BITS != 0,
        LABELS or (MARGIN + DOUBT) & BITS != 0,
        CLASSES,
        RAW,
        IDENTITY,
        ROWS,
        COLS,
    )
    if ACTIVATION == SOFTMAX:
        inverse = 1.0 / total
        largest, next_largest = tl.exp2(first) * inverse, tl.exp2(second) * inverse
    else:
        known = total > TINY
        inverse = 1.0 / tl.where(known, total, 1.0)
        uniform = 1.0 / tl.cast(n_classes, tl.float32)
        largest, next_largest = tl.where(known, first * inverse, uniform), tl.where(known, second * inverse, uniform)
    entropy = entropy_nats(total, moment, n_classes, ACTIVATION)
    zero = tl.zeros([ROWS, COLS], tl.float32)
    # One pass is compared with nothing.
    u = (entropy, 1.0 - (largest - next_largest), 1.0 - largest, entropy, zero, zero, zero)
    write(u, arg, n, inside, offset, out, n_labels, n_segments, scale, BITS)
