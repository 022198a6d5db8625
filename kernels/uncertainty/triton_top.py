"""The exact mean of the largest values of each map, on the device and without a sort.

The bits of floats >= 0 are in the order of their values. Three histograms, of the upper 11 bits, then of the next 10 of
the values in the bin that holds the k-th largest, then of the last 10, end at the k-th value itself; the values above
the last bin are added as integers on the way. A sort, or torch.topk, would move all values several times and needs k on
the host; here k stays on the device, the map is read three times, and the result has the same bits on every run.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

BLOCK, STEPS = 4096, 8
WARPS = 8
PHASES = ((20, 2048), (10, 1024), (0, 1024))  # (bits to the right of the bin, bins)


@triton.jit(do_not_specialize=["n_images", "pixels", "scale"])
def _uncertainty_histogram_kernel(
    maps,
    prefix_ptr,
    histogram_ptr,
    sum_ptr,
    n_images,
    pixels,
    scale,
    N_MAPS: tl.constexpr,
    SHIFT: tl.constexpr,
    BINS: tl.constexpr,
    BLOCK: tl.constexpr,
    STEPS: tl.constexpr,
):
    """Counts the values whose upper bits equal the prefix by their next bits, and adds up those above the prefix.

    maps: N_MAPS pointers to [N, pixels] float32 >= 0; prefix [N_MAPS, N] int32 or None for all; histogram
    [N_MAPS, N, BINS] int64; sum [N_MAPS, N] int64 in steps of 1 / scale, or None.
    """
    chunks = tl.cdiv(pixels, BLOCK * STEPS)
    program = tl.program_id(0).to(tl.int64)
    chunk, row = program % chunks, program // chunks
    which, n = row // n_images, row % n_images
    source = maps[0]
    for k in tl.static_range(1, N_MAPS):
        if which == k:
            source = maps[k]
    source += n * pixels
    counts = tl.zeros([BINS], tl.int32)
    total = tl.zeros([BLOCK], tl.int64)
    prefix = 0
    if prefix_ptr is not None:
        prefix = tl.load(prefix_ptr + row)
    for step in range(STEPS):
        at = (chunk * STEPS + step) * BLOCK + tl.arange(0, BLOCK)
        inside = at < pixels
        value = tl.load(source + at, mask=inside, other=0.0)
        bits = value.to(tl.int32, bitcast=True) & 0x7FFFFFFF
        digit = (bits >> SHIFT) & (BINS - 1)
        if prefix_ptr is not None:
            upper = (bits >> SHIFT) // BINS
            counts += tl.histogram(digit, BINS, mask=inside & (upper == prefix))
            if sum_ptr is not None:
                total += tl.where(inside & (upper > prefix), (value * scale).to(tl.int64), 0)
        else:
            counts += tl.histogram(digit, BINS, mask=inside)
    tl.atomic_add(histogram_ptr + row * BINS + tl.arange(0, BINS), counts.to(tl.int64), mask=counts > 0, sem="relaxed")
    if sum_ptr is not None:
        tl.atomic_add(sum_ptr + row, tl.sum(total), sem="relaxed")


def histogram_launch(
    maps: tuple[Any, ...], phase: int, prefix: Any, histogram: Any, total: Any, scale: float
) -> tuple[Any, int, tuple[Any, ...], dict[str, int]]:
    """(kernel, programs, arguments, constants) of one of the three phases."""
    shift, bins = PHASES[phase]
    n, pixels = maps[0].shape[0], maps[0][0].numel()
    programs = len(maps) * n * -(-pixels // (BLOCK * STEPS))
    arguments = (maps, prefix, histogram, total, n, pixels, scale)
    constants = {"N_MAPS": len(maps), "SHIFT": shift, "BINS": bins, "BLOCK": BLOCK, "STEPS": STEPS}
    return _uncertainty_histogram_kernel, programs, arguments, constants


def top_mean(maps: tuple[Any, ...], n_valid: Any, fraction: float, scale: float) -> Any:
    """Mean of the largest share of each map's valid pixels.

    Args:
        maps: K tensors [N, H, W] float32 >= 0, contiguous, 0 where a pixel is not valid.
        n_valid: [N] int64 on the same device.
        fraction: share of the valid pixels, rounded up to whole pixels, as ``Request.top_count`` does.
        scale: steps a unit of the fixed-point sums, a power of two.
    Returns: [N, K] float64; NaN where an image has no valid pixel.
    """
    n, device = maps[0].shape[0], maps[0].device
    wanted = torch.ceil(fraction * n_valid.double() - 1e-9).long().clamp(min=1)
    wanted = torch.minimum(wanted, n_valid).repeat(len(maps))  # [K * N]
    left = wanted
    prefix, total = None, torch.zeros(len(maps) * n, dtype=torch.int64, device=device)
    for phase, (_, bins) in enumerate(PHASES):
        histogram = torch.zeros((len(maps) * n, bins), dtype=torch.int64, device=device)
        last = phase == len(PHASES) - 1
        kernel, programs, arguments, constants = histogram_launch(
            maps, phase, prefix, histogram, total if last else None, scale
        )
        kernel[(programs,)](*arguments, **constants, num_warps=WARPS, enable_fp_fusion=True)
        at_least = histogram.flip(1).cumsum(1).flip(1)  # values in this bin or above
        chosen = ((at_least >= left[:, None]).sum(1, keepdim=True) - 1).clamp(min=0)  # [K * N, 1]
        above = (at_least - histogram).gather(1, chosen)[:, 0]
        left = left - above
        if not last:
            digit = chosen[:, 0].int()
            prefix = digit if prefix is None else prefix * bins + digit
    assert prefix is not None
    bits = prefix[:, None] * PHASES[-1][1] + torch.arange(PHASES[-1][1], dtype=torch.int32, device=device)
    values = bits.view(torch.float32).double()  # a bin of the last phase is one value
    higher = torch.arange(PHASES[-1][1], device=device) > chosen
    rest = (torch.where(higher, histogram, 0) * values).sum(1) + left * values.gather(1, chosen)[:, 0]
    # 0 / 0 is NaN: no valid pixel
    return ((total.double() / scale + rest) / wanted).view(len(maps), n).T
