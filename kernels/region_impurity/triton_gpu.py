"""The Triton implementation: two-dimensional prefix sums of each class, and one launch a class that reads windows.

Device memory besides the result: a few maps of 32-bit integers, one of doubles with `entropy`. The status is read once,
which waits for the device.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from .common import BAD_LABEL, NOT_FINITE

BLOCK = 512
WARPS = 4


@triton.jit
def _window(prefix_ptr, n, y, x, height, width, radius, mask):
    """Sum over the window around (y, x), cut at the border; prefix [N, H + 1, W + 1] holds sums of what lies above and
    to the left. Integers may wrap on the way: the difference is right."""
    top, bottom = tl.maximum(y - radius, 0), tl.minimum(y + radius + 1, height)
    left, right = tl.maximum(x - radius, 0), tl.minimum(x + radius + 1, width)
    plane = prefix_ptr + n * (height + 1) * (width + 1)
    upper, lower = plane + top * (width + 1), plane + bottom * (width + 1)
    a = tl.load(lower + right, mask=mask, other=0) - tl.load(upper + right, mask=mask, other=0)
    b = tl.load(lower + left, mask=mask, other=0) - tl.load(upper + left, mask=mask, other=0)
    return a - b


@triton.jit
def _region_impurity_class_kernel(prefix_ptr, moment_ptr, pixels, height, width, radius, BLOCK: tl.constexpr):
    """moment [N, H, W] += n ln n, with n the pixels of one class in the window."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < pixels
    n, inside = at // (height * width), at % (height * width)
    y, x = inside // width, inside % width
    count = _window(prefix_ptr, n, y, x, height, width, radius, mask).to(tl.float32)
    term = tl.where(count > 1.0, count * tl.log(tl.maximum(count, 1.0)), 0.0)
    tl.store(moment_ptr + at, tl.load(moment_ptr + at, mask=mask, other=0.0) + term, mask=mask)


@triton.jit
def _region_impurity_score_kernel(
    area_ptr, entropy_ptr, valid_ptr, moment_ptr, pixels, height, width, radius, BLOCK: tl.constexpr
):
    """moment -> score in place: (ln area - moment / area) times the mean entropy; 0 where a pixel is not valid."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < pixels
    n, inside = at // (height * width), at % (height * width)
    y, x = inside // width, inside % width
    if area_ptr is None:
        rows = tl.minimum(y + radius + 1, height) - tl.maximum(y - radius, 0)
        area = (rows * (tl.minimum(x + radius + 1, width) - tl.maximum(x - radius, 0))).to(tl.float32)
    else:
        area = _window(area_ptr, n, y, x, height, width, radius, mask).to(tl.float32)
    area = tl.maximum(area, 1.0)
    score = tl.maximum(tl.log(area) - tl.load(moment_ptr + at, mask=mask, other=0.0) / area, 0.0)
    if entropy_ptr is not None:
        total = _window(entropy_ptr, n, y, x, height, width, radius, mask).to(tl.float32)
        score *= tl.maximum(total, 0.0) / area
    if valid_ptr is not None:
        score = tl.where(tl.load(valid_ptr + at, mask=mask, other=0) != 0, score, 0.0)
    tl.store(moment_ptr + at, score, mask=mask)


def _prefix(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """[N, H, W] -> [N, H + 1, W + 1] sums of all values above and to the left."""
    sums = values.cumsum(1, dtype=dtype).cumsum(2, dtype=dtype)
    return torch.nn.functional.pad(sums, (1, 0, 1, 0))


def region_impurity(
    labels: torch.Tensor,
    entropy: torch.Tensor | None,
    valid: torch.Tensor | None,
    n_classes: int,
    radius: int,
    num_threads: int = 0,
) -> tuple[torch.Tensor, int]:
    """Same as ``reference.region_impurity`` for tensors of one CUDA device; labels of any integer dtype."""
    wide = labels.to(torch.int32)
    strange = (wide < 0) | (wide >= n_classes)
    broken = None if entropy is None else ~entropy.isfinite()
    if valid is not None:
        strange &= valid
        broken = None if broken is None else broken & valid
    n, height, width = labels.shape
    moment = torch.zeros((n, height, width), dtype=torch.float32, device=labels.device)
    grid, sizes = (triton.cdiv(moment.numel(), BLOCK),), (moment.numel(), height, width, radius)
    constants: dict[str, Any] = {"BLOCK": BLOCK, "num_warps": WARPS}
    for label in range(n_classes):
        inside = wide == label
        prefix = _prefix(inside if valid is None else inside & valid, torch.int32)
        _region_impurity_class_kernel[grid](prefix, moment, *sizes, **constants)
    area = None if valid is None else _prefix(valid, torch.int32)
    sums = None
    if entropy is not None:
        counted = entropy if valid is None else torch.where(valid, entropy, 0.0)
        sums = _prefix(counted, torch.float64)
    mask = None if valid is None else valid.view(torch.uint8)
    _region_impurity_score_kernel[grid](area, sums, mask, moment, *sizes, **constants)
    status = BAD_LABEL * strange.any().long()
    if broken is not None:
        status = status + NOT_FINITE * broken.any().long()
    return moment, int(status)
