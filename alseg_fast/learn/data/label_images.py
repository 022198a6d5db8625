"""One-channel image files that hold numbers instead of colours: masks as PNG, BMP or TIFF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from ...stages.codecs.headers import quick_size
from ...stages.codecs.pillow import open_header
from ...stages.codecs.signatures import SNIFF_BYTES, sniff_format
from ...stages.decode import DEFAULT_MAX_PIXELS
from ...stages.fetch import fetch_bytes

REMEDY = "repair or replace the file, or remove the image from the data set"
_NUMBERS = ("1", "L", "P", "I;16", "I;16B", "I")
_GREY = (*_NUMBERS, "LA", "RGB", "RGBA")


def read_numbers(path: Path) -> npt.NDArray[Any]:
    """[H, W] numbers as stored: uint8, or int32 for files of 16 bits. A palette is not looked up; 1 bit gives 0 and 1.

    Raises: DataError: missing, damaged, no image, more than one channel; the message names the file.
    """
    array = _read(path, _NUMBERS, grey=False)
    return array.astype(np.int32) if array.dtype.itemsize > 1 else array.astype(np.uint8)


def read_grey(path: Path) -> npt.NDArray[np.uint8]:
    """[H, W] uint8 brightness; a palette is looked up, colours become Rec. 601 luma, transparency is dropped.

    Raises: DataError as `read_numbers`.
    """
    grey: npt.NDArray[np.uint8] = _read(path, _GREY, grey=True).astype(np.uint8)
    return grey


def read_ids(path: Path) -> npt.NDArray[np.uint8]:
    """[H, W] uint8 class ids of a mask that holds them as they are, 255 where there is no label.

    Raises: DataError: as `read_numbers`, or an id above 255.
    """
    numbers = read_numbers(path)
    if numbers.dtype != np.uint8:
        if numbers.size and (numbers.min() < 0 or numbers.max() > 255):
            raise DataError(f"mask {path} has the id {numbers.max()}; ids go to 254, and 255 means no label; {REMEDY}")
        return numbers.astype(np.uint8)
    return numbers


def _read(path: Path, modes: tuple[str, ...], *, grey: bool) -> npt.NDArray[Any]:
    try:
        data = fetch_bytes(str(path))
    except DataError as exc:
        raise DataError(f"mask {path} cannot be read: {exc}") from exc
    name = sniff_format(data[:SNIFF_BYTES])
    if name is None or name == "JPEG":
        what = "is a JPEG, whose values are not exact" if name else "is no known image format"
        raise DataError(f"mask {path} {what}; {REMEDY}")
    width, height = quick_size(name, data) or (1, 1)
    if not 0 < width * height <= DEFAULT_MAX_PIXELS:
        raise DataError(f"mask {path} of {width} x {height} is above the limit of {DEFAULT_MAX_PIXELS:,}; {REMEDY}")
    try:
        with open_header(name, data) as image:
            if image.size[0] * image.size[1] > DEFAULT_MAX_PIXELS:
                raise DataError(
                    f"mask {path} of {image.size[0]} x {image.size[1]} is above the limit of {DEFAULT_MAX_PIXELS:,}; "
                    f"{REMEDY}"
                )
            if image.mode not in modes:
                raise DataError(f"mask {path} must have one channel of numbers; got mode {image.mode}; {REMEDY}")
            return np.asarray(image.convert("L") if grey and image.mode != "L" else image)
    except DataError:
        raise
    except Exception as exc:  # the codec raises whatever its parser meets; all of it is about this file
        text = " ".join(str(exc).split()) or type(exc).__name__
        raise DataError(f"mask {path} cannot be decoded: {text}; {REMEDY}") from exc
