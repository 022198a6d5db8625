"""resize_normalize: a picture into a model's input."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_dtype, check_ndim, check_threads
from ..errors import RangeError, ShapeError
from ..kernels.resize_normalize import resize_normalize as _op
from .simd import apply_simd_level

_DTYPES = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(np.uint8))


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
    if out.dtype not in _DTYPES:
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
    apply_simd_level()
    threads = check_threads(name, num_threads)
    _op("cpu", image, out, axis, gain, bias, bool(bgr), bool(antialias), threads)
    return out
