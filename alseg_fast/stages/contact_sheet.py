"""A contact sheet: some pictures beside their masks and weights, in one JPEG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .pseudo_masks import VOC_PALETTE

QUALITY = 88
_OPACITY = 0.55
_CAPTION = 14  # pixels of a line of text
_GAP = 4
_WIDE = 3  # pictures a row, each with its mask (and weights)
_WHITE = (255, 255, 255)


@dataclass(frozen=True)
class SheetPicture:
    """image: [h, w, 3] uint8, of any size; mask: [H, W] class ids; weights: [H, W] uint8 or None; clear: ids that are
    not drawn."""

    caption: str
    image: NDArray[np.uint8]
    mask: NDArray[Any]
    weights: NDArray[Any] | None
    clear: tuple[int, ...]


def contact_sheet(pictures: Sequence[SheetPicture], *, side: int = 192) -> bytes:
    """JPEG bytes: picture, picture under its mask in the colours of the palette, weights (white: the
    picture's largest).

    Args:
        side: pixels of the square that each has.
    """
    panels = 3 if any(p.weights is not None for p in pictures) else 2
    wide = min(_WIDE, max(1, len(pictures)))
    cell = (panels * side + (panels - 1) * _GAP, side + _CAPTION)
    rows = -(-len(pictures) // wide)
    size = (wide * (cell[0] + 3 * _GAP), max(1, rows) * (cell[1] + 2 * _GAP))
    sheet = Image.new("RGB", size, _WHITE)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default()
    for at, picture in enumerate(pictures):
        x, y = (at % wide) * (cell[0] + 3 * _GAP), (at // wide) * (cell[1] + 2 * _GAP)
        for k, panel in enumerate(_panels(picture, side)):
            sheet.paste(panel, (x + k * (side + _GAP), y + _CAPTION))
        # The built-in font has Latin letters only.
        caption = picture.caption.encode("ascii", "replace").decode()
        draw.text((x, y), caption[: cell[0] // 6], fill=(0, 0, 0), font=font)
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _panels(picture: SheetPicture, side: int) -> list[Image.Image]:
    height, width = picture.mask.shape
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(picture.image).resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0))
    ids = np.asarray(Image.fromarray(picture.mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST))
    colours = np.frombuffer(VOC_PALETTE, np.uint8).reshape(256, 3)[ids]
    share = np.where(np.isin(ids, picture.clear), 0.0, _OPACITY)[..., None]
    mixed = np.rint(small * (1 - share) + colours * share).astype(np.uint8)
    panels = [Image.fromarray(small), Image.fromarray(mixed)]
    if picture.weights is not None:
        weights = picture.weights / np.float32(max(1, picture.weights.max(initial=0)))
        heat = Image.fromarray(np.rint(255 * weights).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
        panels.append(heat.convert("RGB"))
    return panels
