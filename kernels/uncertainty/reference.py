"""The definition, in float64 NumPy: upsample, turn into probabilities, measure, reduce. No tricks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .common import BAD_SEGMENT, MEASURES, NOT_FINITE, OUT_OF_RANGE, Raw, Request, n_labels

F64 = NDArray[np.float64]


def axis_positions(n_in: int, n_out: int, start: float, extent: float, align_corners: bool) -> Any:
    """Left neighbour and weight of the right neighbour for each output position (torch's conventions)."""
    i = np.arange(n_out, dtype=np.float64)
    if align_corners:
        source = i * (n_in - 1) / (n_out - 1) if n_out > 1 else np.zeros(n_out)
    else:
        source = start + (i + 0.5) * extent / n_out - 0.5
    source = np.clip(source, 0.0, n_in - 1)
    left = np.minimum(source.astype(np.int64), n_in - 1)
    return left, np.minimum(left + 1, n_in - 1), source - left


def upsample(logits: NDArray[Any], request: Request) -> F64:
    """[..., h, w] -> [..., H, W], bilinear."""
    top, left, height, width = request.box
    y0, y1, fy = axis_positions(logits.shape[-2], request.size[0], top, height, request.align_corners)
    x0, x1, fx = axis_positions(logits.shape[-1], request.size[1], left, width, request.align_corners)
    z = logits.astype(np.float64)
    z = z[..., y0, :] * (1 - fy)[:, None] + z[..., y1, :] * fy[:, None]
    return np.asarray(z[..., x0] * (1 - fx) + z[..., x1] * fx, np.float64)


def xlogx(p: F64) -> F64:
    product: F64 = p * np.log(np.where(p > 0, p, 1.0))
    return product


def probabilities(z: F64, request: Request) -> F64:
    """[N, T, C, H, W] upsampled scores -> probabilities of the C classes; of C independent ones for sigmoid.

    One channel becomes the two of a two-class problem.
    """
    if request.activation == "softmax":
        z = z / request.temperature
        e = np.exp(z - z.max(axis=2, keepdims=True))
        return np.asarray(e / e.sum(axis=2, keepdims=True))
    if request.activation == "sigmoid":
        z = z / request.temperature
        q = np.exp(-np.abs(z))
        return np.where(z >= 0, 1 / (1 + q), q / (1 + q))
    if z.shape[2] == 1:
        p = np.clip(z, 0, 1)
        return np.concatenate([1 - p, p], axis=2)
    p = np.maximum(z, 0)
    total = p.sum(axis=2, keepdims=True)
    return np.where(total > 0, p / np.where(total > 0, total, 1), 1 / z.shape[2])


def distribution_measures(p: F64) -> list[F64]:
    """[N, T, C, H, W] probabilities of one variable with C values -> the measures, each [N, H, W]."""
    mean = p.mean(axis=1)
    ranked = np.sort(mean, axis=1)
    first, second = ranked[:, -1], ranked[:, -2]
    entropy, expected = -xlogx(mean).sum(axis=1), -xlogx(p).sum(axis=2).mean(axis=1)
    votes = p.argmax(axis=2)  # [N, T, H, W]
    shares = np.stack([(votes == c).mean(axis=1) for c in range(p.shape[2])])
    return [
        entropy,
        1 - (first - second),
        1 - first,
        expected,
        np.maximum(entropy - expected, 0),
        p.var(axis=1).mean(axis=1),
        1 - shares.max(axis=0),
    ]


def independent_measures(p: F64) -> list[F64]:
    """[N, T, C, H, W] probabilities of C independent events -> the mean over C of each one's measures."""
    pairs = [distribution_measures(np.stack([1 - p[:, :, c], p[:, :, c]], axis=2)) for c in range(p.shape[2])]
    return [np.mean(values, axis=0) for values in zip(*pairs, strict=True)]


def pixel_measures(z: F64, request: Request) -> tuple[F64, NDArray[Any]]:
    """[N, T, C, H, W] upsampled scores -> measures [N, K, H, W] and labels [N, H, W].

    A single pass is compared with nothing: its mutual information, variance and variation ratio are 0.
    """
    p = probabilities(z, request)
    n_classes = z.shape[2]
    if request.activation == "sigmoid":
        values = independent_measures(p)
        labels = p.mean(axis=1).argmax(axis=1) if n_classes > 1 else (p.mean(axis=1)[:, 0] >= 0.5).astype(np.int64)
    else:
        values = distribution_measures(p)
        labels = p.mean(axis=1).argmax(axis=1)
        if n_classes == 1:
            labels = (p[:, :, 1].mean(axis=1) >= 0.5).astype(np.int64)  # a tie is label 1
    if z.shape[1] == 1:
        for name in ("mutual_information", "variance", "variation_ratio"):
            values[MEASURES.index(name)] = np.zeros_like(values[0])
        if request.activation == "sigmoid" and n_classes > 1:
            labels = z[:, 0].argmax(axis=1)  # not the saturated probabilities
    return np.stack(values, axis=1), labels


def uncertainty(
    logits: NDArray[Any],
    request: Request,
    valid: NDArray[np.bool_] | None = None,
    segments: NDArray[np.int32] | None = None,
    out: Raw | None = None,
) -> Raw:
    """logits [N, T, C, h, w] float (or bfloat16 bits), valid and segments [N, H, W] -> :class:`Raw`."""
    if request.bfloat16:
        logits = (logits.astype(np.uint32) << 16).view(np.float32)
    n, _, n_classes = logits.shape[:3]
    with np.errstate(all="ignore"):  # NaN and inf are reported through status
        wide = logits.astype(np.float64)
        status = np.where(np.isfinite(wide).all(axis=(1, 2, 3, 4)), 0, NOT_FINITE).astype(np.uint8)
        if request.activation == "probabilities":
            outside = ((wide < -2e-3) | (wide > 1.002)).any(axis=(1, 2, 3, 4))
            status |= np.where(outside, OUT_OF_RANGE, 0).astype(np.uint8)
        u, labels = pixel_measures(upsample(logits, request), request)
    k, width = len(MEASURES), n_labels(n_classes)
    counts = np.ones((n, *request.size), bool) if valid is None else valid
    u = np.where(counts[:, None], u, 0)
    mean, largest, top = (np.full((n, k), np.nan) for _ in range(3))
    class_count, class_sum = np.zeros((n, width), np.int64), np.zeros((n, k, width))
    n_segments = request.n_segments
    area, sums = np.zeros((n, n_segments), np.int64), np.zeros((n, k, n_segments))
    shares = np.zeros((n, n_segments, width), np.int64)
    for i in range(n):
        values, ids = u[i][:, counts[i]], labels[i][counts[i]]  # [K, P], [P]
        if ids.size:
            mean[i], largest[i] = values.mean(axis=1), values.max(axis=1)
            top[i] = np.sort(values, axis=1)[:, -request.top_count(ids.size) :].mean(axis=1)
        class_count[i] = np.bincount(ids, minlength=width)
        class_sum[i] = [np.bincount(ids, v, minlength=width) for v in values]
        if segments is not None:
            if segments[i].min() < 0 or segments[i].max() >= n_segments:
                status[i] |= BAD_SEGMENT
                continue
            where = segments[i][counts[i]]
            area[i] = np.bincount(where, minlength=n_segments)
            sums[i] = [np.bincount(where, v, minlength=n_segments) for v in values]
            np.add.at(shares[i], (where, ids), 1)
    has = segments is not None
    return Raw(
        maps={m: u[:, MEASURES.index(m)].astype(np.float32) for m in request.measures} if request.maps else {},
        labels=labels.astype(np.uint8 if width <= 256 else np.uint16) if request.labels else None,
        mean=mean,
        max=largest.astype(np.float32),
        top=top if request.top_fraction is not None else None,
        class_count=class_count if request.class_stats else None,
        class_sum=class_sum if request.class_stats else None,
        segment_area=area if has else None,
        segment_sum=sums if has else None,
        segment_class=shares if has and request.class_stats else None,
        n_valid=counts.sum(axis=(1, 2)).astype(np.int64),
        status=status,
    )
