"""uncertainty: the engine's heart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from ..checks import check_choice, check_size, check_subset, check_threads
from ..errors import RangeError, ShapeError
from ..kernels.uncertainty import uncertainty as _op
from ..kernels.uncertainty.common import Request
from ..types import ACTIVATIONS, CAM_BACKGROUND, MEASURES, REDUCTIONS, Uncertainty
from .cam import cam_scores
from .simd import apply_simd_level
from .uncertainty_inputs import take_box, take_scores, take_segments, take_valid
from .uncertainty_result import assemble, check_status, reusable, to_torch

_MAX_CLASSES = 65535
_MAX_PASSES = 65535


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
    temperature: float = 1.0,
    align_corners: bool = False,
    box: tuple[float, float, float, float] | None = None,
    valid: Any = None,
    segments: Any = None,
    n_segments: int | None = None,
    image_labels: Any = None,
    background: float = CAM_BACKGROUND,
    nan_policy: Literal["raise", "mark"] = "raise",
    num_threads: int | None = None,
    out: Uncertainty | None = None,
) -> Uncertainty:
    """Uncertainty of bilinearly upsampled class scores, in one pass that never stores the upsampled scores.

    Equivalent NumPy (``kernels/uncertainty/reference.py``), with the mean over T stochastic passes where there are
    several::

        p = softmax(resize_bilinear(logits, size) / temperature, axis=2)     # [N, T, C, H, W]
        entropy = H(p.mean(axis=1)); expected_entropy = H(p).mean(axis=1); H(p) = -(p * log(p)).sum(class axis)

    Args:
        logits: [N, C, h, w], or [N, T, C, h, w] for T passes of one network with dropout (or T networks); float32
            or float16 (torch: bfloat16 too), any strides. Not copied, not modified. CUDA tensors stay where they
            are, and so do all results.
        size: (H, W) in pixels, larger or smaller than (h, w); None keeps (h, w).
        measures: higher means more uncertain; p is the mean over passes, C the number of classes. Any of
            "entropy" (predictive, nats, 0..ln C), "margin" (1 - (p1 - p2), 0..1), "least_confidence" (1 - p1);
            "expected_entropy" (mean entropy of the passes, nats), "mutual_information" (BALD: entropy -
            expected_entropy, not below 0), "variance" (mean over classes of the population variance over passes),
            "variation_ratio" (share of the passes whose arg-max is not the most frequent one; in a tie the lower
            class). With T = 1 the last three are 0.
        maps: return [N, H, W] maps of the measures.
        labels: return the arg-max map; None does what `maps` says.
        reduce: per-image reductions: "mean", "max", "top" (mean of the highest `top_fraction` of the pixels,
            exact; the pixel count is rounded up).
        class_stats: return the share of pixels predicted as each class, and each measure's mean over them.
        activation: "softmax" | "sigmoid" (independent channels; measures are the mean of the channels' binary
            measures, a choice of this package) | "probabilities" (scores in 0..1, divided by their sum over
            classes) | "cam" (class activation maps: negative values are 0, each map is divided by its largest
            value at [h, w] inside `box`, multiplied by its image label, and joined by a background score as label 0;
            then as "probabilities"; Zhou et al. (2016), validation and background as in CoSA's released code, which
            divides by the largest value + 1e-5). With C = 1, sigmoid and probabilities are a two-class problem:
            label 1 where p >= 1/2.
        temperature: logits are divided by it; softmax and sigmoid only (Guo et al., 2017).
        align_corners: torch's convention; False matches ``torch.nn.functional.interpolate``'s default.
        box: (top, left, height, width) of the part of the logits to sample, in logit pixels, for models that
            saw a letterboxed picture; None is all of it. Needs align_corners=False.
        valid: [N, H, W] or [H, W] bool; only True pixels (not padding, not "ignore") count in any reduction; maps
            are 0 elsewhere. An image without a valid pixel has NaN scores.
        segments: [N, H, W] or [H, W] integer ids 0..n_segments - 1 of superpixels or any other regions; the result's
            ``segments`` then holds area, mean and sum of every measure and, with `class_stats`, class shares.
        n_segments: S; None takes the largest id + 1.
        image_labels: [N, C], nonzero where the class is present; only for "cam", None: all may be present.
        background: score of the background beside maps in 0..1, only for "cam". The literature has 0.2 to 0.7;
            0.45 is this package's choice.
        nan_policy: "raise" a DataError on NaN or inf, or "mark": scores become NaN, ``finite`` False. On CUDA
            "raise" waits for the kernel, "mark" does not.
        num_threads: None uses every CPU of the process. The result has the same bits for any number.
        out: an earlier result of a call with the same shapes and options, whose arrays are written again and
            returned; fresh memory costs more than the arithmetic.

    Returns:
        :class:`alseg_fast.types.Uncertainty` holding NumPy arrays, or torch tensors if logits was one.

    Raises:
        ShapeError, DtypeError, RangeError, DeviceError: an argument is wrong; the message names it.
        DataError: logits hold NaN or inf, or values outside 0..1 for "probabilities".
        BackendError: no implementation takes this device.

    Sources: entropy, Shannon (1948); margin, Scheffer et al. (2001); least confidence, Lewis & Gale (1994);
    mutual information, Houlsby et al. (2011); variation ratio, Freeman (1965); passes with dropout, Gal &
    Ghahramani (2016).
    Memory: the outputs, and a few rows per thread ("top" without maps: one map a measure for the images in work).
    Back ends: triton (CUDA), native (CPU), reference.

    Example:
        >>> u = uncertainty(np.zeros((1, 2, 1, 1), np.float32), (1, 1)); round(float(u.maps["entropy"][0, 0, 0]), 4)
        0.6931
    """
    name = "uncertainty"
    scores = take_scores(name, logits)
    activation = check_choice(name, "activation", activation, ACTIVATIONS)
    extent = tuple(scores.array.shape[3:])
    part = take_box(name, box, extent, align_corners)
    if activation == "cam":
        scores = cam_scores(name, scores, image_labels, background, part)
    elif image_labels is not None:
        raise RangeError(f"{name}: image_labels must be None with activation={activation!r}. It belongs to 'cam'.")
    n, n_passes, n_classes = scores.array.shape[:3]
    _check_classes(name, n_passes, n_classes, activation)
    _check_numbers(name, top_fraction, temperature, activation)
    check_choice(name, "nan_policy", nan_policy, ("raise", "mark"))
    chosen = check_subset(name, "measures", measures, MEASURES)
    reductions = check_subset(name, "reduce", reduce, REDUCTIONS)
    shape = extent if size is None else check_size(name, "size", size)
    mask = None if valid is None else take_valid(name, valid, scores, n, shape)
    ids, count = None, 0
    if segments is not None:
        ids, count = take_segments(name, segments, n_segments, scores, n, shape)
    elif n_segments is not None:
        raise RangeError(f"{name}: n_segments must be None without segments; got {n_segments!r}. Pass segments too.")
    request = Request(
        size=shape,
        measures=chosen,
        activation="probabilities" if activation == "cam" else activation,
        align_corners=bool(align_corners),
        box=part,
        maps=bool(maps),
        labels=bool(maps if labels is None else labels),
        class_stats=bool(class_stats),
        top_fraction=top_fraction if "top" in reductions and chosen else None,
        sums="mean" in reductions or "max" in reductions,
        num_threads=check_threads(name, num_threads),
        bfloat16=scores.bfloat16,
        temperature=float(temperature),
        n_segments=count,
    )
    apply_simd_level()
    kept = {} if out is None else {"out": reusable(name, out, request, n, n_classes)}
    raw = _op(scores.device, scores.array, request, mask, ids, **kept)
    check_status(name, raw, nan_policy, ids, count)
    result = assemble(raw, request, reductions)
    return to_torch(result) if scores.torch_device is not None and scores.device == "cpu" else result


def _check_classes(name: str, n_passes: int, n_classes: int, activation: str) -> None:
    if n_classes > _MAX_CLASSES or (n_classes == 1 and activation == "softmax"):
        raise ShapeError(
            f"{name}: logits must have 2 to {_MAX_CLASSES} classes for softmax (1 for sigmoid or probabilities); "
            f'got {n_classes}. Use activation="sigmoid" for a one-channel model.'
        )
    if n_passes > _MAX_PASSES:
        raise ShapeError(
            f"{name}: logits must have at most {_MAX_PASSES} passes; got {n_passes}. "
            "[N, T, C, h, w] has the passes on its second axis."
        )


def _check_numbers(name: str, top_fraction: float, temperature: float, activation: str) -> None:
    if not 0.0 < top_fraction <= 1.0:
        raise RangeError(f"{name}: top_fraction must be in (0, 1]; got {top_fraction!r}. 0.05 is the usual value.")
    if not (math.isfinite(temperature) and temperature > 0):
        raise RangeError(f"{name}: temperature must be positive; got {temperature!r}. 1 leaves logits as they are.")
    if temperature != 1 and activation not in ("softmax", "sigmoid"):
        raise RangeError(
            f"{name}: temperature must be 1 with activation={activation!r}; got {temperature!r}. "
            "Only logits have a temperature."
        )
