"""Image bytes -> uint8 RGB [h, w, 3], upright, with every limit checked before pixels are allocated.

JPEG goes through libjpeg-turbo (simplejpeg, bit for bit Pillow's result) and may be decoded at 1/2, 1/4 or
1/8 of its size; every other format goes through Pillow by the rules in `codecs/pillow.py`.
Any number of threads may decode at once; the codecs work outside the interpreter lock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ImageFile

from ..errors import DataError
from .codecs.headers import quick_size, read_jpeg_markers
from .codecs.orient import orient
from .codecs.pillow import fill_rgb, is_slow, largest_buffer, open_header, orientation_of
from .codecs.signatures import SNIFF_BYTES, sniff_format

DEFAULT_MAX_PIXELS = 178_956_970
MAX_SLOW_PIXELS = 1 << 24
"""Pixel limit of run-length BMP: an empty line costs 0.1 us a pixel in Pillow, with the interpreter lock held."""
MAX_JPEG_SCANS = 500
"""A progressive JPEG with more scans than this is refused: each scan costs a pass over the whole picture."""

PEAK_BYTES_PER_PIXEL: Mapping[str, int] = MappingProxyType({"JPEG": 12, "WEBP": 20, "JPEG2000": 24, "AVIF": 16, "": 12})
"""Most memory that decoding holds, in bytes per pixel of the file, by format ("" for all others).

Measured at 24 megapixels: baseline JPEG 3, turned upright 6, progressive 6 to 9, CMYK 8; PNG, BMP, TIFF,
PPM 7.5; GIF and grey PNG 4.5; WebP 16; AVIF 10; JPEG 2000 20; plus 3 where a picture is turned upright.
"""

_LOST_PIXELS = (
    "premature end of data segment",
    "bad huffman code",
    "bad arithmetic code",
    "instead of rst",
)
"""Warnings of libjpeg after which a part of the picture is invented. Pillow would show it grey."""


@dataclass(frozen=True)
class Decoded:
    """One decoded image.

    image: [h, w, 3] uint8 RGB, C-contiguous, upright; smaller than (height, width) after DCT scaling.
        Made with a DecodeBuffer it is valid until the next decode with that buffer.
    width, height: of the original, after EXIF orientation, in pixels.
    format: "JPEG", "PNG", "TIFF", ...: what the content is, whatever the file is called.
    """

    image: NDArray[np.uint8]
    width: int
    height: int
    format: str


class DecodeBuffer:
    """Memory for one thread's decoded images, kept between images: fresh pages cost more than decoding them.

    Keeps at most two blocks (the second for rotated images) of at most keep_bytes each; larger images get
    memory of their own, which is not kept.
    """

    def __init__(self, keep_bytes: int = 64 << 20) -> None:
        self._keep_bytes = keep_bytes
        self._blocks = [np.empty(0, np.uint8), np.empty(0, np.uint8)]

    def take(self, size: int, slot: int = 0) -> NDArray[np.uint8]:
        """[size] uint8, uninitialised; overwrites what the slot held."""
        if size > self._keep_bytes:
            return np.empty(size, np.uint8)
        block = self._blocks[slot]
        if block.size < size:
            block = np.empty(min(self._keep_bytes, max(size, block.size * 3 // 2)), np.uint8)
            self._blocks[slot] = block
        return block[:size]


def decode_image(
    data: bytes | memoryview,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    min_size: tuple[int, int] | None = None,
    buffer: DecodeBuffer | None = None,
) -> Decoded:
    """Decode the first frame of an image file.

    Args:
        data: the whole file.
        max_pixels: width * height above which an image is refused before anything is allocated. Above the
            default, Pillow's own limit for TIFF, GIF and WebP (PIL.Image.MAX_IMAGE_PIXELS) still holds.
        min_size: (height, width) in the upright frame. A JPEG may then come back at 1/2, 1/4 or 1/8, the
            smallest of these with both sides at least min_size. None: full size. Other formats are always
            decoded at full size.
        buffer: memory to reuse; at most one thread at a time. None: fresh memory for every image.
    Returns: Decoded.
    Raises: DataError for every reason in the bytes: empty, unknown format, truncated, damaged, too many
        pixels.
    Memory: see PEAK_BYTES_PER_PIXEL.
    """
    name = sniff_format(bytes(data[:SNIFF_BYTES]))
    if name is None:
        if not len(data):
            raise DataError("file is empty (0 bytes); replace or remove it")
        raise DataError(
            f"content is no known image format (starts with {bytes(data[:8]).hex(' ')}); convert it to JPEG or PNG"
        )
    memory = DecodeBuffer(keep_bytes=0) if buffer is None else buffer
    try:
        if name == "JPEG":
            return _decode_jpeg(data, max_pixels, min_size, memory)
        return _decode_by_pillow(name, data, max_pixels, memory)
    except DataError:
        raise
    except MemoryError as exc:
        raise DataError(f"{name} needs more memory than there is; lower the pixel limit or the workers") from exc
    except Exception as exc:  # codecs raise whatever their parsers meet; all of it is about these bytes
        text = " ".join(str(exc).split()) or "no reason given"
        raise DataError(f"{name} cannot be decoded: {type(exc).__name__}: {text}; repair or replace it") from exc


def peek_size(data: bytes | memoryview) -> tuple[int, int] | None:
    """(width, height) as stored, before EXIF orientation, from the header; None if it cannot be told."""
    name = sniff_format(bytes(data[:SNIFF_BYTES]))
    if name is None:
        return None
    size = quick_size(name, data)
    if size is not None or name in ("WEBP", "PNG"):
        return size
    try:
        return open_header(name, data).size
    except Exception:  # decode_image reports the reason; here only the size was asked for
        return None


def peak_bytes(data: bytes | memoryview) -> int:
    """Upper estimate of the memory that decode_image will hold for these bytes; 0 if the size cannot be told.

    For callers that decode on several threads within a memory limit.
    """
    size = peek_size(data)
    name = sniff_format(bytes(data[:SNIFF_BYTES])) or ""
    per_pixel = PEAK_BYTES_PER_PIXEL.get(name, PEAK_BYTES_PER_PIXEL[""])
    return 0 if size is None else size[0] * size[1] * per_pixel


def _check_pixels(size: tuple[int, int], max_pixels: int, name: str, pixels: int | None = None) -> None:
    width, height = size
    if width <= 0 or height <= 0:
        raise DataError(f"{name} states a size of {width} x {height}; repair or replace it")
    if (pixels or width * height) > max_pixels:
        raise DataError(
            f"{name} of {width} x {height} needs {pixels or width * height:,} pixels, above the limit of "
            f"{max_pixels:,}; raise the limit if the image can be trusted"
        )


def _scale_denominator(height: int, width: int, min_size: tuple[int, int] | None, turned: bool) -> int:
    """Largest of 8, 4, 2, 1 at which the picture keeps min_size. Other eighths lack SIMD and are slower."""
    if min_size is None:
        return 1
    min_height, min_width = (min_size[1], min_size[0]) if turned else min_size
    for denominator in (8, 4, 2):
        if -(-height // denominator) >= min_height and -(-width // denominator) >= min_width:
            return denominator
    return 1


def _decode_jpeg(
    data: bytes | memoryview, max_pixels: int, min_size: tuple[int, int] | None, memory: DecodeBuffer
) -> Decoded:
    markers = read_jpeg_markers(data)
    if markers.many_scans:
        # Inside a scan 0xFF is always followed by a stuffing byte or a restart marker, so this counts scans.
        scans = bytes(data).count(b"\xff\xda")
        if scans > MAX_JPEG_SCANS:
            raise DataError(f"JPEG has {scans} scans, above the limit of {MAX_JPEG_SCANS}; re-encode it")
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return _decode_by_pillow("JPEG", data, max_pixels, memory)
    _check_pixels((width, height), max_pixels, "JPEG")
    if colours in ("CMYK", "YCCK"):
        return _decode_by_pillow("JPEG", data, max_pixels, memory)

    turned = markers.orientation >= 5
    denominator = _scale_denominator(height, width, min_size, turned)
    h, w = -(-height // denominator), -(-width // denominator)
    block = memory.take(h * w * 3)
    limits = {} if denominator == 1 else {"min_height": h, "min_width": w}
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB", buffer=block, **limits)
    except ValueError as exc:
        text = str(exc)
        if any(sign in text.lower() for sign in _LOST_PIXELS):
            raise DataError(f"JPEG is damaged, pixels are missing: {text}; repair or replace it") from exc
        return _decode_by_pillow("JPEG", data, max_pixels, memory)
    if pixels.shape != (h, w, 3):
        return _decode_by_pillow("JPEG", data, max_pixels, memory)
    if turned:
        width, height = height, width
    image = _upright(pixels, markers.orientation, memory)
    return Decoded(image, width, height, "JPEG")


def _decode_by_pillow(name: str, data: bytes | memoryview, max_pixels: int, memory: DecodeBuffer) -> Decoded:
    stated = quick_size(name, data)
    if stated is not None:  # some plug-ins allocate the canvas when they read the header
        _check_pixels(stated, max_pixels, name)
    source: ImageFile.ImageFile = open_header(name, data)
    limit = min(max_pixels, MAX_SLOW_PIXELS) if is_slow(source) else max_pixels
    _check_pixels(source.size, limit, name, largest_buffer(source))
    source.load()
    width, height = source.size
    pixels = memory.take(height * width * 3).reshape(height, width, 3)
    fill_rgb(source, pixels)
    orientation = orientation_of(source)
    source.close()
    if orientation >= 5:
        width, height = height, width
    return Decoded(_upright(pixels, orientation, memory), width, height, name)


def _upright(pixels: NDArray[np.uint8], orientation: int, memory: DecodeBuffer) -> NDArray[np.uint8]:
    if orientation == 1:
        return pixels
    height, width, _ = pixels.shape
    shape = (width, height, 3) if orientation >= 5 else (height, width, 3)
    out = memory.take(pixels.size, slot=1).reshape(shape)
    orient(pixels, orientation, out)
    return out
