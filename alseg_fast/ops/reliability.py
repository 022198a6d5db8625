"""How far the pixels of an activation map can be trusted: perplexity, and the weights that follow from it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_choice, check_threads
from ..errors import DataError, RangeError
from ..kernels.reliability import reliability as _op
from .map_inputs import NUMBERS, Maps, take_maps, take_valid
from .simd import apply_simd_level

FORMS = ("reciprocal", "printed")
THRESHOLD_BOUNDS = (0.05, 0.95)
LEAST_RATIO = 1e-6
_CODES = {"perplexity": 0, "reciprocal": 1, "printed": 2}


def perplexity(
    cam: Any,
    threshold: float,
    alpha: float = 0.9,
    beta: float = 1.0,
    *,
    threshold_bounds: tuple[float, float] = THRESHOLD_BOUNDS,
    least_ratio: float = LEAST_RATIO,
    num_threads: int | None = None,
) -> Any:
    """How undecided each pixel of an activation map is: high at the threshold, low far from it.

    With m the activation and x the threshold::

        d = (m - x) / (1 - x) where m >= x, else (x - m) / x
        P = (-ln(alpha * d)) ** beta

    d is cut to [least_ratio, 1] (at the threshold P would be infinite) and x to `threshold_bounds` (at 0 and 1 there
    would be a division by 0). alpha and beta are not determined by the sources; alpha must be below 1, since P would
    be 0 at m = 0 and m = 1. The defaults let 1 / P reach (-ln 0.9)^-1 = 9.49, as in the authors' plot; so would
    (0.8, 1.5).

    Args:
        cam: [N, h, w] or [h, w] in 0..1: the largest normalised activation over the classes that are present. NumPy or
            torch (CPU, CUDA), any float dtype. No gradient passes.
        threshold: between background and object, in [0, 1].
        alpha: in (0, 1).
        beta: in (0, 10].
        num_threads: None uses every CPU of the process; same bits for any number. Not read for CUDA.
    Returns: P, float32, of the shape, kind and device of `cam`.
    Raises: ShapeError, DtypeError, RangeError (also of values that are not in 0..1), DataError (NaN, inf).
    Source: Yang et al., CoSA, ECCV 2024, as given in the authors' talk.
    Back ends: native (CPU), reference; torch's own operations on CUDA.
    """
    settings = _settings("perplexity", threshold, alpha, beta, threshold_bounds, least_ratio)
    maps = take_maps("perplexity", "cam", cam, (2, 3), "[N, h, w] or [h, w]")
    return _run("perplexity", "perplexity", maps, None, settings, num_threads)


def reliability_weights(
    cam: Any,
    threshold: float,
    alpha: float = 0.9,
    beta: float = 1.0,
    *,
    form: str = "reciprocal",
    valid: Any = None,
    threshold_bounds: tuple[float, float] = THRESHOLD_BOUNDS,
    least_ratio: float = LEAST_RATIO,
    num_threads: int | None = None,
) -> Any:
    """Weights of pixels from their perplexity P, for a loss on pseudo-labels.

    R is the valid region of an image, |R| its number of pixels:

    - "reciprocal": W = |R| (1 / P) / sum over R of 1 / P. The mean over R is 1, and pixels of low perplexity weigh
      more: what the authors describe.
    - "printed": W = |R| / sum over ij in R of 1 / (P_ij P), the formula as printed in the talk. It equals |R| P / (sum
      of 1 / P): proportional to P, so pixels that cannot be trusted weigh *more*. For comparison only.

    The sources do not define R; here it is `valid`, for example the picture without its padding.

    Args:
        cam, threshold, alpha, beta, threshold_bounds, least_ratio, num_threads: see `perplexity`.
        form: "reciprocal" or "printed".
        valid: [N, h, w] or [h, w] bool, as `cam`; None: all pixels.
    Returns: W, float32, of the shape, kind and device of `cam`; 0 outside R, and everywhere where R is empty.
    Raises: ShapeError, DtypeError, DeviceError, RangeError, DataError.
    Source: Yang et al., CoSA, ECCV 2024, as given in the authors' talk.
    Back ends: native (CPU), reference; torch's own operations on CUDA.
    """
    name = "reliability_weights"
    check_choice(name, "form", form, FORMS)
    settings = _settings(name, threshold, alpha, beta, threshold_bounds, least_ratio)
    maps = take_maps(name, "cam", cam, (2, 3), "[N, h, w] or [h, w]")
    inside = take_valid(name, valid, maps, tuple(maps.array.shape))
    return _run(name, form, maps, inside, settings, num_threads)


def _number(name: str, argument: str, value: Any, low: float, high: float, fix: str) -> float:
    """A number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, NUMBERS) or not low <= value <= high:
        raise RangeError(f"{name}: {argument} must be a number in [{low:g}, {high:g}]; got {value!r}. {fix}")
    return float(value)


def _settings(
    name: str, threshold: Any, alpha: Any, beta: Any, bounds: Any, least_ratio: Any
) -> tuple[float, float, float, float]:
    """Threshold within its bounds, alpha, beta and the least ratio."""
    x = _number(name, "threshold", threshold, 0.0, 1.0, "Thresholds are those of normalised maps.")
    a = _number(name, "alpha", alpha, 0.0, 1.0, "0.9 is the default.")
    if a in (0.0, 1.0):
        raise RangeError(f"{name}: alpha must be in (0, 1); got {alpha!r}. 0.9 is the default.")
    b = _number(name, "beta", beta, 0.0, 10.0, "1 is the default.")
    if b == 0.0:
        raise RangeError(f"{name}: beta must be positive; got {beta!r}. 1 is the default.")
    least = _number(name, "least_ratio", least_ratio, 1e-30, 1.0, "1e-6 is the default.")
    low, high = take_bounds(name, "threshold_bounds", bounds)
    if low == 0.0 or high == 1.0:
        raise RangeError(f"{name}: threshold_bounds must lie inside (0, 1); got {bounds!r}. (0.05, 0.95) is usual.")
    return min(max(x, low), high), a, b, least


def take_bounds(name: str, argument: str, bounds: Any) -> tuple[float, float]:
    """(low, high) with 0 <= low <= high <= 1."""
    try:
        low, high = (float(v) for v in bounds)
    except (TypeError, ValueError):
        low = high = math.nan
    if not 0.0 <= low <= high <= 1.0:
        raise RangeError(f"{name}: {argument} must be (low, high) with 0 <= low <= high <= 1; got {bounds!r}.")
    return low, high


def _run(
    name: str,
    form: str,
    maps: Maps,
    valid: Any,
    settings: tuple[float, float, float, float],
    num_threads: int | None,
) -> Any:
    threads = check_threads(name, num_threads)
    if maps.device != "cpu":
        return _with_torch(name, form, maps.array, valid, *settings)
    shape = maps.array.shape
    n = shape[0] if len(shape) == 3 else 1
    flat = None if valid is None else valid.reshape(n, -1)
    apply_simd_level()
    out, status = _op("cpu", maps.array.reshape(n, -1), flat, *settings, _CODES[form], threads)
    if status:
        raise _bad_values(name, maps.array)
    result: NDArray[np.float32] = out.reshape(shape)
    return maps.restore(result)


def _bad_values(name: str, array: Any) -> DataError | RangeError:
    least, most = float(array.min()), float(array.max())
    if not (least - least == 0 and most - most == 0):
        return DataError(f"{name}: cam must be finite; it holds NaN or inf. Leave such images out.")
    return RangeError(f"{name}: cam must be in 0..1; got {least:g} to {most:g}. Normalise the maps first.")


def _with_torch(
    name: str, form: str, m: Any, valid: Any, threshold: float, alpha: float, beta: float, least_ratio: float
) -> Any:
    """The reference's formula on a tensor [N, h, w] or [h, w]."""
    import torch

    if not bool(((m >= -1e-3) & (m <= 1 + 1e-3)).all()):
        raise _bad_values(name, m)
    near = float(np.float32(threshold))
    away = (m - near) - (threshold - near)  # the threshold in two parts: next to it, its rounding would show
    ratio = torch.where(away >= 0, away / (1 - threshold), -away / threshold).clamp(least_ratio, 1)
    p = (-math.log(alpha) - torch.log(ratio)) ** beta
    if form == "perplexity":
        return p
    inside = torch.ones_like(p) if valid is None else valid.to(p.dtype)
    total = (inside / p).double().sum(dim=(-2, -1), keepdim=True)
    scale = inside.double().sum(dim=(-2, -1), keepdim=True) / torch.where(total > 0, total, torch.ones_like(total))
    return (1 / p if form == "reciprocal" else p) * inside * scale.float()
