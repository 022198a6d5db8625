"""Every format but ordinary JPEG: opened by a Pillow plug-in, converted to RGB by a stated rule.

Rules, by the mode in which Pillow loads the first frame:

    RGB                      as it is; 16-bit colour is reduced by Pillow to the high byte
    L, 1                     replicated to three channels (1-bit: 0 and 255)
    P                        through its palette
    LA, RGBA, PA, tRNS       composited over ALPHA_BACKGROUND
    I;16 (grey, 9..16 bit)   the high 8 of the stated bits, which undoes v * 257 exactly; never clipped
    I (32-bit grey)          as I;16 if every sample lies in 0..65535, else DataError
    F (float grey)           maximum <= 1: times 255; <= 255: rounded; negative, larger or NaN: DataError
    CMYK, YCbCr, HSV         Pillow's formulas, with Adobe's inversion of CMYK JPEG; LAB: CIELAB D50 to sRGB
ICC profiles are ignored.

Image.open is not used: it would admit formats with no business in a pool, and its limit is global.
"""

import binascii
import importlib
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from ...errors import DataError
from .headers import exif_orientation

ALPHA_BACKGROUND = 255
"""Grey level that shows through transparent pixels: white, as annotation tools and browsers show them."""

_STRIP_PIXELS = 1 << 20
_PLUGINS = {
    "JPEG": ("JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PngImagePlugin", "PngImageFile"),
    "GIF": ("GifImagePlugin", "GifImageFile"),
    "BMP": ("BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("TiffImagePlugin", "TiffImageFile"),
    "WEBP": ("WebPImagePlugin", "WebPImageFile"),
    "PPM": ("PpmImagePlugin", "PpmImageFile"),
    "JPEG2000": ("Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "AVIF": ("AvifImagePlugin", "AvifImageFile"),
    "PCX": ("PcxImagePlugin", "PcxImageFile"),
    "SGI": ("SgiImagePlugin", "SgiImageFile"),
    "FLI": ("FliImagePlugin", "FliImageFile"),
    "QOI": ("QoiImagePlugin", "QoiImageFile"),
}
_TIFF_BITS, _TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 258, 322, 323
_RAW_PROFILE = re.compile(r"\s*exif\s+\d+\s+([0-9a-fA-F\s]*)")

RgbArray = NDArray[np.uint8]
Strip = Callable[[Image.Image], RgbArray]


def open_header(name: str, data: bytes | memoryview) -> ImageFile.ImageFile:
    """Read the header only. Raises DataError for a format this Pillow lacks, else Pillow's own errors."""
    module, class_name = _PLUGINS[name]
    try:
        plugin = getattr(importlib.import_module(f"PIL.{module}"), class_name)
    except ImportError as exc:
        raise DataError(f"{name} cannot be read by this Pillow; install a newer Pillow or convert to PNG") from exc
    image: ImageFile.ImageFile = plugin(io.BytesIO(data), "")
    return image


def largest_buffer(image: ImageFile.ImageFile) -> int:
    """Pixels of the largest buffer that loading the image fills: the picture, or one TIFF tile if larger."""
    pixels = image.size[0] * image.size[1]
    tags = getattr(image, "tag_v2", None)
    if tags is not None:
        sides = tags.get(_TIFF_TILE_WIDTH, 0), tags.get(_TIFF_TILE_LENGTH, 0)
        if all(isinstance(side, int) for side in sides):
            pixels = max(pixels, sides[0] * sides[1])
    return pixels


def is_slow(image: ImageFile.ImageFile) -> bool:
    """Whether Pillow decodes it byte by byte in Python, so that a few bytes can cost seconds (BMP run lengths)."""
    return any(tile[0] == "bmp_rle" for tile in image.tile)


def orientation_of(image: ImageFile.ImageFile) -> int:
    """EXIF orientation left to apply after load(). Pillow applies that of TIFF itself; XMP is not read."""
    if image.format == "TIFF":
        return 1
    block = image.info.get("exif")
    if isinstance(block, bytes):
        return exif_orientation(block)
    text = image.info.get("Raw profile type exif")  # as ImageMagick writes it into PNG
    match = _RAW_PROFILE.match(text) if isinstance(text, str) else None
    if match is None:
        return 1
    try:
        return exif_orientation(binascii.unhexlify("".join(match[1].split())))
    except binascii.Error:
        return 1


def fill_rgb(image: ImageFile.ImageFile, out: RgbArray) -> None:
    """Convert a loaded image into out [h, w, 3] uint8, by strips of rows, so that no second copy exists."""
    convert = _converter(image)
    for top, bottom in _strips(image):
        out[top:bottom] = convert(image.crop((0, top, image.size[0], bottom)))


def _strips(image: Image.Image) -> Iterator[tuple[int, int]]:
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // max(1, width))
    for top in range(0, height, rows):
        yield top, min(height, top + rows)


def _converter(image: ImageFile.ImageFile) -> Strip:
    mode = image.mode
    if mode.startswith("I;16"):
        return _grey(_stored_bits(image) - 8)
    if mode == "I":
        low, high = _range_of(image)
        if low < 0 or high > 65535:
            raise DataError(f"32-bit grey samples must lie in 0..65535; got {low:g}..{high:g}; convert to 8 or 16 bits")
        return _grey(8)
    if mode == "F":
        return _float_converter(*_range_of(image))
    if image.has_transparency_data:
        _reduce_transparent_colour(image)
        return _over_background
    if mode == "LAB":
        return _lab_converter()
    return _plain


def _plain(strip: Image.Image) -> RgbArray:
    return np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))


def _over_background(strip: Image.Image) -> RgbArray:
    if strip.mode == "La":
        strip = strip.convert("LA")
    rgba = np.asarray(strip.convert("RGBA"))  # [h, w, 4]
    if rgba[..., 3].min(initial=255) == 255:
        return rgba[..., :3]
    alpha = rgba[..., 3:].astype(np.uint16)
    mixed = rgba[..., :3] * alpha  # [h, w, 3]; at most 65025 with the next term
    mixed += (255 - alpha) * np.uint16(ALPHA_BACKGROUND)
    mixed += 128
    mixed += mixed >> 8  # with the line above and below: division by 255, rounded
    mixed >>= 8
    return mixed.astype(np.uint8)


def _reduce_transparent_colour(image: Image.Image) -> None:
    """The transparent colour of a 16-bit colour PNG has 16 bits; the pixels have been reduced to 8."""
    colour: Any = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(colour, tuple) and max(colour, default=0) > 255:
        image.info["transparency"] = tuple(value >> 8 for value in colour)


def _grey(shift: int) -> Strip:
    def convert(strip: Image.Image) -> RgbArray:
        high = (np.asarray(strip) >> shift).astype(np.uint8)  # [h, w]
        return np.broadcast_to(high[..., None], (*high.shape, 3))

    return convert


def _stored_bits(image: Image.Image) -> int:
    """Bits of an I;16 sample: 16, but for TIFF as its BitsPerSample says (12-bit TIFF is not stretched)."""
    tags: Any = getattr(image, "tag_v2", None)
    bits = tags.get(_TIFF_BITS) if tags is not None else None
    first = bits[0] if isinstance(bits, tuple) and bits else bits
    return first if isinstance(first, int) and 8 <= first <= 16 else 16


def _range_of(image: Image.Image) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for top, bottom in _strips(image):
        samples = np.asarray(image.crop((0, top, image.size[0], bottom)))
        if not np.isfinite(samples).all():
            raise DataError("float samples must be finite; got NaN or infinity; repair the image")
        low, high = min(low, float(samples.min())), max(high, float(samples.max()))
    return low, high


def _float_converter(low: float, high: float) -> Strip:
    if low < 0 or high > 255:
        raise DataError(f"float samples must lie in 0..1 or 0..255; got {low:g}..{high:g}; rescale the image")
    scale = np.float32(255 if high <= 1 else 1)

    def convert(strip: Image.Image) -> RgbArray:
        grey = np.rint(np.asarray(strip) * scale).astype(np.uint8)
        return np.broadcast_to(grey[..., None], (*grey.shape, 3))

    return convert


def _lab_converter() -> Strip:
    from PIL import ImageCms

    transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")

    def convert(strip: Image.Image) -> RgbArray:
        rgb = ImageCms.applyTransform(strip, transform)
        if rgb is None:
            raise DataError("LAB cannot be converted to RGB; convert the image to PNG")
        return np.asarray(rgb)

    return convert
