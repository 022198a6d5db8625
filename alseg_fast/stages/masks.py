"""Masks and maps as PNG files, one an image, named after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import RunError
from .codecs.headers import quick_size
from .codecs.pillow import open_header
from .codecs.signatures import SNIFF_BYTES, sniff_format
from .decode import DEFAULT_MAX_PIXELS
from .run_layout import png_path


def read_png(path: Path, what: str, advice: str, size: tuple[int, int] | None = None) -> NDArray[Any] | None:
    """A one-channel PNG as its numbers, [H, W] uint8 or uint16; None if there is no such file.

    A palette is not looked up: its indices are the numbers. 1-bit files give 0 and 1.

    Args:
        what: what the file is, for messages ("ignore mask").
        advice: the end of the messages.
        size: (H, W) that it must have.
    Raises: RunError: it cannot be read, is no such PNG, or has another size; the message names the file.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise RunError(f"cannot read {what} {path}: {exc.strerror or exc}; {advice}") from exc
    if sniff_format(data[:SNIFF_BYTES]) != "PNG":
        raise RunError(f"{what} {path} is no PNG; {advice}")
    width, height = quick_size("PNG", data) or (0, 0)
    if size is not None and (height, width) != size:
        raise RunError(f"{what} {path} has {width} x {height} pixels, the image has {size[1]} x {size[0]}; {advice}")
    if not 0 < width * height <= DEFAULT_MAX_PIXELS:
        raise RunError(f"{what} {path} of {width} x {height} is above the limit of {DEFAULT_MAX_PIXELS:,}; {advice}")
    try:
        with open_header("PNG", data) as image:
            if image.mode not in ("1", "L", "P", "I;16", "I"):
                raise RunError(f"{what} {path} must have one channel of 8 or 16 bits; got mode {image.mode}; {advice}")
            array = np.asarray(image)
    except RunError:
        raise
    except Exception as exc:  # the codec raises whatever its parser meets; all of it is about this file
        text = " ".join(str(exc).split()) or type(exc).__name__
        raise RunError(f"cannot read {what} {path}: {text}; {advice}") from exc
    return array.astype(np.uint16) if array.dtype.itemsize > 1 else array.astype(np.uint8)


def find_png(directory: Path, image_id: str) -> Path:
    """The file of an image in a directory of masks: DIR/<image_id>.png, else with .png in place of the suffix.

    The first of them is returned where neither exists.
    Raises: DataError: the id cannot name a file.
    """
    path = png_path(directory, image_id)
    if not path.exists():
        other = path.with_suffix("").with_suffix(".png")  # "a.jpg.png" -> "a.png"
        if "." in path.stem and other.exists():
            return other
    return path


def check_directory(directory: Path, option: str) -> Path:
    """Raises: RunError: it is not a directory."""
    if not directory.is_dir():
        what = "is not a directory" if directory.exists() else "does not exist"
        raise RunError(f"{option} {directory} {what}; give the directory that holds the masks")
    return directory
