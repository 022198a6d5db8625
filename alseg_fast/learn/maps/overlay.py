"""Pictures for people: activation maps laid over the picture with the truth's outline, many to a sheet."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ...atomic import write_atomic
from ...errors import DataError, DtypeError, RangeError, ShapeError
from ...stages.pseudo_masks import VOC_PALETTE

Picture = npt.NDArray[np.uint8]

# Dark blue over violet and orange to light yellow: lightness rises all the way, so that it also reads in grey and
# for people who do not see red and green apart.
_RAMP = np.array(
    [(12, 8, 60), (72, 12, 120), (140, 30, 130), (200, 55, 100), (240, 100, 55), (252, 165, 40), (252, 250, 165)],
    np.float64,
)
_PALETTE = np.frombuffer(VOC_PALETTE, np.uint8).reshape(256, 3)
_INK, _PAPER, _FAINT = (20, 20, 20), (255, 255, 255), (110, 110, 110)
_OUTLINE, _HALO = (255, 255, 255), (0, 0, 0)
_GAP = 6


def colour_map(values: npt.NDArray[np.floating[Any]]) -> Picture:
    """[H, W] in 0..1 (clipped) -> [H, W, 3] uint8, dark to light."""
    at = np.clip(values, 0.0, 1.0) * (len(_RAMP) - 1)
    low = np.minimum(at.astype(np.int64), len(_RAMP) - 2)
    part = (at - low)[..., None]
    made: Picture = np.rint(_RAMP[low] * (1 - part) + _RAMP[low + 1] * part).astype(np.uint8)
    return made


def outline(mask: npt.NDArray[np.integer[Any]], width: int = 1) -> npt.NDArray[np.bool_]:
    """[H, W] class ids -> [H, W] bool, pixels within `width` of another class on their right, left, above or below.

    Borders of ignored areas count; the border of the picture does not.
    """
    edge = np.zeros(mask.shape, np.bool_)
    for axis in (0, 1):
        changes = np.diff(mask.astype(np.int64), axis=axis) != 0
        before, after = [slice(None)] * 2, [slice(None)] * 2
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        edge[tuple(before)] |= changes
        edge[tuple(after)] |= changes
    return _widen(edge, width - 1)


def overlay(
    picture: Picture,
    cam: npt.NDArray[np.floating[Any]] | None = None,
    truth: npt.NDArray[np.integer[Any]] | None = None,
    *,
    opacity: float = 0.65,
    line: int | None = None,
    height: int | None = None,
) -> Picture:
    """The picture with a map over it and the outline of the truth.

    Args:
        picture: [H, W, 3] uint8.
        cam: [h, w] in 0..1, of any size: resized bilinearly. The picture shows through in grey, so that every
            colour belongs to the map. None: the picture in its own colours.
        truth: [H, W] class ids, resized by nearest neighbour if of another size. White line with a black border.
        opacity: of the map where it is 0.5 and above; it falls to half of that at 0, where the picture shows best.
        line: width of the outline in pixels; None: 1 a 250 pixels of the longer side.
        height: of the result, in pixels; everything is drawn at that size, so that lines are as fine as it allows.
            None: H.

    Returns: [H, W, 3] uint8.
    Raises: ShapeError, DtypeError, RangeError: an argument is wrong. DataError: the map holds NaN or inf.
    """
    name = "overlay"
    _check_picture(name, picture)
    if not 0.0 <= opacity <= 1.0:
        raise RangeError(f"{name}: opacity must be in [0, 1]; got {opacity!r}. 0.65 is the default.")
    picture = picture if height is None else np.asarray(_scaled(name, picture, height))
    size = (picture.shape[0], picture.shape[1])
    made = picture.astype(np.float64)
    if cam is not None:
        values = _fitted_map(name, cam, size)
        grey = (made @ np.array([0.299, 0.587, 0.114]))[..., None]
        weight = opacity * (0.5 + np.minimum(values, 0.5))[..., None]
        made = (1 - weight) * grey + weight * colour_map(values)
    drawn = np.rint(made).astype(np.uint8)
    if truth is not None:
        if truth.ndim != 2 or truth.size == 0:
            raise ShapeError(f"{name}: truth must have shape [H, W]; got {list(truth.shape)}. Pass one mask.")
        wide = line if line is not None else max(1, round(max(size) / 250))
        edge = outline(_nearest(truth, size), wide)
        drawn[_widen(edge, max(1, wide // 2)) & ~edge] = _HALO
        drawn[edge] = _OUTLINE
    return drawn


def mask_picture(mask: npt.NDArray[np.uint8]) -> Picture:
    """[H, W] uint8 class ids -> [H, W, 3] in the colours of PASCAL VOC: 0 black, 255 (ignored) cream."""
    if mask.dtype != np.uint8 or mask.ndim != 2 or mask.size == 0:
        raise ShapeError(
            f"mask_picture: mask must be uint8 of shape [H, W]; got {mask.dtype} {list(mask.shape)}. Pass class ids."
        )
    return _PALETTE[mask]


def map_row(
    picture: Picture,
    maps: Mapping[str, npt.NDArray[np.floating[Any]]],
    *,
    truth: npt.NDArray[np.integer[Any]] | None = None,
    classes: Mapping[str, int] | None = None,
    height: int = 160,
) -> dict[str, Picture]:
    """One row of a contact sheet: the picture with the truth's outline, then every map over it.

    Args:
        picture: [H, W, 3] uint8. maps: name -> [h, w] in 0..1, as `overlay` takes them.
        truth: [H, W] class ids, with outlines everywhere.
        classes: name of a map -> class id: that map has the outline of this class alone. Ignored pixels belong to none.
        height: of the row, in pixels.
    """
    row = {"picture": overlay(picture, truth=truth, height=height)}
    for label, cam in maps.items():
        wanted = None if classes is None else classes.get(label)
        shown = truth if truth is None or wanted is None else (truth == wanted).astype(np.uint8)
        row[label] = overlay(picture, cam, shown, height=height)
    return row


def contact_sheet(
    rows: Sequence[Mapping[str, Picture]],
    *,
    row_names: Sequence[str] | None = None,
    title: str = "",
    height: int = 160,
) -> Picture:
    """Rows of captioned pictures as one picture.

    Args:
        rows: caption -> [H, W, 3] uint8, left to right; a caption that heads the same column in every row is written
            once at the top, else above its picture.
        row_names: one a row, written to its left.
        title: written above all.
        height: of each picture in pixels; widths follow, columns are as wide as their widest picture.

    Raises: ShapeError, DtypeError, RangeError: an argument is wrong.
    """
    name = "contact_sheet"
    if not rows or not all(rows):
        raise ShapeError(f"{name}: rows must hold at least one picture each; got {len(rows)} rows. Pass pictures.")
    if row_names is not None and len(row_names) != len(rows):
        raise ShapeError(f"{name}: row_names must have {len(rows)} names; got {len(row_names)}. Name every row.")
    if height < 16:
        raise RangeError(f"{name}: height must be at least 16; got {height!r}. 160 is the default.")
    text_size = max(10, height // 12)
    font, text_height = ImageFont.load_default(size=text_size), round(1.5 * text_size)
    images = [[_scaled(name, p, height) for p in row.values()] for row in rows]
    captions = [list(row) for row in rows]
    shared = all(c == captions[0] for c in captions)
    columns = max(map(len, captions))
    widths = [max(line[c].width for line in images if c < len(line)) for c in range(columns)]
    for names in captions:
        for c, caption in enumerate(names):
            widths[c] = max(widths[c], _text_width(font, caption))
    left = _GAP + (max(_text_width(font, n) for n in row_names) + _GAP if row_names else 0)
    top = _GAP + (text_height if title else 0) + (text_height if shared else 0)
    pitch = height + _GAP + (0 if shared else text_height)
    width = max(left + sum(widths) + _GAP * columns, 2 * _GAP + (_text_width(font, title) if title else 0))
    sheet = Image.new("RGB", (width, top + pitch * len(rows)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((_GAP, _GAP), title, fill=_INK, font=font)
    for r, line in enumerate(images):
        y, x = top + pitch * r + (0 if shared else text_height), left
        if row_names:
            draw.text((_GAP, y + height // 2 - text_height // 2), row_names[r], fill=_INK, font=font)
        for c, picture in enumerate(line):
            if r == 0 or not shared:
                draw.text((x, y - text_height), captions[r][c], fill=_FAINT, font=font)
            sheet.paste(picture, (x, y))
            x += widths[c] + _GAP
    return np.asarray(sheet)


def write_sheet(path: Path | str, sheet: Picture) -> None:
    """Write a PNG; whole or not at all."""
    _check_picture("write_sheet", sheet)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="PNG", optimize=False)
    write_atomic(Path(path), buffer.getvalue(), advice="free the disk or choose another place")


def _check_picture(name: str, picture: Any) -> None:
    if picture.dtype != np.uint8:
        raise DtypeError(f"{name}: picture must be uint8; got {picture.dtype}. Scale it to 0..255.")
    if picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ShapeError(f"{name}: picture must have shape [H, W, 3]; got {list(picture.shape)}. Pass one RGB picture.")


def _fitted_map(name: str, cam: npt.NDArray[np.floating[Any]], size: tuple[int, int]) -> npt.NDArray[np.floating[Any]]:
    values = np.asarray(cam)
    if values.ndim != 2 or values.size == 0:
        raise ShapeError(f"{name}: cam must have shape [h, w]; got {list(values.shape)}. Pass the map of one tag.")
    if not np.isfinite(values).all():
        raise DataError(f"{name}: cam must be finite; got NaN or inf. Look for a diverged training.")
    if values.min() < 0 or values.max() > 1:
        raise RangeError(
            f"{name}: cam must lie in 0..1; got {values.min():g}..{values.max():g}. Use normalise_cams first."
        )
    resized = Image.fromarray(values.astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.clip(np.asarray(resized, np.float64), 0.0, 1.0)


def _nearest(mask: npt.NDArray[np.integer[Any]], size: tuple[int, int]) -> npt.NDArray[np.integer[Any]]:
    rows, columns = ((2 * np.arange(to) + 1) * have // (2 * to) for to, have in zip(size, mask.shape, strict=True))
    resized: npt.NDArray[np.integer[Any]] = mask[rows[:, None], columns[None, :]]
    return resized


def _widen(edge: npt.NDArray[np.bool_], by: int) -> npt.NDArray[np.bool_]:
    """Dilation by a cross, `by` times."""
    for _ in range(by):
        wide = edge.copy()
        wide[1:] |= edge[:-1]
        wide[:-1] |= edge[1:]
        wide[:, 1:] |= edge[:, :-1]
        wide[:, :-1] |= edge[:, 1:]
        edge = wide
    return edge


def _scaled(name: str, picture: Picture, height: int) -> Image.Image:
    _check_picture(name, picture)
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)


def _text_width(font: Any, text: str) -> int:
    return int(font.getlength(text)) + 1
