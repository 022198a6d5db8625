"""The C++ implementation: one fused pass, compiled once per instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty
from .common import MEASURES, Raw, Request, n_labels

_ACTIVATION_CODES = {"softmax": 0, "sigmoid": 1, "probabilities": 2}


def uncertainty(logits: NDArray[Any], request: Request, out: Raw | None = None) -> Raw:
    """Same as ``reference.uncertainty``; `out`, an earlier result of the same request, is overwritten."""
    n, n_classes = logits.shape[:2]
    labels = n_labels(n_classes)
    if out is None:
        k = len(MEASURES)
        shape = (n, *request.size)
        out = Raw(
            maps={m: empty(shape, np.float32) for m in request.measures} if request.maps else {},
            labels=empty(shape, np.uint8 if labels <= 256 else np.uint16) if request.labels else None,
            mean=empty((n, k), np.float64),
            max=empty((n, k), np.float32),
            top=empty((n, k), np.float64) if request.top_fraction is not None else None,
            class_count=empty((n, labels), np.int64) if request.class_stats else None,
            class_sum=empty((n, k, labels), np.float64) if request.class_stats else None,
            status=empty((n,), np.uint8),
        )
    _native.uncertainty(
        logits,
        2 if request.bfloat16 else 1 if logits.dtype == np.float16 else 0,
        request.size,
        _ACTIVATION_CODES[request.activation],
        sum(1 << i for i, m in enumerate(MEASURES) if m in request.measures),
        request.align_corners,
        request.box,
        [out.maps.get(m) for m in MEASURES],
        out.labels,
        out.mean,
        out.max,
        out.top,
        out.class_count,
        out.class_sum,
        out.status,
        request.top_count,
        request.sums,
        request.num_threads,
    )
    return out
