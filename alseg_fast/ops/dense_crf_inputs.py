"""What dense_crf is given, checked one argument at a time and brought to the form of its kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_dtype, check_ndim
from ..errors import DtypeError, RangeError, ShapeError, UsageError

UNARIES = ("probs", "logits", "labels")
NORMALIZATIONS = ("symmetric", "none")
Region = tuple[int, int, int, int]  # x, y, w, h


def take_image(function: str, image: Any) -> NDArray[np.uint8]:
    """[H, W, 1 or 3], contiguous."""
    pixels = np.asarray(image)
    check_dtype(function, "image", pixels.dtype, ("uint8",), "Decode to 8-bit RGB first.")
    check_ndim(function, "image", pixels, (2, 3), "[H, W, 3], [H, W, 1] or [H, W]")
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] not in (1, 3):
        raise ShapeError(f"{function}: image must have 1 or 3 channels; got {list(pixels.shape)}. Convert it to RGB.")
    return np.ascontiguousarray(pixels)


def take_term(function: str, argument: str, term: Any, parts: Sequence[str]) -> tuple[float, ...] | None:
    """Deviations > 0 and a weight >= 0, or None."""
    if term is None:
        return None
    try:
        values = tuple(float(v) for v in term)
    except (TypeError, ValueError):
        values = ()
    if len(values) != len(parts):
        raise ShapeError(f"{function}: {argument} must be ({', '.join(parts)}) or None; got {term!r}. Give numbers.")
    if not all(math.isfinite(v) and 1e-6 <= v <= 1e9 for v in values[:-1]):
        raise RangeError(
            f"{function}: {argument} must have deviations ({', '.join(parts[:-1])}) in 1e-6..1e9; got {term!r}. None "
            "leaves the term out."
        )
    if not 0 <= values[-1] <= 1e9:
        raise RangeError(f"{function}: {argument} must have a weight in 0..1e9; got {term!r}. 0 leaves the term out.")
    return values


def take_region(
    function: str, window: Any, margin: Any, size: tuple[int, int], terms: Sequence[tuple[float, ...] | None]
) -> Region:
    """The window and its margin within the image; the whole image without a window."""
    if margin is not None and (isinstance(margin, bool) or not isinstance(margin, (int, np.integer)) or margin < 0):
        raise RangeError(f"{function}: margin must be None or an integer >= 0; got {margin!r}. It counts pixels.")
    height, width = size
    if window is None:
        if margin is not None:
            raise UsageError(f"{function}: margin must come with a window; got {margin!r} without one.")
        return 0, 0, width, height
    try:
        x, y, w, h = (int(v) for v in window)
        exact = (x, y, w, h) == tuple(window)
    except (TypeError, ValueError):
        exact = False
        x = y = w = h = 0
    if not exact or x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
        raise RangeError(
            f"{function}: window must be (x, y, w, h) inside the image of {height}x{width} pixels; got {window!r}. "
            "Cut it at the border."
        )
    if margin is None:
        margin = min(math.ceil(2 * max([t[0] for t in terms if t is not None], default=0.0)), height + width)
    left, top = max(x - margin, 0), max(y - margin, 0)
    return left, top, min(x + w + margin, width) - left, min(y + h + margin, height) - top


def cut(array: NDArray[Any], region: Region, axis: int) -> NDArray[Any]:
    """The region of the axes (axis, axis + 1), contiguous."""
    x, y, w, h = region
    index = (slice(None),) * axis + (slice(y, y + h), slice(x, x + w))
    return np.ascontiguousarray(array[index])


def take_source(
    function: str, probs: Any, unary: str, n_classes: int | None, size: tuple[int, int]
) -> tuple[NDArray[Any], int]:
    """The unary's source as float32 [C, H, W] or int32 [H, W], and C."""
    source = np.asarray(probs)
    if n_classes is not None and (
        isinstance(n_classes, bool) or not isinstance(n_classes, (int, np.integer)) or not 1 <= n_classes <= 65536
    ):
        raise RangeError(f"{function}: n_classes must be in 1..65536; got {n_classes!r}. Give the number of classes.")
    if unary == "labels":
        check_ndim(function, "probs", source, (2,), "[H, W] with unary='labels'")
        _check_integers(function, "probs", source)
        if n_classes is None:
            raise UsageError(f"{function}: n_classes must be given with unary='labels'; got None.")
        classes = int(n_classes)
        # Whatever 32 bits cannot hold is no label: the kernel refuses the ends of their range.
        source = np.clip(source, -(2**31), 2**31 - 1).astype(np.int32, copy=False)
    else:
        check_ndim(function, "probs", source, (3,), f"[C, H, W] with unary={unary!r}")
        floats = ("float16", "float32", "float64")
        check_dtype(function, "probs", source.dtype, floats, "Convert with probs.astype(np.float32).")
        classes = source.shape[0]
        if classes > 65536 or n_classes not in (None, classes):
            raise RangeError(
                f"{function}: n_classes must be the length of the first axis of probs, {classes}, and at most 65536; "
                f"got {n_classes!r}. Drop it: it is for labels."
            )
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, which the kernel refuses
            source = source.astype(np.float32, copy=False)
    if source.shape[-2:] != size:
        raise ShapeError(
            f"{function}: probs must have the size of the image, [H, W] = {list(size)}; got {list(source.shape[-2:])}. "
            "Resize one of them."
        )
    return source, classes


def take_confidence(
    function: str, confidence: Any, default: float, size: tuple[int, int], region: Region
) -> NDArray[np.float32] | float:
    if confidence is None:
        return default
    c = np.asarray(confidence)
    if c.dtype.kind not in "fiub":
        raise DtypeError(f"{function}: confidence must be a number or an array of them; got {c.dtype}.")
    if c.ndim and c.shape != size:
        raise ShapeError(
            f"{function}: confidence must be one number or [H, W] = {list(size)}; got {list(c.shape)}. Resize it."
        )
    if not (c.min() >= 0 and c.max() <= 1):
        raise RangeError(
            f"{function}: confidence must be in [0, 1]; got {float(c.min()):g} to {float(c.max()):g}. 1 trusts fully."
        )
    return float(c) if c.ndim == 0 else cut(c.astype(np.float32, copy=False), region, 0)


def take_clamp(
    function: str, clamp: Any, classes: int, size: tuple[int, int], region: Region
) -> NDArray[np.int32] | None:
    if clamp is None:
        return None
    ids = np.asarray(clamp)
    _check_integers(function, "clamp", ids)
    if ids.shape != size:
        raise ShapeError(f"{function}: clamp must be [H, W] = {list(size)}; got {list(ids.shape)}. Resize it.")
    least, most = int(ids.min()), int(ids.max())
    if least < -1 or most >= classes:
        raise RangeError(
            f"{function}: clamp must hold ids in 0..{classes - 1}, or -1 where a pixel is free; got {least} to {most}."
        )
    return cut(ids.astype(np.int32, copy=False), region, 0)


def take_penalty(function: str, compatibility: Any, classes: int) -> NDArray[np.float32] | None:
    if isinstance(compatibility, str):
        if compatibility != "potts":
            raise RangeError(f"{function}: compatibility must be 'potts' or [C, C] numbers; got {compatibility!r}.")
        return None
    mu = np.asarray(compatibility)
    if mu.dtype.kind not in "fiub" or mu.shape != (classes, classes):
        raise ShapeError(
            f"{function}: compatibility must be 'potts' or [C, C] = {[classes, classes]} numbers; got {mu.dtype} "
            f"{list(mu.shape)}."
        )
    mu = mu.astype(np.float64)
    if not (np.abs(mu) <= 1e6).all() or not np.allclose(mu, mu.T, rtol=1e-6, atol=0):
        raise RangeError(
            f"{function}: compatibility must be symmetric and within +-1e6; got {mu.min():g} to {mu.max():g}, largest "
            f"difference to the transpose {np.abs(mu - mu.T).max():g}. Use (mu + mu.T) / 2."
        )
    return np.ascontiguousarray((mu + mu.T) / 2, np.float32)


def take_out(function: str, out: Any, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    if out is None:
        return None
    if (
        not isinstance(out, np.ndarray)
        or out.dtype != np.float32
        or not out.flags.c_contiguous
        or not out.flags.writeable
    ):
        raise DtypeError(f"{function}: out must be a writable C-contiguous float32 array; got {type(out).__name__}.")
    if out.shape != shape:
        raise ShapeError(f"{function}: out must have shape {list(shape)}; got {list(out.shape)}.")
    return out


def _check_integers(function: str, argument: str, ids: NDArray[Any]) -> None:
    if ids.dtype.kind not in "iu":
        raise DtypeError(f"{function}: {argument} must be integers; got {ids.dtype}. Pass class ids.")
