"""Pictures drawn on the spot for learning from tags: things with a body that two classes share and a head of their own.

A classifier of tags needs the small head only, so its activation maps find the head first: the difficulty that the
published methods were made for, on data of which there can be as much as a network from scratch needs.
"""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alseg_fast import atomic

SIZE = (96, 128)
BODIES = ("striped", "dotted", "chequered")
HEADS = ("ring", "cross")
CLASSES = ("background", *(f"{body}_{head}" for body in BODIES for head in HEADS))
_MOST_THINGS = 3
_HUES = {"striped": 0.05, "dotted": 0.38, "chequered": 0.66}
_SLOPE = 1.2  # of the background's amplitude spectrum, as natural pictures have it

Plane = NDArray[np.float64]


def draw_things(seed: int, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One picture [96, 128, 3] uint8 and its class ids [96, 128] uint8; a function of the two numbers."""
    rng = np.random.Generator(np.random.PCG64([seed, number]))
    h, w = SIZE
    picture = _background(rng)
    ids = np.zeros(SIZE, np.uint8)
    y, x = np.mgrid[:h, :w].astype(np.float64)
    for _ in range(int(rng.integers(1, _MOST_THINGS + 1))):
        kind = int(rng.integers(len(CLASSES) - 1))
        long, wide = rng.uniform(17, 30), rng.uniform(10, 15)
        angle = rng.uniform(0, 2 * np.pi)
        cy, cx = rng.uniform(0.2, 0.8) * h, rng.uniform(0.2, 0.8) * w
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        across = -(x - cx) * np.sin(angle) + (y - cy) * np.cos(angle)
        body = (along / long) ** 2 + (across / wide) ** 2 <= 1
        body_of, head_of = BODIES[kind // len(HEADS)], HEADS[kind % len(HEADS)]
        picture[body] = _body(rng, body_of, along, across)[body]
        radius = 0.62 * wide
        u, v = along - 0.55 * long, across
        head = u**2 + v**2 <= radius**2
        picture[head] = _head(head_of, u, v, radius)[head]
        ids[body | head] = kind + 1
    picture += rng.normal(0, 6, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8), ids


def make_pool(folder: Path, *, seed: int, n_train: int, n_test: int) -> Path:
    """Draw a pool once; returns its manifest, which `alseg train` reads as the data set "manifest"."""
    wanted = {"seed": seed, "train": n_train, "test": n_test, "drawing": _drawing()}
    manifest, facts = folder / "manifest.csv", folder / "drawn.json"
    if facts.is_file() and json.loads(facts.read_text(encoding="utf-8")) == wanted:
        return manifest
    folder.mkdir(parents=True, exist_ok=True)
    with manifest.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("image_id", "uri", "label", "mask_uri", "split"))
        for number in range(n_train + n_test):
            picture, ids = draw_things(seed, number)
            name = f"{number:05d}"
            Image.fromarray(picture).save(folder / f"{name}.png")
            Image.fromarray(ids).save(folder / f"{name}-ids.png")
            tags = ",".join(CLASSES[i] for i in np.unique(ids) if i)
            split = "train" if number < n_train else "test"
            rows.writerow((name, folder / f"{name}.png", tags, folder / f"{name}-ids.png", split))
    atomic.write_atomic(facts, json.dumps(wanted).encode())
    return manifest


def _drawing() -> str:
    """Changes where the drawing changes."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]


def _background(rng: np.random.Generator) -> Plane:
    """[h, w, 3] fractal noise in colours of its own."""
    h, w = SIZE
    f = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None, :])
    f[0, 0] = np.inf
    planes = [np.fft.irfft2(np.exp(2j * np.pi * rng.random(f.shape)) / f**_SLOPE, s=SIZE) for _ in range(3)]
    noise = np.stack([plane / plane.std() for plane in planes], axis=2)
    shared = noise.mean(axis=2, keepdims=True)
    out: Plane = rng.uniform(70, 180, 3) + 28 * (0.8 * shared + 0.4 * noise)
    return out


def _body(rng: np.random.Generator, kind: str, along: Plane, across: Plane) -> Plane:
    period, phase = rng.uniform(5, 8), rng.uniform(0, 2 * np.pi)
    a, b = np.sin(2 * np.pi * along / period + phase), np.sin(2 * np.pi * across / period + phase)
    pattern = {"striped": a > 0, "dotted": (a > 0.3) & (b > 0.3), "chequered": a * b > 0}[kind]
    dark, light = (
        _rgb(_HUES[kind] + rng.normal(0, 0.03), rng.uniform(0.35, 0.7), value)
        for value in (0.45, rng.uniform(0.7, 0.95))
    )
    out: Plane = np.where(pattern[..., None], light, dark)
    return out


def _head(kind: str, u: Plane, v: Plane, radius: float) -> Plane:
    r = np.hypot(u, v) / radius
    mark = (r > 0.35) & (r < 0.7) if kind == "ring" else np.minimum(np.abs(u), np.abs(v)) < 0.22 * radius
    out: Plane = np.where(mark[..., None], np.array([245.0, 235.0, 215.0]), np.array([35.0, 30.0, 40.0]))
    return out


def _rgb(hue: float, saturation: float, value: float) -> Plane:
    """One colour, [3] in 0..255."""
    k = (np.array([5.0, 3.0, 1.0]) + 6 * hue) % 6
    out: Plane = 255 * value * (1 - saturation * np.clip(np.minimum(k, 4 - k), 0, 1))
    return out
