"""Pools made on the spot: procedural JPEGs that cost a decoder about what photographs cost."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

QUALITY = 90
SUBSAMPLING = 2  # 4:2:0
PHOTO_SIZE = (960, 1280)
PHOTO_BYTES = 214_000  # of a 1280x960 photograph at this quality
_SLOPE = 1.1  # of the amplitude spectrum 1 / f^slope; natural images lie between 0.9 and 1.3
_CLOSE_ENOUGH = 0.03
_MOST_TRIALS = 8


def _fractal_noise(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """[h, w] noise with amplitude 1 / f^slope, mean 0, deviation 1."""
    h, w = size
    f = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None, :])
    f[0, 0] = np.inf
    phase = np.exp(2j * np.pi * rng.random(f.shape))
    field = np.fft.irfft2(phase / f**_SLOPE, s=size)
    noise: NDArray[np.float32] = ((field - field.mean()) / field.std()).astype(np.float32)
    return noise


def _shapes(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """[h, w, 3] flat polygons and ellipses over each other: edges and regions."""
    h, w = size
    canvas = Image.new("RGB", (w, h), tuple(int(v) for v in rng.integers(60, 200, 3)))
    draw = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(12, 30))):
        colour = tuple(int(v) for v in rng.integers(10, 245, 3))
        cx, cy, r = rng.random() * w, rng.random() * h, (0.03 + 0.2 * rng.random()) * h
        if rng.random() < 0.4:
            draw.ellipse((cx - r, cy - 0.6 * r, cx + r, cy + 0.6 * r), fill=colour)
            continue
        angles = np.sort(rng.random(int(rng.integers(3, 8)))) * 2 * np.pi
        radii = r * (0.4 + rng.random(len(angles)))
        points = zip(cx + radii * np.cos(angles), cy + radii * np.sin(angles), strict=True)
        draw.polygon([(float(x), float(y)) for x, y in points], fill=colour)
    return np.asarray(canvas, np.float32)


def encode_jpeg(image: NDArray[np.uint8]) -> bytes:
    """[h, w, 3] uint8 RGB -> JPEG of quality 90, 4:2:0."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY, subsampling=SUBSAMPLING)
    return buffer.getvalue()


def make_photo(seed: int, size: tuple[int, int] = PHOTO_SIZE, target_bytes: int | None = PHOTO_BYTES) -> bytes:
    """One picture: shapes with 1/f noise in brightness and, weaker, in colour. Same seed, same bytes.

    Args:
        size: (h, w) in pixels.
        target_bytes: the noise is made stronger or weaker until the file is about this long; None: medium noise.
    """
    rng = np.random.default_rng(seed)
    shapes = _shapes(rng, size)
    brightness = _fractal_noise(rng, size)[..., None]
    colour = np.stack([_fractal_noise(rng, size) for _ in range(3)], axis=-1)
    noise = brightness + 0.15 * colour

    def encode(strength: float) -> bytes:
        return encode_jpeg(np.clip(shapes + strength * noise, 0, 255).astype(np.uint8))

    if target_bytes is None:
        return encode(25.0)
    low, high = 0.0, 120.0
    data = b""
    for _ in range(_MOST_TRIALS):
        strength = (low + high) / 2
        data = encode(strength)
        if abs(len(data) - target_bytes) <= _CLOSE_ENOUGH * target_bytes:
            break
        low, high = (strength, high) if len(data) < target_bytes else (low, strength)
    return data


def fill_directory(folder: Path, contents: Sequence[bytes], images: int) -> list[Path]:
    """Write `images` files with distinct names; the contents repeat, as links to the same file where possible."""
    folder.mkdir(parents=True)
    width = len(str(images - 1))
    paths = [folder / f"image-{i:0{width}d}.jpg" for i in range(images)]
    for i, path in enumerate(paths):
        if i < len(contents):
            path.write_bytes(contents[i])
            continue
        try:
            os.link(paths[i % len(contents)], path)
        except OSError:  # no links here, or too many to one file
            shutil.copyfile(paths[i % len(contents)], path)
    return paths
