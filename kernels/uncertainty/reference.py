"""The definition, in float64 NumPy: upsample, turn into probabilities, measure, reduce. No tricks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .common import MEASURES, NOT_FINITE, OUT_OF_RANGE, Raw, Request, n_labels


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


def upsample(logits: NDArray[Any], request: Request) -> NDArray[np.float64]:
    """[N, C, h, w] -> [N, C, H, W], bilinear."""
    top, left, height, width = request.box
    y0, y1, fy = axis_positions(logits.shape[2], request.size[0], top, height, request.align_corners)
    x0, x1, fx = axis_positions(logits.shape[3], request.size[1], left, width, request.align_corners)
    z = logits.astype(np.float64)
    z = z[:, :, y0] * (1 - fy)[:, None] + z[:, :, y1] * fy[:, None]
    return np.asarray(z[..., x0] * (1 - fx) + z[..., x1] * fx, np.float64)


def xlogx(p: NDArray[np.float64]) -> NDArray[np.float64]:
    product: NDArray[np.float64] = p * np.log(np.where(p > 0, p, 1.0))
    return product


def distribution_measures(p: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Entropy (nats), 1 - (p1 - p2) and 1 - p1 of probabilities along axis 1."""
    ranked = np.sort(p, axis=1)
    first, second = ranked[:, -1], ranked[:, -2]
    return [-xlogx(p).sum(axis=1), 1 - (first - second), 1 - first]


def binary_measures(p: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The same of the pair (p, 1 - p), element by element."""
    low = np.minimum(p, 1 - p)
    return [-xlogx(p) - xlogx(1 - p), 2 * low, low]


def pixel_measures(z: NDArray[np.float64], activation: str) -> tuple[list[Any], NDArray[Any]]:
    """[N, C, H, W] upsampled scores -> the three measures and the labels, each [N, H, W]."""
    n_classes = z.shape[1]
    labels = z.argmax(axis=1)
    if activation == "softmax":
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return distribution_measures(e / e.sum(axis=1, keepdims=True)), labels
    if activation == "sigmoid":
        q = np.exp(-np.abs(z))
        p = np.where(z >= 0, 1 / (1 + q), q / (1 + q))
        measures = [m.mean(axis=1) for m in binary_measures(p)]
        return measures, labels if n_classes > 1 else (z[:, 0] >= 0).astype(np.int64)
    if n_classes == 1:
        p = np.clip(z[:, 0], 0, 1)
        return binary_measures(p), (p >= 0.5).astype(np.int64)
    p = np.maximum(z, 0)
    total = p.sum(axis=1, keepdims=True)
    p = np.where(total > 0, p / np.where(total > 0, total, 1), 1 / n_classes)
    return distribution_measures(p), p.argmax(axis=1)


def uncertainty(logits: NDArray[Any], request: Request) -> Raw:
    """logits [N, C, h, w] float (or bfloat16 bits) -> :class:`Raw`."""
    if request.bfloat16:
        logits = (logits.astype(np.uint32) << 16).view(np.float32)
    n, n_classes = logits.shape[:2]
    with np.errstate(all="ignore"):  # NaN and inf are reported through status
        wide = logits.astype(np.float64)
        finite = np.isfinite(wide).all(axis=(1, 2, 3))
        status = np.where(finite, 0, NOT_FINITE).astype(np.uint8)
        if request.activation == "probabilities":
            outside = ((wide < -2e-3) | (wide > 1.002)).any(axis=(1, 2, 3))
            status |= np.where(outside, OUT_OF_RANGE, 0).astype(np.uint8)
        values, labels = pixel_measures(upsample(logits, request), request.activation)
    u = np.stack(values, axis=1)  # [N, 3, H, W]
    flat = u.reshape(n, len(MEASURES), -1)
    largest = np.sort(flat, axis=2)[:, :, -request.top_count :]
    ids = np.arange(n_labels(n_classes))
    member = labels.reshape(n, 1, -1) == ids[:, None]  # [N, L, H*W]
    return Raw(
        maps={m: u[:, MEASURES.index(m)].astype(np.float32) for m in request.measures} if request.maps else {},
        labels=labels.astype(np.uint8 if len(ids) <= 256 else np.uint16) if request.labels else None,
        mean=flat.mean(axis=2),
        max=flat.max(axis=2).astype(np.float32),
        top=largest.mean(axis=2) if request.top_fraction is not None else None,
        class_count=member.sum(axis=2) if request.class_stats else None,
        class_sum=np.einsum("nmp,nlp->nml", flat, member.astype(float)) if request.class_stats else None,
        status=status,
    )
