"""encode_rle, encode_mask, decode_rle, decode_regions: masks as COCO's compressed run-length strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_ndim, check_size
from ..errors import DataError, DtypeError, ShapeError
from ..kernels.rle import decode_regions as _decode_regions
from ..kernels.rle import decode_rle as _decode_rle
from ..kernels.rle import encode_mask as _encode_mask
from ..kernels.rle import encode_rle as _encode_rle
from ..kernels.rle.common import FAULTS
from .segment_ids import bad_ids, take_ids

_MAX_PIXELS = 2**32 - 1  # the counts of the format are 32-bit


def encode_rle(segments: Any, n_segments: int | None = None) -> list[str]:
    """One COCO compressed RLE string for each region of a label map, all from one walk over it.

    The string of region i is byte for byte what ``pycocotools.mask.encode(np.asfortranarray(segments == i))`` gives
    as ``counts``; ``size`` is [H, W] for all of them.

    Args:
        segments: [H, W] integer ids 0..S - 1, -1 where there is no region; any integer dtype, any strides.
        n_segments: S; None takes the largest id + 1.
    Returns: S strings; an id without a pixel has the string of an empty mask.
    Raises: ShapeError, DtypeError, RangeError; the message names the argument.
    Source: the format of the COCO dataset's ``segmentation`` (Lin et al., 2014): counts of alternating 0 and 1 in
    column-major order, the first of 0; from the fourth on as differences from the count two before; each in groups
    of 5 bits from the lowest, plus 48.
    Back ends: native (CPU), reference.
    """
    name = "encode_rle"
    ids, count = take_ids(name, segments, n_segments)
    _check_pixels(name, "segments", ids.shape)
    strings: list[str] | None = _encode_rle("cpu", ids, count)
    if strings is None:
        raise bad_ids(name, ids, count)
    return strings


def encode_mask(mask: Any) -> str:
    """The COCO compressed RLE string of one [H, W] bool mask; see :func:`encode_rle`.

    Raises: ShapeError, DtypeError; the message names the argument.
    """
    name = "encode_mask"
    array = np.asarray(mask)
    check_ndim(name, "mask", array, (2,), "[H, W]")
    if array.dtype != np.bool_:
        raise DtypeError(f"{name}: mask must be bool; got {array.dtype}. Compare first, for example mask > 0.")
    _check_pixels(name, "mask", array.shape)
    text: str = _encode_mask("cpu", np.ascontiguousarray(array))
    return text


def decode_rle(rle: str | bytes, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The [H, W] bool mask of a COCO compressed RLE string.

    Args:
        rle: the string, or its ASCII bytes.
        size: (H, W) of the image, in pixels.
    Raises:
        DataError: the string is not one of the format, or its counts do not add up to H x W.
        ShapeError, DtypeError: an argument is wrong; the message names it.
    """
    name = "decode_rle"
    shape = _check_size(name, size)
    text = _take_text(name, rle)
    mask: NDArray[np.bool_]
    mask, fault = _decode_rle("cpu", text, shape)
    if fault:
        raise _bad_text(name, "rle", text, shape, fault)
    return mask


def decode_regions(rles: Sequence[str | bytes], size: tuple[int, int]) -> NDArray[np.int32]:
    """The label map of regions that do not overlap: [H, W] int32 index of the string, -1 in none of them.

    The inverse of :func:`encode_rle`. Arguments and errors as :func:`decode_rle`; overlapping regions are a
    DataError too.
    """
    name = "decode_regions"
    shape = _check_size(name, size)
    texts = [_take_text(name, rle) for rle in rles]
    ids: NDArray[np.int32]
    ids, fault, index = _decode_regions("cpu", texts, shape)
    if fault:
        raise _bad_text(name, f"rles[{index}]", texts[index], shape, fault)
    if index >= 0:
        raise DataError(
            f"{name}: rles must not overlap; got a pixel of rles[{index}] that belongs to an earlier one. "
            "Decode overlapping masks one by one with decode_rle."
        )
    return ids


def _check_pixels(name: str, argument: str, shape: Sequence[int]) -> None:
    if shape[0] * shape[1] > _MAX_PIXELS:
        raise ShapeError(
            f"{name}: {argument} must have at most 2^32 - 1 pixels, as the format's counts do; got {list(shape)}. "
            "Cut the image into tiles."
        )


def _check_size(name: str, size: tuple[int, int]) -> tuple[int, int]:
    shape = check_size(name, "size", size)
    _check_pixels(name, "size", shape)
    return shape


def _take_text(name: str, rle: object) -> str:
    if not isinstance(rle, (str, bytes)):
        raise DtypeError(
            f"{name}: rle must be str or bytes; got {type(rle).__name__}. Pass the counts of a compressed COCO RLE."
        )
    # Latin-1 keeps every byte, so that a wrong one is found where the format is known.
    text = rle if isinstance(rle, str) else rle.decode("latin-1")
    if not text.isascii():
        raise DataError(f"{name}: rle must be a COCO compressed RLE; got {text[:40]!r}. {_FIX}")
    return text


_FIX = "Check where the string comes from."


def _bad_text(name: str, argument: str, text: str, shape: tuple[int, int], fault: int) -> DataError:
    return DataError(
        f"{name}: {argument} must be a COCO compressed RLE of {shape[0]} x {shape[1]} pixels; got {text[:40]!r}: "
        f"{FAULTS[fault]}. {_FIX}"
    )
