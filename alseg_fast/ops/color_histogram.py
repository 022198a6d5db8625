"""color_histogram: which colours an image holds, and how much of each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..checks import check_choice, check_threads
from ..errors import DataError, DtypeError, RangeError, ShapeError
from ..kernels.belharbi_histogram import belharbi_histogram as _belharbi_op
from ..kernels.belharbi_histogram.common import width_for
from ..kernels.color_histogram import color_histogram as _op
from .histogram_spec import BELHARBI, BELHARBI_BINS, DEFAULT_BINS, SPACES, bin_limits
from .simd import apply_simd_level

_NAME = "color_histogram"
_MOST_WIDTH = 1 << 16  # of an image that belharbi has resized to a height of 128: as long as 512 of its heights
_SMOOTHING = 1e-8
_SHARE = 1 << 16  # what a pixel adds to belharbi's bins


def color_histogram(
    images: Any,
    bins: int = DEFAULT_BINS,
    space: str = "rgb",
    joint: bool = False,
    *,
    mask: Any = None,
    dtype: DTypeLike = "float32",
    num_threads: int | None = None,
) -> NDArray[Any]:
    """Colour histograms of images, one row each.

    A byte v of a channel falls into bin ``v * bins // 256``; everything up to the division by the number of pixels
    is in integers. The spaces:

    - "rgb": the channels as they are.
    - "hsv": V = max(R, G, B), S = 255 (V - min) / V (0 where V = 0), and H = the angle on the hexagon of hues in
      256ths of the whole circle, red being 0, 0 where there is no hue; S and H rounded, halves up, H = 256 being 0
      again. So hue uses all its bins, the last one is next to the first, and shades of red lie in both.
    - "lab": CIELAB of sRGB under D65 as bytes, 2.55 L, a + 128, b + 128: the ones `slic` works with.
    - "belharbi": the histogram of Belharbi et al., always 3 x 256 bins: colours three times as saturated (Pillow's
      Color enhancer: away from its "L" grey, cut at 0 and 255); resized by Pillow's BICUBIC to a height of 128
      pixels; smoothed by a 3 x 3 Gaussian of sigma 0.9 with a reflected border; each bin of [0, 1] the product of a
      sigmoid of slope 1e5 at either edge, so that 0.0 and 1.0 count half and a value within about 1e-4 of an edge
      is shared by two bins; 1e-8 added to each bin, then divided by the sum. Not determined by the sources, and
      chosen here: the width is W * 128 // H, at least 1; filters are rounded to 22 bits, as Pillow's are, and sums
      are exact, where the published code's are float32.

    Args:
        images: [H, W, 3] or [N, H, W, 3] RGB, [H, W] grey (repeated in each channel), or a sequence of [H, W, 3] and
            [H, W] of any sizes; uint8, any strides.
        bins: of each channel: 8 .. 256, or 2 .. 32 where joint. "belharbi" takes 256, or the default.
        space: see above.
        joint: one histogram over the three channels together, the last one running fastest, instead of three.
        mask: of the form of `images` without their channels; bool, or uint8 that counts where it is not 0. None: all
            pixels count. Not for "belharbi", whose resizing has no place for one.
        dtype: "float32" or "float16" (11 bits of each value are kept; below 6e-8 it is 0).
        num_threads: None uses every CPU of the process; same bits for any number.
    Returns: [N, 3 bins], red (hue, L) first, each channel summing to 1; or [N, bins^3] where joint, which sum to 1.
    Raises:
        ShapeError, DtypeError, RangeError: an argument is wrong; the message names it.
        DataError: a mask holds no pixel: such an image has no histogram, and none is made up.
    Source: Belharbi et al., Deep Active Learning for Joint Classification & Segmentation with Weak Annotator, WACV
    2021, and its published code.
    Back ends: native (CPU), reference.
    """
    pictures = _take_images(images)
    check_choice(_NAME, "space", space, (*SPACES, BELHARBI))
    _check_bins(bins, space, bool(joint))
    kind = _take_dtype(dtype)
    masks = None if mask is None else _take_masks(mask, images, pictures)
    threads = check_threads(_NAME, num_threads)
    apply_simd_level()
    if space == BELHARBI:
        return _belharbi(pictures, masks, threads).astype(kind, copy=False)
    counts: NDArray[np.uint64] = _op("cpu", pictures, masks, space, int(bins), bool(joint), threads)
    # Each channel holds every pixel once.
    if masks is None:
        pixels = np.array([picture.shape[0] * picture.shape[1] for picture in pictures])
    else:
        pixels = np.array([np.count_nonzero(inside) for inside in masks])
        if not pixels.all():
            raise _empty_mask(int(np.flatnonzero(pixels == 0)[0]), len(pictures))
    rows: NDArray[np.float32] = (counts / pixels[:, None]).astype(np.float32)
    return rows.astype(kind, copy=False)


def _belharbi(pictures: list[NDArray[np.uint8]], masks: Any, threads: int) -> NDArray[np.float32]:
    if masks is not None:
        raise RangeError(f"{_NAME}: mask must be None with space='belharbi'; got a mask. Cut the image instead.")
    for i, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        if width_for(height, width) > _MOST_WIDTH:
            raise ShapeError(
                f"{_NAME}: images must be at most {_MOST_WIDTH // 128} times as wide as high with space='belharbi'; "
                f"got {list(picture.shape)} for image {i}. Cut it."
            )
    shares: NDArray[np.uint64] = _belharbi_op("cpu", pictures, threads)
    counts = shares.reshape(len(pictures), 3, BELHARBI_BINS) / _SHARE + _SMOOTHING
    rows: NDArray[np.float32] = (counts / counts.sum(axis=2, keepdims=True)).astype(np.float32)
    return rows.reshape(len(pictures), -1)


def _take_images(images: Any) -> list[NDArray[np.uint8]]:
    """[H, W, 3] uint8 each."""
    if isinstance(images, (list, tuple)):
        pictures = [_take_image(image, i) for i, image in enumerate(images)]
    else:
        array = np.asarray(images)
        if array.ndim == 4:
            pictures = [_take_image(image, i) for i, image in enumerate(array)]
        else:
            pictures = [_take_image(array, None)]
    if not pictures:
        raise ShapeError(f"{_NAME}: images must hold at least one image; got none. Pass [H, W, 3] arrays.")
    return pictures


def _take_image(image: Any, index: int | None) -> NDArray[np.uint8]:
    x = np.asarray(image)
    which = "images" if index is None else f"images[{index}]"
    if x.dtype != np.uint8:
        raise DtypeError(f"{_NAME}: {which} must be uint8; got {x.dtype}. Scale it to 0..255 and convert it.")
    if x.ndim not in (2, 3) or (x.ndim == 3 and x.shape[2] != 3):
        raise ShapeError(f"{_NAME}: {which} must be [H, W, 3] or [H, W]; got {list(x.shape)}. Convert it to RGB.")
    if 0 in x.shape:
        raise ShapeError(f"{_NAME}: {which} must have at least one pixel; got {list(x.shape)}. Leave such images out.")
    return np.broadcast_to(x[:, :, None], (*x.shape, 3)) if x.ndim == 2 else x


def _take_masks(mask: Any, images: Any, pictures: list[NDArray[np.uint8]]) -> list[NDArray[np.bool_]]:
    """[H, W] bool each, C-contiguous."""
    several = isinstance(images, (list, tuple)) or np.ndim(images) == 4
    given = list(mask) if several and isinstance(mask, (list, tuple, np.ndarray)) else [mask]
    if len(given) != len(pictures):
        raise ShapeError(
            f"{_NAME}: mask must hold one mask an image, {len(pictures)}; got {len(given)}. Pass a list of [H, W]."
        )
    masks = []
    for i, (item, picture) in enumerate(zip(given, pictures, strict=True)):
        which = f"mask[{i}]" if several else "mask"
        x = np.asarray(item)
        if x.dtype not in (np.bool_, np.uint8):
            raise DtypeError(f"{_NAME}: {which} must be bool or uint8; got {x.dtype}. Compare it with a value first.")
        if x.shape != picture.shape[:2]:
            raise ShapeError(
                f"{_NAME}: {which} must have the size of its image {list(picture.shape[:2])}; got {list(x.shape)}. "
                "Resize it."
            )
        masks.append(np.ascontiguousarray(x if x.dtype == np.bool_ else x != 0))
    return masks


def _empty_mask(index: int, n: int) -> DataError:
    which = "mask" if n == 1 else f"mask[{index}]"
    return DataError(f"{_NAME}: {which} must hold at least one pixel; got none. Leave image {index} out.")


def _check_bins(bins: Any, space: str, joint: bool) -> None:
    if isinstance(bins, bool) or not isinstance(bins, (int, np.integer)):
        raise RangeError(f"{_NAME}: bins must be an integer; got {bins!r}. {DEFAULT_BINS} is the default.")
    if space == BELHARBI:
        if joint or bins not in (DEFAULT_BINS, BELHARBI_BINS):
            raise RangeError(
                f"{_NAME}: space='belharbi' must have {BELHARBI_BINS} bins a channel, not joint; got bins={bins}, "
                f"joint={joint}. Leave both out."
            )
        return
    least, most = bin_limits(joint)
    if not least <= bins <= most:
        what = "joint=True" if joint else "joint=False"
        raise RangeError(f"{_NAME}: bins must be in {least}..{most} with {what}; got {bins}. Choose one of these.")


def _take_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        kind = np.dtype(dtype)
    except TypeError:
        kind = np.dtype(object)
    if kind not in (np.float32, np.float16):
        raise DtypeError(f"{_NAME}: dtype must be float32 or float16; got {dtype!r}. Convert the result.")
    return kind
