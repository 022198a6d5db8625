"""The Triton implementation: two launches for any request, and three more for the top mean.

Sums are 64-bit integers in fixed point, added by atomics: the same bits on every run, for any tile and any chip's
scheduling (``common.segment_scale`` gives the step). Nothing comes back to the host, and only the first call of a kind
waits for the device, while it times a few tiles (:mod:`triton_tune`).

Device memory besides the result: float32 copies of the *source* scores where T C h w <= H W, else one float32 a source
pixel and pass (softmax); with more than 16 passes, 128 MB of scratch; a map a measure where the top mean is wanted but
the maps are not.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch

from .common import BAD_SEGMENT, MEASURES, Raw, Request, n_labels
from .triton_launch import (
    Buffers,
    Call,
    buffers_for,
    measure_launches,
    prepare_launch,
    tiles_for,
    tuning_key,
    wants_prepared,
)
from .triton_top import top_mean
from .triton_tune import Tile, choose


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Uninitialised result; every element is written before it is read. Tests replace it by one that poisons."""
    return torch.empty(shape, dtype=dtype, device=device)


def uncertainty(
    logits: torch.Tensor,
    request: Request,
    valid: torch.Tensor | None = None,
    segments: torch.Tensor | None = None,
    out: Raw | None = None,
) -> Raw:
    """Same as ``reference.uncertainty`` for tensors of one CUDA device.

    Args:
        logits: [N, T, C, h, w] float32, float16 or bfloat16, any strides.
        valid: [N, H, W] bool, or None for all.
        segments: [N, H, W] int32, or None.
        out: an earlier result of the same request, whose maps and labels are written again.
    Returns: :class:`Raw` of tensors on the device of `logits`.
    """
    guard: Any = torch.cuda.device(logits.device) if logits.is_cuda else nullcontext()
    with guard:
        call = describe(logits.detach(), request, valid, segments, out)
        prepare_launch(call).run()
        tile = choose(tuning_key(call), tiles_for(call), lambda tile: _rehearse(call, tile), logits.device)
        _measure(call, tile)
        return _finish(call)


def describe(
    logits: torch.Tensor,
    request: Request,
    valid: torch.Tensor | None,
    segments: torch.Tensor | None,
    out: Raw | None,
) -> Call:
    """Allocates what the call writes."""
    n, passes, classes, h, w = logits.shape
    device, shape = logits.device, (n, *request.size)
    maps: dict[str, Any] = {}
    if request.maps or request.top_fraction is not None:
        before = out.maps if out is not None else {}
        maps = {m: before[m] if m in before else empty(shape, torch.float32, device) for m in request.measures}
    labels = None
    if request.labels:
        dtype = torch.uint8 if n_labels(classes) <= 256 else torch.uint16
        labels = out.labels if out is not None else empty(shape, dtype, device)
    prepared = wants_prepared(request, tuple(logits.shape))
    shifted = request.activation == "softmax" and not prepared
    return Call(
        logits=logits,
        request=request,
        valid=None if valid is None else valid.contiguous().view(torch.uint8),
        segments=None if segments is None else segments.contiguous(),
        maps=tuple(maps.get(m) for m in MEASURES),
        labels=labels,
        buffers=buffers_for(request, n, classes, segments is not None, device),
        shift=empty((n, passes, h, w), torch.float32, device) if shifted else None,
        prepared=empty((n, passes, classes, h, w + 1), torch.float32, device) if prepared else None,
    )


def _measure(call: Call, tile: Tile) -> None:
    for launch in measure_launches(call, tile):
        launch.run()


def _rehearse(call: Call, tile: Tile) -> None:
    """A run whose time is taken; leaves the sums as they were."""
    _measure(call, tile)
    call.buffers.sums.zero_()


def _finish(call: Call) -> Raw:
    """Integer sums -> results; a handful of small tensor operations, all on the device."""
    request, buffers, scale = call.request, call.buffers, call.scale
    n, device = call.logits.shape[0], call.logits.device
    if call.valid is None:
        n_valid = torch.full((n,), request.size[0] * request.size[1], dtype=torch.int64, device=device)
    else:
        n_valid = call.valid.sum((1, 2), dtype=torch.int64)
    status = buffers.status.to(torch.uint8)
    class_sum = None if buffers.class_sum is None else buffers.class_sum.double() / scale
    mean, largest = _image_sums(call, n_valid)
    wanted = [i for i, m in enumerate(MEASURES) if m in request.measures]
    top = None
    if request.top_fraction is not None:
        columns = [torch.full((n,), torch.nan, dtype=torch.float64, device=device)] * len(MEASURES)
        if wanted:
            means = top_mean(tuple(call.maps[i] for i in wanted), n_valid, request.top_fraction, scale)
            columns = [means[:, wanted.index(i)] if i in wanted else c for i, c in enumerate(columns)]
        top = torch.stack(columns, dim=1)
    return Raw(
        maps={MEASURES[i]: call.maps[i] for i in wanted} if request.maps else {},
        labels=call.labels,
        mean=mean,
        max=largest,
        top=top,
        class_count=buffers.class_count,
        class_sum=class_sum,
        **_segment_sums(buffers, scale),
        n_valid=n_valid,
        status=status,
    )


def _image_sums(call: Call, n_valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[N, K] mean and maximum; NaN where an image has no valid pixel, or where they are not wanted."""
    buffers = call.buffers
    n, device = call.logits.shape[0], call.logits.device
    if buffers.peak is None:
        nan = torch.full((n, len(MEASURES)), torch.nan, dtype=torch.float64, device=device)
        return nan, nan.float()
    total = buffers.class_sum.sum(2) if buffers.total is None else buffers.total
    mean = total.double() / call.scale / n_valid[:, None]  # 0 / 0 is NaN
    largest = torch.where(n_valid[:, None] > 0, buffers.peak.view(torch.float32), torch.nan)
    return mean, largest


def _segment_sums(buffers: Buffers, scale: float) -> dict[str, Any]:
    """Nothing where an image has a segment out of range, as in the reference."""
    if buffers.segment_area is None:
        return {"segment_area": None, "segment_sum": None, "segment_class": None}
    known = ((buffers.status & BAD_SEGMENT) == 0).long()
    shares = buffers.segment_class
    return {
        "segment_area": buffers.segment_area * known[:, None],
        "segment_sum": (buffers.segment_sum * known[:, None, None]).double() / scale,
        "segment_class": None if shares is None else shares * known[:, None, None],
    }
