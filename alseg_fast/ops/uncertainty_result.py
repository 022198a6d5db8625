"""From what a kernel gives to what the user gets: reductions as named columns, marked where they mean nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DataError, ShapeError
from ..kernels.uncertainty.common import BAD_SEGMENT, MEASURES, NOT_FINITE, OUT_OF_RANGE, Raw, Request, n_labels
from ..types import Uncertainty
from .uncertainty_inputs import bad_segments

_SAME = ("size", "measures", "maps", "labels", "class_stats", "n_segments")


def reusable(name: str, out: Uncertainty, request: Request, n: int, n_classes: int) -> Raw:
    """The raw arrays behind an earlier result, if they fit this request."""
    before, raw = out._workspace or (None, None)
    labels = n_labels(n_classes)
    fits = (
        isinstance(before, Request)
        and isinstance(raw, Raw)
        and all(getattr(request, key) == getattr(before, key) for key in _SAME)
        and (request.top_fraction is None) == (before.top_fraction is None)
        and raw.mean.shape[0] == n
        and (raw.class_count is None or raw.class_count.shape[1] == labels)
        and (raw.labels is None or (str(raw.labels.dtype).endswith("uint8")) == (labels <= 256))
    )
    if not fits:
        raise ShapeError(
            f"{name}: out must be the result of a call with the same shapes and options; got another. Pass out=None."
        )
    assert isinstance(raw, Raw)
    return raw


def check_status(name: str, raw: Raw, nan_policy: str, segments: Any, n_segments: int) -> None:
    """Raises what the kernel noticed while it read.

    With nan_policy="mark" and no segments nothing is read here: on a GPU that would wait for the kernel.
    """
    if nan_policy == "mark" and segments is None:
        return
    status = raw.status if isinstance(raw.status, np.ndarray) else raw.status.cpu().numpy()
    if not status.any():
        return
    strange = np.flatnonzero(status & BAD_SEGMENT)
    if len(strange):
        raise bad_segments(name, strange.tolist(), segments, n_segments)
    if nan_policy == "mark":
        return
    outside = np.flatnonzero(status & OUT_OF_RANGE)
    if len(outside):
        raise DataError(
            f"{name}: logits must lie in 0..1 with activation='probabilities'; images {outside[:5].tolist()} do not. "
            "Use activation='softmax' or 'sigmoid' for raw scores."
        )
    broken = np.flatnonzero(status & NOT_FINITE)
    raise DataError(
        f"{name}: logits must be finite; images {broken[:5].tolist()} hold NaN or inf. "
        "Check the model on them, or pass nan_policy='mark'."
    )


class _Columns:
    """The few array functions that NumPy and torch spell differently."""

    def __init__(self, raw: Raw) -> None:
        self.numpy = isinstance(raw.status, np.ndarray)
        if self.numpy:
            self.where: Any = np.where
        else:
            import torch

            self.where = torch.where

    def single(self, x: Any) -> Any:
        return x.astype(np.float32) if self.numpy else x.float()

    def double(self, x: Any) -> Any:
        return x.astype(np.float64) if self.numpy else x.double()


def assemble(raw: Raw, request: Request, reductions: tuple[str, ...]) -> Uncertainty:
    """Named columns; NaN where an image is not finite or a mean is over nothing."""
    xp = _Columns(raw)
    finite = raw.status == 0
    columns = {"mean": raw.mean, "max": raw.max, "top": raw.top}
    index = {measure: MEASURES.index(measure) for measure in request.measures}
    scores, means, segments = {}, {}, {}
    fraction = None
    with np.errstate(invalid="ignore", divide="ignore"):
        for measure, i in index.items():
            for reduction in reductions:
                scores[f"{measure}_{reduction}"] = xp.single(xp.where(finite, columns[reduction][:, i], np.nan))
        if raw.class_count is not None:
            share = xp.double(raw.class_count) / raw.n_valid[:, None]
            fraction = xp.single(xp.where(finite[:, None], share, np.nan))
            for measure, i in index.items():
                mean = raw.class_sum[:, i] / raw.class_count
                means[measure] = xp.single(xp.where(finite[:, None], mean, np.nan))
        if raw.segment_area is not None:
            segments["area"] = raw.segment_area
            for measure, i in index.items():
                total = xp.where(finite[:, None], raw.segment_sum[:, i], np.nan)
                segments[f"{measure}_mean"] = xp.single(total / raw.segment_area)
                segments[f"{measure}_sum"] = total
            if raw.segment_class is not None:
                share = xp.double(raw.segment_class) / raw.segment_area[:, :, None]
                segments["class_fraction"] = xp.single(xp.where(finite[:, None, None], share, np.nan))
    return Uncertainty(
        maps=raw.maps,
        labels=raw.labels,
        scores=scores,
        class_fraction=fraction,
        class_means=means,
        finite=finite,
        segments=segments,
        valid_pixels=raw.n_valid,
        _workspace=(request, raw),
    )


def to_torch(result: Uncertainty) -> Uncertainty:
    """NumPy results as CPU tensors of the same memory."""
    import torch

    def convert(x: Any) -> Any:
        return None if x is None else torch.from_numpy(x)

    def convert_all(values: Any) -> dict[str, Any]:
        return {k: convert(v) for k, v in values.items()}

    return Uncertainty(
        maps=convert_all(result.maps),
        labels=convert(result.labels),
        scores=convert_all(result.scores),
        class_fraction=convert(result.class_fraction),
        class_means=convert_all(result.class_means),
        finite=convert(result.finite),
        segments=convert_all(result.segments),
        valid_pixels=convert(result.valid_pixels),
        _workspace=result._workspace,
    )
