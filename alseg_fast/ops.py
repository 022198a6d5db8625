"""Public functions, one per kernel: docstring, checks, then the operation's registry."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import config
from .checks import (
    check_choice,
    check_dtype,
    check_ndim,
    check_size,
    check_subset,
    check_threads,
    is_torch,
)
from .errors import BackendError, DataError, RangeError, ShapeError
from .kernels.resize_normalize import resize_normalize as _resize_normalize_op
from .kernels.uncertainty import uncertainty as _uncertainty_op
from .kernels.uncertainty.common import NOT_FINITE, OUT_OF_RANGE, Raw, Request
from .types import ACTIVATIONS, MEASURES, REDUCTIONS, Uncertainty

_MAX_CLASSES = 65535
_LOGIT_DTYPES = (np.dtype(np.float32), np.dtype(np.float16))
_INPUT_DTYPES = (*_LOGIT_DTYPES, np.dtype(np.uint8))


@cache
def _apply_simd_level() -> None:
    """Pins the native kernels to ``ALSEG_SIMD`` once, where it is set."""
    level = config.forced_simd_level()
    if level is None:
        return
    from . import _native

    if level not in _native.available_levels():
        raise BackendError(
            f"ALSEG_SIMD must be one of {', '.join(_native.available_levels())} on this CPU; got {level!r}. Unset it."
        )
    _native.set_simd_level(level)


def uncertainty(
    logits: Any,
    size: tuple[int, int] | None = None,
    *,
    measures: Sequence[str] = ("entropy",),
    maps: bool = True,
    labels: bool | None = None,
    reduce: Sequence[str] = ("mean", "max", "top"),
    top_fraction: float = 0.05,
    class_stats: bool = False,
    activation: str = "softmax",
    align_corners: bool = False,
    box: tuple[float, float, float, float] | None = None,
    nan_policy: Literal["raise", "mark"] = "raise",
    num_threads: int | None = None,
    out: Uncertainty | None = None,
) -> Uncertainty:
    """Uncertainty of bilinearly upsampled class scores, in one pass that never stores the upsampled scores.

    Equivalent NumPy (``kernels/uncertainty/reference.py``)::

        p = softmax(resize_bilinear(logits, size), axis=1); entropy = -(p * log(p)).sum(axis=1)

    Args:
        logits: [N, C, h, w] float32 or float16 (torch: bfloat16 too), any strides. Not copied, not modified.
        size: (H, W) in pixels, larger or smaller than (h, w); None keeps (h, w).
        measures: any of "entropy" (predictive, nats, 0..ln C), "margin" (1 - (p1 - p2), 0..1) and
            "least_confidence" (1 - p1); higher means more uncertain.
        maps: return [N, H, W] maps of the measures.
        labels: return the arg-max map; None does what `maps` says.
        reduce: per-image reductions: "mean", "max", "top" (mean of the highest `top_fraction` of the pixels,
            exact; the pixel count is rounded up).
        class_stats: return the share of pixels predicted as each class, and each measure's mean over them.
        activation: "softmax" | "sigmoid" (independent channels; measures are the mean of the channels' binary
            measures, a choice of this package) | "probabilities" (scores in 0..1, divided by their sum over
            classes). With C = 1, sigmoid and probabilities are a two-class problem: label 1 where p >= 1/2.
        align_corners: torch's convention; False matches ``torch.nn.functional.interpolate``'s default.
        box: (top, left, height, width) of the part of the logits to sample, in logit pixels, for models that
            saw a letterboxed picture; None is all of it. Needs align_corners=False.
        nan_policy: "raise" a DataError on NaN or inf, or "mark": scores become NaN, ``finite`` False.
        num_threads: None uses every CPU of the process. The result has the same bits for any number.
        out: an earlier result of a call with the same shapes and options, whose arrays are written again and
            returned; fresh memory costs more than the arithmetic. NumPy input only.

    Returns:
        :class:`alseg_fast.types.Uncertainty` holding NumPy arrays, or torch tensors if logits was one.

    Raises:
        ShapeError, DtypeError, RangeError: an argument is wrong; the message names it.
        DataError: logits hold NaN or inf, or values outside 0..1 for "probabilities".
        BackendError: no implementation takes this device.

    Sources: entropy, Shannon (1948); margin, Scheffer et al. (2001); least confidence, Lewis & Gale (1994).
    Memory: the outputs, and a few rows per thread. Back ends: native, reference.

    Example:
        >>> u = uncertainty(np.zeros((1, 2, 1, 1), np.float32), (1, 1)); round(float(u.maps["entropy"][0, 0, 0]), 4)
        0.6931
    """
    name = "uncertainty"
    torch_input = is_torch(logits)
    device = logits.device.type if torch_input else "cpu"
    array, bfloat16 = _torch_view(name, logits, device) if torch_input else (np.asarray(logits), False)
    if not bfloat16 and array.dtype not in _LOGIT_DTYPES:
        fix = "Convert with logits.astype(np.float32)."
        check_dtype(name, "logits", array.dtype, ("float32", "float16"), fix)
    check_ndim(name, "logits", array, (4,), "[N, C, h, w]")
    activation = check_choice(name, "activation", activation, ACTIVATIONS)
    n_classes = array.shape[1]
    if n_classes > _MAX_CLASSES or (n_classes == 1 and activation == "softmax"):
        raise ShapeError(
            f"{name}: logits must have 2 to {_MAX_CLASSES} classes for softmax (1 for sigmoid or probabilities); "
            f'got {n_classes}. Use activation="sigmoid" for a one-channel model.'
        )
    if not 0.0 < top_fraction <= 1.0:
        raise RangeError(f"{name}: top_fraction must be in (0, 1]; got {top_fraction!r}. 0.05 is the usual value.")
    check_choice(name, "nan_policy", nan_policy, ("raise", "mark"))
    chosen = check_subset(name, "measures", measures, MEASURES)
    reductions = check_subset(name, "reduce", reduce, REDUCTIONS)
    request = Request(
        size=array.shape[2:] if size is None else check_size(name, "size", size),
        measures=chosen,
        activation=activation,
        align_corners=bool(align_corners),
        box=_check_box(name, box, array.shape[2:], align_corners),
        maps=bool(maps),
        labels=bool(maps if labels is None else labels),
        class_stats=bool(class_stats),
        top_fraction=top_fraction if "top" in reductions and chosen else None,
        sums="mean" in reductions or "max" in reductions,
        num_threads=check_threads(name, num_threads),
        bfloat16=bfloat16,
    )
    _apply_simd_level()
    raw = _reusable(name, out, request, array.shape) if out is not None and not torch_input else None
    raw = _uncertainty_op(device, array, request, raw) if raw is not None else _uncertainty_op(device, array, request)
    _check_status(name, raw.status, nan_policy)
    result = _assemble(raw, request, reductions)
    return _to_torch(result) if torch_input else result


def _torch_view(name: str, tensor: Any, device: str) -> tuple[NDArray[Any], bool]:
    """A CPU tensor as a NumPy view of the same memory; bfloat16 as its bits."""
    check_dtype(
        name,
        "logits",
        tensor.dtype,
        ("torch.float32", "torch.float16", "torch.bfloat16"),
        "Convert with logits.float().",
    )
    if device != "cpu":
        # Refuses with the reason of every back end: CUDA tensors never fall back to the CPU.
        _uncertainty_op.resolve(device)
    tensor = tensor.detach()
    if str(tensor.dtype) == "torch.bfloat16":
        import torch

        return tensor.view(torch.int16).numpy().view(np.uint16), True
    return tensor.numpy(), False


def _check_box(name: str, box: Any, extent: Sequence[int], align_corners: bool) -> tuple[float, float, float, float]:
    if box is None:
        return 0.0, 0.0, float(extent[0]), float(extent[1])
    if align_corners:
        raise RangeError(f"{name}: box must be None with align_corners=True; got {box!r}. Use align_corners=False.")
    top, left, height, width = (float(v) for v in box)
    inside = top >= 0 and left >= 0 and height > 0 and width > 0
    if not inside or top + height > extent[0] + 1e-6 or left + width > extent[1] + 1e-6:
        raise RangeError(
            f"{name}: box must be (top, left, height, width) inside the [{extent[0]}, {extent[1]}] logits; "
            f"got {box!r}. Give it in logit pixels."
        )
    return top, left, height, width


def _reusable(name: str, out: Uncertainty, request: Request, shape: tuple[int, ...]) -> Raw:
    """The raw arrays behind an earlier result, if they fit this request."""
    before, raw = out._workspace or (None, None)
    key = (request.size, request.measures, request.maps, request.labels, request.class_stats)
    fits = (
        isinstance(before, Request)
        and isinstance(raw, Raw)
        and key == (before.size, before.measures, before.maps, before.labels, before.class_stats)
        and (request.top_fraction is None) == (before.top_fraction is None)
        and raw.mean.shape[0] == shape[0]
        and (raw.class_count is None or raw.class_count.shape[1] == (2 if shape[1] == 1 else shape[1]))
        and (raw.labels is None or (raw.labels.dtype == np.uint8) == (shape[1] <= 256))
    )
    if not fits:
        raise ShapeError(
            f"{name}: out must be the result of a call with the same shapes and options; got another. Pass out=None."
        )
    assert isinstance(raw, Raw)
    return raw


def _check_status(name: str, status: NDArray[np.uint8], nan_policy: str) -> None:
    if nan_policy == "mark" or not status.any():
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


def _assemble(raw: Raw, request: Request, reductions: tuple[str, ...]) -> Uncertainty:
    finite = raw.status == 0
    broken = None if finite.all() else ~finite
    columns = {"mean": raw.mean, "max": raw.max, "top": raw.top}
    scores: dict[str, Any] = {}
    for measure in request.measures:
        for reduction in reductions:
            column = columns[reduction]
            assert column is not None
            values = column[:, MEASURES.index(measure)].astype(np.float32)
            if broken is not None:
                values[broken] = np.nan
            scores[f"{measure}_{reduction}"] = values
    fraction, means = None, {}
    if raw.class_count is not None and raw.class_sum is not None:
        pixels = request.size[0] * request.size[1]
        fraction = (raw.class_count / pixels).astype(np.float32)
        if broken is not None:
            fraction[broken] = np.nan
        with np.errstate(invalid="ignore", divide="ignore"):
            for measure in request.measures:
                mean = raw.class_sum[:, MEASURES.index(measure)] / raw.class_count
                if broken is not None:
                    mean[broken] = np.nan
                means[measure] = mean.astype(np.float32)
    return Uncertainty(raw.maps, raw.labels, scores, fraction, means, finite, (request, raw))


def _to_torch(result: Uncertainty) -> Uncertainty:
    import torch

    def convert(x: Any) -> Any:
        return None if x is None else torch.from_numpy(x)

    return Uncertainty(
        maps={k: convert(v) for k, v in result.maps.items()},
        labels=convert(result.labels),
        scores={k: convert(v) for k, v in result.scores.items()},
        class_fraction=convert(result.class_fraction),
        class_means={k: convert(v) for k, v in result.class_means.items()},
        finite=convert(result.finite),
    )


@lru_cache(maxsize=64)
def _gain_and_bias(mean: Any, std: Any, scale: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(pixel * scale - mean) / std as pixel * gain + bias, for three channels."""
    m, s = np.broadcast_to(np.asarray(mean, float), 3), np.broadcast_to(np.asarray(std, float), 3)
    if not np.isfinite([*m, *s, scale]).all() or (s == 0).any():
        raise RangeError(
            f"resize_normalize: mean, std and scale must be finite and std not 0; got {mean}, {std}, {scale}. "
            "Give one or three numbers."
        )
    return tuple((scale / s).tolist()), tuple((-m / s).tolist())


def resize_normalize(
    image: NDArray[np.uint8],
    out: NDArray[Any],
    *,
    mean: Sequence[float] | float = 0.0,
    std: Sequence[float] | float = 1.0,
    scale: float = 1.0,
    bgr: bool = False,
    channels_last: bool = False,
    antialias: bool = True,
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Resize an RGB picture into a model's input, normalised and in the model's layout, in one pass.

    Each value becomes ``(pixel * scale - mean) / std`` with mean and std in the model's channel order.

    Args:
        image: [h, w, 3] uint8 RGB; rows may be strided, pixels must be three adjacent bytes.
        out: [3, H, W], or [H, W, 3] with `channels_last`; float32, float16 or uint8 (rounded, clipped), any
            strides. Written in place, which lets a caller fill part of a padded batch.
        bgr: the model wants blue first.
        antialias: widen the triangle filter when shrinking, as Pillow's BILINEAR does; False is the two-tap
            interpolation of OpenCV's INTER_LINEAR and torch.
        num_threads: None uses every CPU of the process; same bits for any number.

    Returns: `out`.
    Raises: ShapeError, DtypeError, RangeError: an argument is wrong; the message names it.
    Back ends: native, reference.
    """
    name = "resize_normalize"
    if image.dtype != np.uint8:
        check_dtype(name, "image", image.dtype, ("uint8",), "Decode to 8-bit RGB first.")
    check_ndim(name, "image", image, (3,), "[h, w, 3]")
    if out.dtype not in _INPUT_DTYPES:
        check_dtype(name, "out", out.dtype, ("float32", "float16", "uint8"), "Allocate one of these.")
    check_ndim(name, "out", out, (3,), "[3, H, W] or [H, W, 3]")
    axis = 2 if channels_last else 0
    if image.shape[2] != 3 or out.shape[axis] != 3:
        raise ShapeError(
            f"{name}: image and out must have 3 channels; got image {list(image.shape)}, out {list(out.shape)}. "
            f"channels_last={channels_last} expects {'[H, W, 3]' if channels_last else '[3, H, W]'}."
        )
    gain, bias = _gain_and_bias(
        tuple(mean) if isinstance(mean, Sequence) else mean, tuple(std) if isinstance(std, Sequence) else std, scale
    )
    if image.strides[1:] != (3, 1):
        image = np.ascontiguousarray(image)
    _apply_simd_level()
    threads = check_threads(name, num_threads)
    _resize_normalize_op("cpu", image, out, axis, gain, bias, bool(bgr), bool(antialias), threads)
    return out
