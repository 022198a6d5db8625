"""The large surfaces of a scene: sky, far hills, ground and water."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .paint import Canvas, Colour, between, mix, noise_plane, pick, shade, tint, vary

SKIES: tuple[tuple[Colour, Colour], ...] = (  # zenith, horizon
    ((70, 130, 214), (186, 214, 240)),
    ((104, 150, 206), (214, 226, 236)),
    ((150, 160, 172), (208, 212, 216)),
    ((92, 96, 150), (246, 186, 130)),
    ((50, 106, 190), (160, 200, 236)),
)
_GROUNDS: tuple[tuple[Colour, Colour], ...] = (  # dark and light end of the texture
    ((66, 98, 40), (128, 164, 76)),  # grass
    ((104, 120, 50), (168, 172, 96)),  # dry grass
    ((110, 82, 56), (176, 140, 100)),  # earth
    ((186, 160, 110), (232, 210, 160)),  # sand
    ((92, 92, 96), (140, 140, 142)),  # asphalt
    ((140, 132, 124), (196, 188, 178)),  # paving
)
_WATERS: tuple[Colour, ...] = ((42, 92, 130), (48, 110, 120), (74, 112, 140), (60, 84, 96))


def paint_sky(canvas: Canvas, horizon: int, sky_id: int) -> Colour:
    """A vertical gradient with clouds over the whole canvas. Returns the colour at the horizon."""
    rng = canvas.rng
    zenith, low = pick(rng, SKIES)
    zenith, low = vary(rng, zenith, 12), vary(rng, low, 10)
    t = np.minimum(np.arange(canvas.height) * 255 // max(horizon, 1), 255).astype(np.uint8)
    column = Image.fromarray(np.broadcast_to(t[:, None], (canvas.height, 2)).copy())
    canvas.rgb = tint(column.resize((canvas.width, canvas.height)), zenith, low)
    canvas.ids.paste(sky_id, (0, 0, canvas.width, canvas.height))
    cover = int(between(rng, 110, 230))  # noise above this is cloud
    size = (canvas.width, max(2, horizon))
    clouds = noise_plane(rng, size, canvas.scaled(90), wide=3)
    clouds = clouds.point([min(230, max(0, (v - cover) * 4)) for v in range(256)])
    canvas.rgb.paste(mix(low, (255, 255, 255), 0.75), (0, 0), clouds)
    return low


def paint_ridge(canvas: Canvas, base: int, height: int, class_id: int, colour: Colour, *, jagged: bool) -> None:
    """A far mountain range (jagged) or line of trees, from side to side, its foot at row ``base``."""
    rng = canvas.rng
    count = 10 if jagged else 40
    tops = [base - round(height * between(rng, 0.25 if jagged else 0.6, 1.0)) for _ in range(count + 1)]
    points = [(round(i * canvas.width / count), top) for i, top in enumerate(tops)]
    mask = Image.new("L", (canvas.width, canvas.height))
    ImageDraw.Draw(mask).polygon([(0, base), *points, (canvas.width, base)], fill=255)
    mask = mask.filter(ImageFilter.BoxBlur(1))
    plane = canvas.texture((canvas.width, canvas.height), 1)
    canvas.paint(tint(plane, shade(colour, 0.62), shade(colour, 1.15)), mask, (0, 0), class_id)


def paint_ground(canvas: Canvas, horizon: int, ground_id: int) -> Colour:
    """The ground plane in perspective, perhaps with a road. Returns its middle colour."""
    rng = canvas.rng
    rows = canvas.height - horizon
    dark, light = pick(rng, _GROUNDS)
    shift = int(rng.integers(-10, 11))
    dark, light = (
        mix(c, (255, 255, 255) if shift > 0 else (0, 0, 0), abs(shift) / 100) for c in (mix(dark, light, 0.2), light)
    )
    side = canvas.height
    source = np.asarray(noise_plane(rng, (side, side), canvas.scaled(40)))
    # A pixel's footprint on the plane goes as 1 / (row - horizon): near rows are enlarged, far ones shrunk.
    depth = np.arange(rows, dtype=np.int64)[:, None] + rows // 8 + 1
    far = rows * 9 // 8
    v = (far * far // depth) % side
    x = np.arange(canvas.width, dtype=np.int64)[None, :] - canvas.width // 2
    u = ((x * far) // depth) % side
    canvas.rgb.paste(tint(Image.fromarray(source[v, u]), dark, light), (0, horizon))
    canvas.ids.paste(ground_id, (0, horizon, canvas.width, canvas.height))
    if rng.random() < 0.4:
        _paint_road(canvas, horizon)
    blotches = canvas.texture((canvas.width, rows), 2)
    canvas.darken(blotches.point([min(255, max(0, (v - 150) * 3)) for v in range(256)]), (0, horizon), 0.22)
    return mix(dark, light, 0.5)


def _paint_road(canvas: Canvas, horizon: int) -> None:
    rng = canvas.rng
    w, h = canvas.width, canvas.height
    far = between(rng, 0.3, 0.7) * w
    near, half = between(rng, 0.3, 0.7) * w, between(rng, 0.22, 0.4) * w
    mask = Image.new("L", (w, h))
    draw = ImageDraw.Draw(mask)
    draw.polygon(
        [
            (round(far - 0.02 * w), horizon),
            (round(far + 0.02 * w), horizon),
            (round(near + half), h),
            (round(near - half), h),
        ],
        fill=255,
    )
    tone = vary(rng, (112, 112, 116), 14)
    plane = canvas.texture((w, h), 0)
    canvas.paint(tint(plane, shade(tone, 0.8), shade(tone, 1.12)), mask, (0, 0), None)
    marks = Image.new("L", (w, h))
    draw = ImageDraw.Draw(marks)
    for dash in range(7):
        t0, t1 = (dash / 7) ** 2, ((dash + 0.5) / 7) ** 2
        ends = [(far + (near - far) * t, horizon + (h - horizon) * t, 0.004 * w + 0.012 * w * t) for t in (t0, t1)]
        (xa, ya, wa), (xb, yb, wb) = ends
        draw.polygon(
            [
                (round(px), round(py))
                for px, py in ((xa - wa / 2, ya), (xa + wa / 2, ya), (xb + wb / 2, yb), (xb - wb / 2, yb))
            ],
            fill=220,
        )
    canvas.rgb.paste((236, 232, 214), (0, 0), marks)


def paint_water(canvas: Canvas, horizon: int, water_id: int, sky: Colour) -> None:
    """A lake, a river bank to bank, or the sea below a shore line; ripples, and a tint of the sky."""
    rng = canvas.rng
    w, h = canvas.width, canvas.height
    rows = h - horizon
    mask = Image.new("L", (w, h))
    draw = ImageDraw.Draw(mask)
    kind = int(rng.integers(3))
    if kind == 0:  # lake
        cx, cy = between(rng, 0.2, 0.8) * w, horizon + between(rng, 0.35, 0.8) * rows
        rx, ry = between(rng, 0.25, 0.5) * w, between(rng, 0.12, 0.22) * rows
        draw.ellipse([round(cx - rx), round(cy - ry), round(cx + rx), round(cy + ry)], fill=255)
    else:  # a band with uneven banks; the sea reaches down to the edge of the picture
        top = horizon + between(rng, 0.02, 0.4) * rows
        low = top + between(rng, 0.2, 0.45) * rows if kind == 1 else h + 20
        slope = between(rng, -0.12, 0.12) * rows
        upper = [(round(i * w / 12), round(top + slope * i / 12 + between(rng, -0.02, 0.02) * rows)) for i in range(13)]
        lower = [(round(i * w / 12), round(low - slope * i / 12 + between(rng, -0.02, 0.02) * rows)) for i in range(13)]
        draw.polygon([*upper, *reversed(lower)], fill=255)
    top_row = Image.new("L", (w, horizon)) if horizon else None
    if top_row is not None:
        mask.paste(top_row, (0, 0))
    soft = mask.filter(ImageFilter.BoxBlur(canvas.scaled(1.5)))
    base = mix(vary(rng, pick(rng, _WATERS), 14), sky, between(rng, 0.1, 0.4))
    ripples = noise_plane(rng, (w, h), canvas.scaled(9), wide=6)
    canvas.paint(tint(ripples, shade(base, 0.72), mix(base, (255, 255, 255), 0.3)), soft, (0, 0), water_id)
