"""Painting in whole numbers: noise planes, colour ramps, sprites and the canvas they are stamped on.

Every operation is integer arithmetic, an exact IEEE operation, or Pillow's own fixed-point code. No sine,
exponential or Gaussian draw takes part, because their last bits differ between machines. Blend shares are
multiples of 1/64 for the same reason: the products are exact, with or without fused multiply-add.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

Colour = tuple[int, int, int]
Point = tuple[float, float]
T = TypeVar("T")

SUPERSAMPLE = 2
_GRAINS = (3, 9, 28)  # cell sizes of the shared noise planes, in pixels of a 480-pixel-high image


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A uniform number in [low, high)."""
    return low + (high - low) * float(rng.random())


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def share(value: float) -> float:
    """The nearest multiple of 1/64 in [0, 1]."""
    return min(64, max(0, round(value * 64))) / 64


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """The colour that lies the share t of the way from a to b."""
    t = share(t)
    return (round(a[0] + (b[0] - a[0]) * t), round(a[1] + (b[1] - a[1]) * t), round(a[2] + (b[2] - a[2]) * t))


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made darker (factor < 1) or lighter, clipped to 0..255."""
    f = round(factor * 64)
    return (min(255, colour[0] * f // 64), min(255, colour[1] * f // 64), min(255, colour[2] * f // 64))


def vary(rng: np.random.Generator, colour: Colour, amount: int) -> Colour:
    """The colour with up to +-amount added, mostly to all channels alike."""
    common = int(rng.integers(-amount, amount + 1))
    own = rng.integers(-(amount // 3) - 1, amount // 3 + 2, size=3)
    r, g, b = (min(255, max(0, c + common + int(d))) for c, d in zip(colour, own, strict=True))
    return (r, g, b)


def random_colour(rng: np.random.Generator) -> Colour:
    """Any colour at all."""
    r, g, b = (int(v) for v in rng.integers(0, 256, size=3))
    return (r, g, b)


def noise_plane(rng: np.random.Generator, size: tuple[int, int], cell: int, *, wide: int = 1) -> Any:
    """Band-limited noise: three octaves of random grids, enlarged bicubically and summed.

    Args:
        size: (width, height) in pixels.
        cell: side of the coarsest grid cell in pixels; wide: how many times wider than high a cell is.
    Returns: an "L" image, mean near 128, using most of 0..255.
    """
    coarse = min(4, max(1, cell // 8))  # wide cells are drawn small and enlarged once: nothing finer is lost
    small = (max(2, size[0] // coarse), max(2, size[1] // coarse))
    cell = max(1, cell // coarse)
    plane: Any = None
    for octave in range(3):
        ch = max(cell >> octave, 1)
        cw = max((cell * wide) >> octave, 1)
        gw, gh = small[0] // cw + 2, small[1] // ch + 2
        grid = Image.frombytes("L", (gw, gh), rng.bytes(gw * gh))
        layer = grid.resize(small, Image.Resampling.BICUBIC)
        plane = layer if plane is None else Image.blend(plane, layer, 0.375)
        if ch == 1:
            break
    plane = plane.point([min(255, max(0, (v - 128) * 9 // 4 + 128)) for v in range(256)])
    return plane if small == size else plane.resize(size, Image.Resampling.BICUBIC)


def tint(plane: Any, dark: Colour, light: Colour) -> Any:
    """Colour an "L" plane by the ramp from dark (0) to light (255). Returns an "RGB" image."""
    lut = [d + (b - d) * v // 255 for d, b in zip(dark, light, strict=True) for v in range(256)]
    return Image.merge("RGB", (plane, plane, plane)).point(lut)


def odd_pattern(rng: np.random.Generator, size: tuple[int, int], cell: int) -> Any:
    """A texture no ordinary scene has: checks, stripes or dots in two random colours."""
    y, x = np.ogrid[: size[1], : size[0]]
    kind = int(rng.integers(4))
    if kind == 0:
        on = ((x // cell) + (y // cell)) % 2
    elif kind == 1:
        on = ((x + y) // cell) % 2
    elif kind == 2:
        on = (y // cell + 0 * x) % 2
    else:
        on = ((x % (2 * cell) - cell) ** 2 + (y % (2 * cell) - cell) ** 2 < cell * cell // 2).astype(np.int64)
    plane = Image.fromarray((on * 255).astype(np.uint8))
    return tint(plane, random_colour(rng), random_colour(rng))


class Sprite:
    """One thing drawn on its own: colours and outline, at twice the size, coordinates in 0..1 of its box."""

    def __init__(self, width: float, height: float, base: Colour) -> None:
        self.width, self.height = max(3, round(width)), max(3, round(height))
        big = (self.width * SUPERSAMPLE, self.height * SUPERSAMPLE)
        self._sx, self._sy = big
        self.rgb: Any = Image.new("RGB", big, base)
        self.mask: Any = Image.new("L", big, 0)
        self._on_rgb, self._on_mask = ImageDraw.Draw(self.rgb), ImageDraw.Draw(self.mask)

    def _at(self, points: Sequence[Point]) -> list[tuple[int, int]]:
        return [(round(x * self._sx), round(y * self._sy)) for x, y in points]

    def polygon(self, points: Sequence[Point], colour: Colour, *, solid: bool = True) -> None:
        """Fill a polygon; solid parts also belong to the outline."""
        at = self._at(points)
        self._on_rgb.polygon(at, fill=colour)
        if solid:
            self._on_mask.polygon(at, fill=255)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, *, solid: bool = True) -> None:
        """Fill an upright rectangle."""
        at = self._at([(x0, y0), (x1, y1)])
        self._on_rgb.rectangle(at, fill=colour)
        if solid:
            self._on_mask.rectangle(at, fill=255)

    def ellipse(self, cx: float, cy: float, rx: float, ry: float, colour: Colour, *, solid: bool = True) -> None:
        """Fill an ellipse; radii are shares of the width and of the height."""
        at = self._at([(cx - rx, cy - ry), (cx + rx, cy + ry)])
        self._on_rgb.ellipse(at, fill=colour)
        if solid:
            self._on_mask.ellipse(at, fill=255)

    def line(self, a: Point, b: Point, width: float, colour: Colour) -> None:
        """A thick line; its width is a share of the sprite's width."""
        at, thick = self._at([a, b]), max(2, round(width * self._sx))
        self._on_rgb.line(at, fill=colour, width=thick)
        self._on_mask.line(at, fill=255, width=thick)

    def roughen(self, rng: np.random.Generator, amount: float, cell: int) -> None:
        """Fray the outline with noise, as leaves do; amount is a share of the smaller side."""
        radius = max(1.0, round(amount * min(self._sx, self._sy)))
        soft = self.mask.filter(ImageFilter.BoxBlur(radius))
        noise = noise_plane(rng, (self.width, self.height), max(2, cell)).resize(soft.size, Image.Resampling.NEAREST)
        self.mask = Image.blend(soft, noise, 0.375).point([255 if v > 124 else 0 for v in range(256)])
        self.mask = ImageChops.multiply(self.mask, soft.point([0 if v < 24 else 255 for v in range(256)]))

    def flip(self) -> None:
        """Swap left and right."""
        self.rgb, self.mask = ImageOps.mirror(self.rgb), ImageOps.mirror(self.mask)

    def shrunk(self) -> tuple[Any, Any]:
        """(colours "RGB", coverage "L") at the final size."""
        return self.rgb.reduce(SUPERSAMPLE), self.mask.reduce(SUPERSAMPLE)


@dataclass
class Canvas:
    """The picture so far and the class of every pixel."""

    rng: np.random.Generator
    width: int
    height: int
    camouflage: float = 0.0  # share of a thing's colours taken from what stands beside it
    oddness: float = 0.0  # probability that a thing wears an odd pattern
    rgb: Any = field(init=False)
    ids: Any = field(init=False)
    _planes: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        size = (self.width, self.height)
        self.rgb, self.ids = Image.new("RGB", size), Image.new("L", size)
        self._planes = [noise_plane(self.rng, size, max(2, self.scaled(cell))) for cell in _GRAINS]

    def scaled(self, pixels: float) -> int:
        """A length given for a 480-pixel-high image, in pixels of this one (at least 1)."""
        return max(1, round(pixels * min(self.width, self.height) / 480))

    def texture(self, size: tuple[int, int], grain: int) -> Any:
        """A random cut of a shared noise plane, no larger than the canvas; grain 0 is fine, 2 is coarse."""
        x = int(self.rng.integers(0, self.width - size[0] + 1))
        y = int(self.rng.integers(0, self.height - size[1] + 1))
        return self._planes[grain].crop((x, y, x + size[0], y + size[1]))

    def paint(self, patch: Any, mask: Any, at: tuple[int, int], class_id: int | None) -> None:
        """Lay an image over the canvas; pixels at least half covered become class_id, unless it is None."""
        self.rgb.paste(patch, at, mask)
        if class_id is not None:
            self.ids.paste(class_id, at, mask.point([255 if v >= 128 else 0 for v in range(256)]))

    def stamp(
        self,
        sprite: Sprite,
        x: int,
        y: int,
        class_id: int,
        *,
        grain: int = 0,
        rough: float = 0.3,
        light: int = 0,
    ) -> None:
        """Stamp a sprite with its top left corner at (x, y), textured and lit; what lies outside is cut off.

        Args:
            grain: which noise plane roughens the surface; rough: by how much (0 none, 1 down to black).
            light: -1 lit from the left, 1 from the right, 0 evenly.
        """
        x0, y0 = max(x, 0), max(y, 0)
        x1, y1 = min(x + sprite.width, self.width), min(y + sprite.height, self.height)
        if x1 - x0 < 2 or y1 - y0 < 2:
            return
        rgb, mask = sprite.shrunk()
        cut = (x0 - x, y0 - y, x1 - x, y1 - y)
        rgb, mask = rgb.crop(cut), mask.crop(cut)
        size = rgb.size
        if self.oddness and self.rng.random() < self.oddness:
            rgb = Image.blend(rgb, odd_pattern(self.rng, size, self.scaled(between(self.rng, 4, 16))), 0.75)
        low = round(255 * (1 - rough))
        rgb = ImageChops.multiply(rgb, tint(self.texture(size, grain), (low, low, low), (255, 255, 255)))
        if light:
            ends = (255, 165) if light < 0 else (165, 255)
            ramp = np.linspace(ends[0], ends[1], size[0]).astype(np.uint8)
            row = Image.fromarray(np.broadcast_to(ramp, (2, size[0])).copy()).resize(size)
            rgb = ImageChops.multiply(rgb, Image.merge("RGB", (row, row, row)))
        if self.camouflage:
            behind = ImageOps.mirror(self.rgb.crop((x0, y0, x1, y1)))
            rgb = Image.blend(rgb, behind, share(self.camouflage))
        self.paint(rgb, mask, (x0, y0), class_id)

    def cast_shadow(self, sprite: Sprite, x: int, foot: int, lean: float, depth: float) -> None:
        """Darken the ground under a sprite: its outline, flattened, mirrored and leaning to one side."""
        tall = max(2, round(sprite.height * 0.28))
        flat = ImageOps.flip(sprite.mask).resize((max(2, sprite.width), tall), Image.Resampling.NEAREST)
        pad = round(abs(lean) * tall)
        wide = Image.new("L", (flat.width + 2 * pad, tall))
        wide.paste(flat, (pad, 0))
        lean64 = share(abs(lean)) * (1 if lean > 0 else -1)
        sheared = wide.transform(wide.size, Image.Transform.AFFINE, (1, -lean64, 0, 0, 1, 0))
        self.darken(sheared.filter(ImageFilter.BoxBlur(self.scaled(1.5))), (x - pad, foot - tall // 8), depth)

    def darken(self, mask: Any, at: tuple[int, int], depth: float) -> None:
        """Multiply the canvas by 1 - depth where mask is 255, by less where it is less."""
        x0, y0 = max(at[0], 0), max(at[1], 0)
        x1, y1 = min(at[0] + mask.width, self.width), min(at[1] + mask.height, self.height)
        if x1 <= x0 or y1 <= y0:
            return
        mask = mask.crop((x0 - at[0], y0 - at[1], x1 - at[0], y1 - at[1]))
        keep = round(64 * (1 - depth))
        under = self.rgb.crop((x0, y0, x1, y1))
        self.rgb.paste(under.point([v * keep // 64 for v in range(256)] * 3), (x0, y0), mask)

    def haze(self, colour: Colour, amount: float) -> None:
        """Lay mist over everything painted so far."""
        if amount > 0:
            self.rgb = Image.blend(self.rgb, Image.new("RGB", self.rgb.size, colour), share(amount))
