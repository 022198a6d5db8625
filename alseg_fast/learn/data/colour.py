"""Colour operations on [h, w, 3] uint8 pictures. None of them moves a pixel, except that blur mixes neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

Pixels = npt.NDArray[np.uint8]

STRONG = (
    "identity", "autocontrast", "equalise", "solarise", "colour", "contrast", "brightness", "sharpness", "posterise",
)  # fmt: skip
"""The nine operations of the strong view (CoSA as released). Their magnitudes are in `StrongRanges`."""


@dataclass(frozen=True)
class StrongRanges:
    """Magnitudes of the strong operations, drawn uniformly; the literature used here does not state them.

    The defaults are those usual for semi-supervised training with weak and strong views (FixMatch, Sohn et al., 2020).

    Attributes:
        factor: of colour, contrast, brightness and sharpness; 1 changes nothing, 0 leaves grey, flat, black, smooth.
        solarise: pixel values from the threshold on are inverted; 256 changes nothing.
        posterise: bits kept a channel, both ends included.
    """

    factor: tuple[float, float] = (0.05, 0.95)
    solarise: tuple[int, int] = (0, 256)
    posterise: tuple[int, int] = (4, 8)


_ENHANCE = {
    "colour": ImageEnhance.Color,
    "contrast": ImageEnhance.Contrast,
    "brightness": ImageEnhance.Brightness,
    "sharpness": ImageEnhance.Sharpness,
}


def strong_view(pixels: Pixels, rng: np.random.Generator, ranges: StrongRanges) -> Pixels:
    """One operation drawn from `STRONG`, with a magnitude from `ranges`; always two numbers of the generator."""
    name = STRONG[int(rng.integers(len(STRONG)))]
    position = float(rng.random())
    if name == "identity":
        return pixels
    picture = Image.fromarray(pixels)
    if name in _ENHANCE:
        low, high = ranges.factor
        picture = _ENHANCE[name](picture).enhance(low + position * (high - low))
    elif name == "solarise":
        low, high = ranges.solarise
        picture = ImageOps.solarize(picture, low + int(position * (high - low + 1)))
    elif name == "posterise":
        low, high = ranges.posterise
        picture = ImageOps.posterize(picture, low + int(position * (high - low + 1)))
    else:
        picture = ImageOps.autocontrast(picture) if name == "autocontrast" else ImageOps.equalize(picture)
    return np.asarray(picture)


def jitter(pixels: Pixels, rng: np.random.Generator, amounts: tuple[float, float, float, float]) -> Pixels:
    """Brightness, contrast and colour by factors 1 - a .. 1 + a (never below 0), hue by -a .. a turns; in this order.

    Args:
        amounts: (brightness, contrast, colour, hue); 0 leaves that one out.
    """
    positions = rng.uniform(-1.0, 1.0, 4)
    if not any(amounts):
        return pixels
    picture = Image.fromarray(pixels)
    for name, amount, position in zip(("brightness", "contrast", "colour"), amounts, positions, strict=False):
        if amount:
            picture = _ENHANCE[name](picture).enhance(max(0.0, 1.0 + amount * float(position)))
    if amounts[3]:
        hsv = np.array(picture.convert("HSV"))
        hsv[..., 0] += np.uint8(round(256 * amounts[3] * float(positions[3])) % 256)
        picture = Image.fromarray(hsv, "HSV").convert("RGB")
    return np.asarray(picture)


def blur(pixels: Pixels, radius: float) -> Pixels:
    """Gaussian blur with a standard deviation of `radius` pixels, approximated by three box filters (Pillow)."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))
