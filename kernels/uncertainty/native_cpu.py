"""The C++ implementation: one fused pass, compiled once per instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty
from .common import MEASURES, Raw, Request, measure_bits, n_labels, segment_scale

_ACTIVATION_CODES = {"softmax": 0, "sigmoid": 1, "probabilities": 2}


def uncertainty(
    logits: NDArray[Any],
    request: Request,
    valid: NDArray[np.bool_] | None = None,
    segments: NDArray[np.int32] | None = None,
    out: Raw | None = None,
) -> Raw:
    """Same as ``reference.uncertainty``; `out`, an earlier result of the same request, is overwritten.

    `valid` and `segments` must be C-contiguous.
    """
    n_classes = logits.shape[2]
    if out is None:
        out = _allocate(logits.shape[0], n_labels(n_classes), request, segments is not None)
    height, width = request.size
    _native.uncertainty(
        logits=logits,
        dtype=2 if request.bfloat16 else 1 if logits.dtype == np.float16 else 0,
        size=request.size,
        activation=_ACTIVATION_CODES[request.activation],
        temperature=request.temperature,
        measures=measure_bits(request.measures),
        align_corners=request.align_corners,
        box=request.box,
        valid=valid,
        segments=segments,
        n_segments=request.n_segments,
        segment_scale=segment_scale(height * width, n_classes),
        top_fraction=request.top_fraction or 1.0,
        sums=request.sums,
        num_threads=request.num_threads,
        maps=[out.maps.get(m) for m in MEASURES],
        out=out,
    )
    return out


def _allocate(n: int, labels: int, request: Request, segmented: bool) -> Raw:
    k, s = len(MEASURES), request.n_segments
    shape = (n, *request.size)
    stats = request.class_stats
    return Raw(
        maps={m: empty(shape, np.float32) for m in request.measures} if request.maps else {},
        labels=empty(shape, np.uint8 if labels <= 256 else np.uint16) if request.labels else None,
        mean=empty((n, k), np.float64),
        max=empty((n, k), np.float32),
        top=empty((n, k), np.float64) if request.top_fraction is not None else None,
        class_count=empty((n, labels), np.int64) if stats else None,
        class_sum=empty((n, k, labels), np.float64) if stats else None,
        segment_area=empty((n, s), np.int64) if segmented else None,
        segment_sum=empty((n, k, s), np.float64) if segmented else None,
        segment_class=empty((n, s, labels), np.int64) if segmented and stats else None,
        n_valid=empty((n,), np.int64),
        status=empty((n,), np.uint8),
    )
