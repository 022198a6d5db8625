"""Drawn street and country scenes with exact ground truth: the example pool.

The same seed, size and hardness give the same bits wherever the same NumPy and Pillow run: the generator is
PCG64, and ``paint`` says why no operation depends on the machine. Pictures are graded: three in four are
ordinary, one in four is hard in one to three named ways (``HARD_KINDS``), by a degree between 0.3 and 1.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import RangeError
from .hardships import HARD_KINDS, spoil
from .paint import Canvas, Colour, Sprite, between, pick, shade
from .surfaces import paint_ground, paint_ridge, paint_sky, paint_water
from .things import draw_building, draw_bush, draw_person, draw_rock, draw_tree, draw_vehicle

CLASSES = ("sky", "ground", "water", "foliage", "building", "vehicle", "person", "rock")
SKY, GROUND, WATER, FOLIAGE, BUILDING, VEHICLE, PERSON, ROCK = range(8)
PALETTE: tuple[Colour, ...] = (
    (112, 170, 220),
    (170, 130, 90),
    (30, 80, 200),
    (60, 150, 60),
    (130, 130, 130),
    (220, 30, 50),
    (250, 200, 30),
    (110, 50, 140),
)
HARD_SHARE = 0.25
_SURFACE = {  # class: (noise plane, depth of the texture)
    FOLIAGE: (1, 0.5),
    BUILDING: (0, 0.14),
    VEHICLE: (0, 0.07),
    PERSON: (0, 0.1),
    ROCK: (0, 0.45),
}
_POOL_SIZES = (
    (480, 640),
    (480, 640),
    (480, 640),
    (600, 800),
    (720, 960),
    (960, 1280),
    (640, 480),
    (540, 960),
)


@dataclass(frozen=True)
class Scene:
    """One drawn picture.

    image: [h, w, 3] uint8 RGB. labels: [h, w] uint8, an index into CLASSES for every pixel.
    difficulty: 0 for an ordinary scene, else how far its hardships go, up to 1. hardships: their names.
    """

    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    difficulty: float
    hardships: tuple[str, ...]


@dataclass(frozen=True)
class PoolSummary:
    """What ``write_pool`` wrote: image ids with each one's difficulty and hardships, in order."""

    image_ids: tuple[str, ...]
    difficulty: tuple[float, ...]
    hardships: tuple[tuple[str, ...], ...]


def draw_scene(seed: int, *, size: tuple[int, int] = (480, 640), hard: float | None = None) -> Scene:
    """Draw one scene.

    Args:
        seed: any non-negative integer.
        size: (h, w) in pixels, each at least 32 and at most 8192.
        hard: None lets the seed decide (hard in one scene of four); 0 is ordinary; up to 1 is hardest.
    Raises:
        RangeError: seed, size or hard is outside its range.
    """
    h, w = size
    if seed < 0:
        raise RangeError(f"draw_scene: seed must be at least 0; got {seed}. Give a non-negative seed.")
    if not (32 <= h <= 8192 and 32 <= w <= 8192):
        raise RangeError(f"draw_scene: size must be (h, w), each 32..8192; got {size}. Give a size in that range.")
    if hard is not None and not 0 <= hard <= 1:
        raise RangeError(f"draw_scene: hard must be between 0 and 1; got {hard}. Give None or a value in that range.")
    layout, grading = (np.random.Generator(np.random.PCG64(s)) for s in np.random.SeedSequence(seed).spawn(2))
    drawn = between(grading, 0.3, 1.0) if grading.random() < HARD_SHARE else 0.0
    degree = drawn if hard is None else float(hard)
    kinds: tuple[str, ...] = ()
    if degree > 0:
        count = 1 + int(grading.random() < 0.6 * degree) + int(grading.random() < 0.4 * degree)
        order = grading.permutation(len(HARD_KINDS))[:count]
        kinds = tuple(sorted(HARD_KINDS[int(i)] for i in order))
    canvas = _compose(layout, w, h, degree, kinds)
    image = spoil(canvas.rgb, grading, degree, kinds)
    return Scene(image, np.array(canvas.ids), degree, kinds)


def _compose(rng: np.random.Generator, w: int, h: int, degree: float, kinds: tuple[str, ...]) -> Canvas:
    canvas = Canvas(
        rng,
        w,
        h,
        camouflage=0.35 + 0.5 * degree if "camouflage" in kinds else 0.0,
        oddness=0.4 + 0.6 * degree if "texture" in kinds else 0.0,
    )
    horizon = round(h * between(rng, 0.25, 0.55))
    mist = 0.02 + (0.3 * degree if "fog" in kinds else 0.0)
    sky = paint_sky(canvas, horizon, SKY)
    fog = (205, 208, 212) if "fog" in kinds else sky
    if rng.random() < 0.45:
        colour = pick(rng, ((126, 130, 142), (146, 128, 112), (104, 108, 116)))
        paint_ridge(canvas, horizon + 2, round(h * between(rng, 0.08, 0.24)), ROCK, colour, jagged=True)
        canvas.haze(sky, 0.12)
    if rng.random() < 0.5:
        colour = shade(pick(rng, ((70, 110, 60), (60, 96, 70))), 1.0)
        paint_ridge(canvas, horizon + 2, round(h * between(rng, 0.03, 0.09)), FOLIAGE, colour, jagged=False)
    paint_ground(canvas, horizon, GROUND)
    if rng.random() < 0.4:
        paint_water(canvas, horizon, WATER, sky)
    canvas.haze(fog, mist)
    _place_things(canvas, horizon, degree, kinds, fog, mist)
    return canvas


def _place_things(
    canvas: Canvas, horizon: int, degree: float, kinds: tuple[str, ...], fog: Colour, mist: float
) -> None:
    rng = canvas.rng
    rows = canvas.height - horizon
    light, lean = int(rng.integers(-1, 2)), between(rng, -0.9, 0.9)
    lit = 0.5 if "night" in kinds else 0.05
    # What stands here: (class, draw, nearest and farthest depth, height and width in camera heights).
    menu: list[tuple[int, Callable[..., Sprite], float, float, float, float]] = []
    menu += [(BUILDING, draw_building, 0.1, 0.45, 3.2, 3.0)] * int(rng.integers(0, 5))
    menu += [(FOLIAGE, draw_tree, 0.12, 0.6, 2.2, 1.5)] * int(rng.integers(1, 7))
    menu += [(FOLIAGE, draw_bush, 0.2, 1.0, 0.5, 0.9)] * int(rng.integers(0, 4))
    menu += [(VEHICLE, draw_vehicle, 0.3, 0.95, 0.62, 1.5)] * int(rng.integers(0, 4))
    menu += [(PERSON, draw_person, 0.32, 1.1, 0.75, 0.28)] * int(rng.integers(0, 6))
    menu += [(ROCK, draw_rock, 0.3, 1.0, 0.45, 0.65)] * int(rng.integers(0, 4))
    if "clutter" in kinds:
        extra = round(10 * degree) + 4
        menu += [pick(rng, menu) for _ in range(extra)]
        menu += [(FOLIAGE, draw_bush, 0.9, 1.4, 0.8, 1.2)] * 3
    placed = sorted(((between(rng, item[2], item[3]), i) for i, item in enumerate(menu)))
    band = 0.3
    for depth, i in placed:
        while band < depth:  # mist thickens with distance: a veil falls between one depth and the next
            canvas.haze(fog, mist * 0.5)
            band += 0.2
        class_id, draw, _, _, tall, wide = menu[i]
        unit = depth * rows * between(rng, 0.85, 1.2)
        if "scale" in kinds:
            unit *= pick(rng, (1 - 0.6 * degree, 1 + 1.8 * degree))
        height = min(unit * tall * between(rng, 0.8, 1.25), 1.3 * canvas.height)
        width = min(unit * wide * between(rng, 0.85, 1.2), 1.3 * canvas.width)
        if class_id == VEHICLE:
            width = height * between(rng, 2.1, 2.8)
        sprite = draw(rng, width, height, lit=lit) if class_id == BUILDING else draw(rng, width, height)
        foot = horizon + round(depth * rows)
        x = round(between(rng, -0.3 * width, canvas.width - 0.7 * width))
        if class_id in (BUILDING, VEHICLE, PERSON) and _stands_in_water(canvas, x + sprite.width // 2, foot):
            continue
        canvas.cast_shadow(sprite, x, foot, lean, 0.4)
        grain, rough = _SURFACE[class_id]
        canvas.stamp(sprite, x, foot - sprite.height, class_id, grain=grain, rough=rough, light=light)


def _stands_in_water(canvas: Canvas, x: int, y: int) -> bool:
    at = (min(max(x, 0), canvas.width - 1), min(max(y, 0), canvas.height - 1))
    return bool(canvas.ids.getpixel(at) == WATER)


def pool_size(seed: int) -> tuple[int, int]:
    """The (h, w) that ``write_pool`` gives to the scene of this seed: 480x640 to 960x1280, some upright."""
    return _POOL_SIZES[int(np.random.Generator(np.random.PCG64([seed, 1])).integers(len(_POOL_SIZES)))]


def write_pool(out_dir: str | Path, n: int, seed: int = 0, *, workers: int = 1) -> PoolSummary:
    """Write n scenes with their ground truth.

    ``images/scene_NNNNN.jpg`` (quality 90), ``masks/scene_NNNNN.png`` (8-bit class ids with PALETTE) and
    ``manifest.csv`` (image_id, uri, mask_uri, difficulty, hardships; paths relative to out_dir). Scene i is
    ``draw_scene(seed + i, size=pool_size(seed + i))``. Files of these names that are already there are
    overwritten, others are left alone.

    Args:
        workers: processes that draw; 1 draws in this one. The files do not depend on it.
    Raises:
        RangeError: n or workers is less than 1, or seed is negative.
        OSError: a file cannot be written.
    """
    if n < 1 or seed < 0 or workers < 1:
        raise RangeError(
            f"write_pool: n and workers must be at least 1 and seed at least 0; got n={n}, seed={seed}, "
            f"workers={workers}. Give values in that range."
        )
    root = Path(out_dir)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    tasks = [(str(root), i, seed + i) for i in range(n)]
    if workers == 1:
        rows = [_write_scene(task) for task in tasks]
    else:
        with ProcessPoolExecutor(min(workers, n), mp_context=get_context("spawn")) as processes:
            rows = list(processes.map(_write_scene, tasks, chunksize=4))
    with open(root / "manifest.csv", "w", newline="", encoding="utf-8") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(["image_id", "uri", "mask_uri", "difficulty", "hardships"])
        for name, degree, kinds in rows:
            stem = name.removesuffix(".jpg")
            out.writerow([name, f"images/{name}", f"masks/{stem}.png", f"{degree:.3f}", "+".join(kinds)])
    ids, degrees, hardships = zip(*rows, strict=True)
    return PoolSummary(ids, degrees, hardships)


def _write_scene(task: tuple[str, int, int]) -> tuple[str, float, tuple[str, ...]]:
    root, number, seed = task
    name = f"scene_{number:05d}"
    scene = draw_scene(seed, size=pool_size(seed))
    Image.fromarray(scene.image).save(f"{root}/images/{name}.jpg", quality=90)
    mask: Any = Image.fromarray(scene.labels)
    mask.putpalette([v for colour in PALETTE for v in colour])
    mask.save(f"{root}/masks/{name}.png")
    return f"{name}.jpg", scene.difficulty, scene.hardships
