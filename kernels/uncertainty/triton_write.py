"""Device functions that store a tile's measures and add them up.

All sums are integers: a value times a power of two, added by 64-bit atomics. Integers add up to the same bits in any
order, so results do not depend on the order of the programs, on the tile, or on the chip's scheduling.
"""

# Triton's compiler takes no starred tuple, and needs `else` where a branch on a constant returns another type.
# ruff: noqa: RUF005
# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call,misc,assignment"

from __future__ import annotations

import triton
import triton.language as tl

N_MEASURES = tl.constexpr(7)
# Distinct keys of a tile that are added as a whole; the pixels of the others go one by one. Labels and segments are
# coherent, so a tile seldom holds more; and where they are noise, single atomics meet few others at one address.
ROUNDS = tl.constexpr(12)
NO_KEY = tl.constexpr(0x7FFFFFFFFFFFFFFF)
BAD_SEGMENT = tl.constexpr(4)


@triton.jit
def fixed(value, scale):
    return (value * scale).to(tl.int64)


@triton.jit
def add_by_key(key, left, u, count_ptr, sum_ptr, n_keys, scale, BITS: tl.constexpr):
    """count[key] += 1 and sum[k, key] += u[k] for each pixel of the mask `left`; keys are int64 in [0, n_keys)."""
    first = tl.min(tl.where(left, key, NO_KEY))
    rounds = 0
    while (first != NO_KEY) & (rounds < ROUNDS):
        here = left & (key == first)
        tl.atomic_add(count_ptr + first, tl.sum(here.to(tl.int64)), sem="relaxed")
        for k in tl.static_range(N_MEASURES):
            if BITS >> k & 1:
                part = tl.sum(tl.where(here, fixed(u[k], scale), 0))
                tl.atomic_add(sum_ptr + k * n_keys + first, part, sem="relaxed")
        left = left & (key != first)
        first = tl.min(tl.where(left, key, NO_KEY))
        rounds += 1
    if first != NO_KEY:
        tl.atomic_add(count_ptr + key, left.to(tl.int64), mask=left, sem="relaxed")
        for k in tl.static_range(N_MEASURES):
            if BITS >> k & 1:
                tl.atomic_add(sum_ptr + k * n_keys + key, fixed(u[k], scale), mask=left, sem="relaxed")


@triton.jit
def write(
    u,
    label,
    n,
    inside,
    offset,
    out,
    n_labels,
    n_segments,
    scale,
    BITS: tl.constexpr,
):
    """Stores and adds up a tile.

    Args:
        u: N_MEASURES values [ROWS, COLS] float32; those not in BITS are not looked at.
        label: [ROWS, COLS] int32 below n_labels.
        out: pointers (valid, segments, maps, labels, totals, peaks, class_count, class_sum, segment_area,
            segment_sum, segment_class, status); None where a thing is absent or not wanted. `maps` is a tuple.
    """
    valid_ptr, segments_ptr, maps, label_ptr, total_ptr, peak_ptr, class_ptr, class_sum_ptr = out[:8]
    area_ptr, segment_sum_ptr, segment_class_ptr, status_ptr = out[8:]
    counted = inside
    if valid_ptr is not None:
        counted = inside & (tl.load(valid_ptr + offset, mask=inside, other=0) != 0)
    values = ()
    for k in tl.static_range(N_MEASURES):
        if BITS >> k & 1:
            # Rounding may leave -1e-8; a maximum with 0 also makes -0 a plain 0, whose bits the peaks compare.
            v = tl.where(counted, tl.maximum(u[k], 0.0), 0.0)
            values = values + (v,)
            if maps[k] is not None:
                tl.store(maps[k] + offset, v, mask=inside)
            at = n * N_MEASURES + k
            if total_ptr is not None:
                tl.atomic_add(total_ptr + at, tl.sum(fixed(v, scale)), sem="relaxed")
            if peak_ptr is not None:
                bits = tl.max(v.to(tl.int32, bitcast=True) & 0x7FFFFFFF)
                tl.atomic_max(peak_ptr + at, bits, sem="relaxed")  # floats >= 0 are in the order of their bits
        else:
            values = values + (u[k],)
    if label_ptr is not None:
        tl.store(label_ptr + offset, label.to(label_ptr.dtype.element_ty), mask=inside)
    if class_ptr is not None:
        first = n * n_labels
        sums = class_sum_ptr + first * N_MEASURES
        add_by_key(label.to(tl.int64), counted, values, class_ptr + first, sums, n_labels, scale, BITS)
    if segments_ptr is not None:
        segment = tl.load(segments_ptr + offset, mask=inside, other=0).to(tl.int64)
        known = (segment >= 0) & (segment < n_segments)
        if tl.max((inside & (known == 0)).to(tl.int32)) != 0:
            tl.atomic_or(status_ptr + n, BAD_SEGMENT, sem="relaxed")
        first = n * n_segments
        sums = segment_sum_ptr + first * N_MEASURES
        add_by_key(segment, counted & known, values, area_ptr + first, sums, n_segments, scale, BITS)
        if segment_class_ptr is not None:
            pair = segment * n_labels + label
            counts = segment_class_ptr + first * n_labels
            add_by_key(pair, counted & known, values, counts, counts, 0, scale, 0)
