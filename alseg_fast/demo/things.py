"""The things that stand in a scene: buildings, trees, vehicles, people and rocks.

Each function draws one sprite of the given size in pixels. Proportions are shares of the sprite's box, the
foot is at its lower edge.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .paint import Colour, Point, Sprite, between, mix, pick, random_colour, shade, vary

_WALLS: tuple[Colour, ...] = (
    (186, 96, 72),  # brick
    (206, 190, 160),  # plaster
    (176, 176, 178),  # concrete
    (222, 214, 200),
    (150, 120, 100),
    (200, 160, 120),
)
_ROOFS: tuple[Colour, ...] = ((140, 66, 52), (90, 88, 92), (110, 84, 66))
_PAINTS: tuple[Colour, ...] = (
    (206, 36, 36),
    (36, 78, 190),
    (240, 240, 240),
    (240, 200, 40),
    (40, 40, 46),
    (176, 180, 186),
    (30, 130, 120),
    (230, 120, 30),
)
_CLOTHES: tuple[Colour, ...] = (
    (220, 50, 80),
    (60, 60, 160),
    (240, 230, 90),
    (245, 245, 245),
    (30, 30, 40),
    (240, 130, 180),
    (90, 200, 220),
    (250, 120, 20),
)
_SKINS: tuple[Colour, ...] = ((240, 200, 170), (206, 150, 116), (140, 92, 66), (96, 62, 44))
_LEAVES: tuple[Colour, ...] = ((72, 132, 50), (96, 150, 56), (52, 106, 60), (120, 146, 60), (170, 140, 44))
_STONES: tuple[Colour, ...] = ((150, 146, 140), (128, 120, 112), (166, 150, 130), (112, 112, 118))
_GLASS: Colour = (70, 92, 116)
_LAMP: Colour = (255, 226, 130)


def draw_building(rng: np.random.Generator, width: float, height: float, *, lit: float = 0.05) -> Sprite:
    """A house or block: one or two faces, brick courses or plain wall, rows of windows, perhaps a gable.

    ``lit`` is the share of windows with a lamp behind them.
    """
    wall = vary(rng, pick(rng, _WALLS), 18)
    sprite = Sprite(width, height, wall)
    gable = rng.random() < 0.45 and height < 1.6 * width
    top = between(rng, 0.22, 0.34) if gable else 0.02
    side = between(rng, 0.72, 0.88) if rng.random() < 0.6 else 1.0
    sprite.box(0, top, side, 1, wall)
    if side < 1:
        low = top + between(rng, 0.02, 0.06)
        sprite.polygon([(side, top), (1, low), (1, 0.985), (side, 1)], shade(wall, 0.68))
    if gable:
        roof = vary(rng, pick(rng, _ROOFS), 14)
        ridge = between(rng, 0.3, 0.5) * side
        sprite.polygon([(0, top), (ridge, 0), (side, top)], roof)
        if side < 1:
            sprite.polygon([(ridge, 0), (side, top), (1, top + 0.05), (1 - ridge * 0.3, 0.02)], shade(roof, 0.75))
    _draw_courses(sprite, wall, top, side)
    _draw_windows(rng, sprite, top, side, lit)
    return sprite


def _draw_courses(sprite: Sprite, wall: Colour, top: float, side: float) -> None:
    if wall[0] - wall[2] < 60:  # only the reddish walls are brick
        return
    step = max(0.02, 5 / sprite.height)
    for row in range(int((1 - top) / step)):
        y = top + row * step
        sprite.box(0, y, side, y + 0.18 * step, mix(wall, (214, 200, 190), 0.5), solid=False)


def _draw_windows(rng: np.random.Generator, sprite: Sprite, top: float, side: float, lit: float) -> None:
    columns = max(2, min(9, round(side * sprite.width / max(12.0, 0.16 * sprite.height))))
    rows = max(1, min(12, round((1 - top) * sprite.height * columns / (1.25 * side * sprite.width))))
    pane = vary(rng, _GLASS, 24)
    wx, wy = side / columns, (0.97 - top) / rows
    for row in range(rows):
        for column in range(columns):
            glass = _LAMP if rng.random() < lit else shade(pane, between(rng, 0.75, 1.3))
            x, y = (column + 0.24) * wx, top + (row + 0.25) * wy
            sprite.box(x - 0.05 * wx, y - 0.05 * wy, x + 0.57 * wx, y + 0.6 * wy, (226, 222, 214), solid=False)
            sprite.box(x, y, x + 0.52 * wx, y + 0.55 * wy, glass, solid=False)
    if rows > 1:
        door = (int(rng.integers(columns)) + 0.25) * wx
        sprite.box(door, 0.97 - 0.8 * wy, door + 0.5 * wx, 1, (92, 60, 40), solid=False)


def draw_tree(rng: np.random.Generator, width: float, height: float) -> Sprite:
    """A broad-leaved tree or a conifer, with a frayed outline."""
    leaf = vary(rng, pick(rng, _LEAVES), 16)
    sprite = Sprite(width, height, leaf)
    conifer = rng.random() < 0.28
    if conifer:
        for layer in range(4):
            y, half = 0.02 + 0.2 * layer, 0.16 + 0.09 * layer
            tone = shade(leaf, 0.72 + 0.06 * layer)
            sprite.polygon([(0.5, y), (0.5 + half, y + 0.32), (0.5 - half, y + 0.32)], tone)
    else:
        _draw_crown(rng, sprite, leaf, 0.30, 0.36, 10)
    sprite.roughen(rng, 0.05, max(2, round(0.05 * width)))
    bark = vary(rng, (104, 78, 56), 14)
    stem = [(0.46, 0.86 if conifer else 0.48), (0.54, 0.86 if conifer else 0.48), (0.57, 1.0), (0.43, 1.0)]
    sprite.polygon(stem, bark, solid=False)
    trunk = Sprite(width, height, bark)
    trunk.polygon(stem, bark)
    sprite.mask.paste(255, (0, 0), trunk.mask)
    for _ in range(5):
        x, y = between(rng, 0.3, 0.7), between(rng, 0.35, 0.6)
        sprite.ellipse(x, y, 0.14, 0.09, shade(leaf, between(rng, 0.6, 0.9)), solid=False)
    return sprite


def draw_bush(rng: np.random.Generator, width: float, height: float) -> Sprite:
    """A hedge or bush that touches the ground."""
    leaf = vary(rng, pick(rng, _LEAVES), 16)
    sprite = Sprite(width, height, leaf)
    _draw_crown(rng, sprite, leaf, 0.58, 0.3, 9)
    sprite.box(0.1, 0.6, 0.9, 1, shade(leaf, 0.95))
    sprite.roughen(rng, 0.06, max(2, round(0.08 * height)))
    return sprite


def _draw_crown(
    rng: np.random.Generator, sprite: Sprite, leaf: Colour, middle: float, reach: float, count: int
) -> None:
    for i in range(count):
        x = 0.5 + between(rng, -0.3, 0.3)
        y = middle + between(rng, -0.7, 0.7) * reach * (1 - i / (2 * count))
        size = between(rng, 0.14, 0.22)
        tone = shade(leaf, 1.15 - 0.6 * max(0.0, y - middle + reach * 0.5))
        sprite.ellipse(x, max(y, size * 0.75), size, size * 0.8, tone)


def draw_vehicle(rng: np.random.Generator, width: float, height: float) -> Sprite:
    """A car, van or bus from the side."""
    paint = vary(rng, pick(rng, _PAINTS), 12)
    sprite = Sprite(width, height, paint)
    kind = int(rng.integers(4))
    glass: list[list[Point]]
    if kind <= 1:  # saloon or hatchback
        tail = 0.16 if kind == 0 else 0.04
        body = [
            (0.02, 0.5),
            (tail + 0.06, 0.46),
            (0.3, 0.08),
            (0.62, 0.08),
            (0.78, 0.44),
            (0.97, 0.52),
            (0.98, 0.84),
        ]
        sprite.polygon([*body, (0.02, 0.84)], paint)
        glass = [
            [(0.25, 0.44), (0.34, 0.16), (0.46, 0.16), (0.46, 0.44)],
            [(0.5, 0.44), (0.5, 0.16), (0.6, 0.16), (0.71, 0.44)],
        ]
    elif kind == 2:  # van
        sprite.polygon([(0.02, 0.06), (0.7, 0.06), (0.86, 0.4), (0.98, 0.5), (0.98, 0.86), (0.02, 0.86)], paint)
        glass = [[(0.6, 0.42), (0.6, 0.16), (0.69, 0.16), (0.8, 0.42)]]
    else:  # bus
        sprite.box(0.02, 0.04, 0.98, 0.87, paint)
        glass = [
            [(x, 0.44), (x, 0.16), (x + 0.12, 0.16), (x + 0.12, 0.44)] for x in (0.06, 0.22, 0.38, 0.54, 0.70, 0.85)
        ]
    sprite.box(0.02, 0.66, 0.98, 0.72, shade(paint, 0.72), solid=False)
    for pane in glass:
        sprite.polygon(pane, vary(rng, (60, 80, 98), 18), solid=False)
    radius_y = 0.17
    radius_x = radius_y * sprite.height / sprite.width
    for x in (0.22, 0.79):
        sprite.ellipse(x, 1 - radius_y, radius_x, radius_y, (26, 26, 28))
        sprite.ellipse(x, 1 - radius_y, radius_x * 0.5, radius_y * 0.5, (160, 160, 164), solid=False)
    sprite.box(0.94, 0.56, 0.98, 0.64, (255, 240, 180), solid=False)
    sprite.box(0.02, 0.54, 0.05, 0.64, (220, 40, 30), solid=False)
    if rng.random() < 0.5:
        sprite.flip()
    return sprite


def draw_person(rng: np.random.Generator, width: float, height: float) -> Sprite:
    """A standing or walking person: head, hair, coat, arms and legs."""
    skin, coat, trousers = pick(rng, _SKINS), vary(rng, pick(rng, _CLOTHES), 14), vary(rng, (60, 66, 96), 40)
    sprite = Sprite(width, height, coat)
    stride = between(rng, 0.0, 0.2)
    for sign in (-1, 1):
        foot = 0.5 + sign * (0.1 + stride)
        sprite.line((0.5 + sign * 0.1, 0.55), (foot, 0.97), 0.2, trousers)
        sprite.box(foot - 0.12, 0.955, foot + 0.14, 1, (40, 34, 32))
        hand = 0.5 + sign * between(rng, 0.28, 0.42)
        sprite.line((0.5 + sign * 0.2, 0.22), (hand, 0.5), 0.15, shade(coat, 0.85))
        sprite.ellipse(hand, 0.51, 0.08, 0.025, skin)
    sprite.polygon([(0.26, 0.2), (0.38, 0.165), (0.62, 0.165), (0.74, 0.2), (0.7, 0.6), (0.3, 0.6)], coat)
    sprite.box(0.43, 0.12, 0.57, 0.19, skin)
    sprite.ellipse(0.5, 0.08, 0.2, 0.075, skin)
    hair = pick(rng, ((40, 28, 22), (110, 76, 44), (190, 160, 96), (60, 60, 62)))
    sprite.ellipse(0.5, 0.045, 0.21, 0.045, hair)
    if rng.random() < 0.3:  # a bag
        sprite.box(0.62, 0.3, 0.86, 0.48, random_colour(rng))
    return sprite


def draw_rock(rng: np.random.Generator, width: float, height: float) -> Sprite:
    """A boulder with light and dark facets."""
    stone = vary(rng, pick(rng, _STONES), 14)
    sprite = Sprite(width, height, stone)
    corners = [(0.0, 1.0), (between(rng, 0, 0.12), between(rng, 0.45, 0.7))]
    corners += [(x + between(rng, -0.06, 0.06), between(rng, 0.02, 0.25)) for x in (0.28, 0.48, 0.7)]
    corners += [(between(rng, 0.88, 1), between(rng, 0.4, 0.7)), (1.0, 1.0)]
    sprite.polygon(corners, stone)
    peak = (between(rng, 0.35, 0.6), between(rng, 0.4, 0.6))
    for a, b in pairwise(corners):
        sprite.polygon([a, b, peak], shade(stone, between(rng, 0.62, 1.18)))
    return sprite
