"""Histograms to search: of crops of pictures with changed colours, and random ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alseg_fast.errors import UsageError

from .pictures import DEFAULT_DATA, get_picture, read_picture

REAL, JOINT, CLUSTERED, FLAT = "crops, 3 x 32", "crops, 8 x 8 x 8", "Dirichlet, clustered", "Dirichlet, flat"
_SIDES = (16, 96)  # of a crop, pixels
_PER_SOURCE = 120  # pictures of each folder
_DRAWN = 48
_FOLDERS = ("bsds500/test/images", "camvid/train", "ccp/photos")


@dataclass(frozen=True)
class Data:
    """rows [N, D] and queries [Q, D] float32, each of the channels with sum 1."""

    name: str
    channels: int
    rows: NDArray[np.float32]
    queries: NDArray[np.float32]

    def joined(self, of: str = "rows", count: int | None = None) -> NDArray[np.float32]:
        """All channels as one distribution: its divergence is the mean of the channels' own."""
        return np.ascontiguousarray(getattr(self, of)[:count] / np.float32(self.channels))


def find_sources(data: str | Path | None) -> tuple[list[Path], str]:
    """Pictures to crop: of a folder of BSDS500, and of CamVid's and CCP's beside it; [] where there are none.

    Raises: UsageError: `data` was named and holds no pictures.
    """
    root = DEFAULT_DATA.parent if data is None else Path(data)
    if root.name == "bsds500":
        root = root.parent
    found, names = [], []
    for folder in _FOLDERS:
        pictures = sorted(p for p in (root / folder).glob("*") if p.suffix in (".jpg", ".png"))[:_PER_SOURCE]
        found += pictures
        names += [f"{len(pictures)} of {folder}"] if pictures else []
    if not found and data is not None:
        found = sorted(p for p in root.rglob("*.jpg"))[:_PER_SOURCE]
        names = [f"{len(found)} of {root.name}"]
        if not found:
            raise UsageError(
                f"bench: --data must be a folder with pictures (bsds500, camvid, ccp or *.jpg); got {root}."
            )
    return found, ", ".join(names)


def read_sources(data: str | Path | None) -> tuple[list[NDArray[np.uint8]], str]:
    """Pictures [H, W, 3] and a sentence that says what they are."""
    found, sentence = find_sources(data)
    if found:
        return [read_picture(path) for path in found], f"crops of {_SIDES[0]} to {_SIDES[1]} pixels of {sentence}"
    drawn = [get_picture((321, 481), None, seed)[0] for seed in range(_DRAWN)]
    return drawn, f"crops of {_SIDES[0]} to {_SIDES[1]} pixels of {_DRAWN} drawn pictures"


def _crop_kernel() -> Callable[..., None]:
    """Compiled here, since Numba is an extra."""
    import numba

    @numba.njit(nogil=True)  # type: ignore[misc,unused-ignore]
    def count(pixels, starts, shapes, crops, tables, bins, joint, out):  # type: ignore[no-untyped-def]
        for i in range(out.shape[0]):
            picture, top, left, side = crops[i]
            width = shapes[picture, 1]
            for y in range(top, top + side):
                at = starts[picture] + (y * width + left) * 3
                for _ in range(side):
                    a, b, c = tables[i, 0, pixels[at]], tables[i, 1, pixels[at + 1]], tables[i, 2, pixels[at + 2]]
                    if joint:
                        out[i, (a * bins + b) * bins + c] += 1
                    else:
                        out[i, a] += 1
                        out[i, bins + b] += 1
                        out[i, 2 * bins + c] += 1
                    at += 3
            for j in range(out.shape[1]):
                out[i, j] /= side * side

    compiled: Callable[..., None] = count
    return compiled


def make_crops(
    pictures: list[NDArray[np.uint8]], n: int, bins: int, joint: bool, seed: int, threads: int
) -> NDArray[np.float32]:
    """[n, D] histograms of random crops whose channels are scaled (by e^N(0, 0.15)) and bent (power e^N(0, 0.2)).

    Raises: ImportError: Numba is not installed.
    """
    from concurrent.futures import ThreadPoolExecutor

    kernel = _crop_kernel()
    rng = np.random.default_rng(seed)
    shapes = np.array([p.shape[:2] for p in pictures])
    starts = np.concatenate([[0], np.cumsum(shapes.prod(axis=1) * 3)])[:-1]
    pixels = np.concatenate([p.reshape(-1) for p in pictures])
    picture = rng.integers(0, len(pictures), n)
    side = np.minimum(rng.integers(_SIDES[0], _SIDES[1] + 1, n), shapes[picture].min(axis=1))
    place = (rng.random((n, 2)) * (shapes[picture] - side[:, None] + 1)).astype(np.int64)
    crops = np.column_stack([picture, place, side])
    out = np.zeros((n, bins**3 if joint else 3 * bins), np.float32)
    scale, power = np.exp(0.15 * rng.standard_normal((n, 3))), np.exp(0.2 * rng.standard_normal((n, 3)))
    value = (np.arange(256) + 0.5) / 256

    def work(first: int) -> None:
        piece = slice(first, first + 4096)
        changed = np.minimum(scale[piece, :, None] * value ** power[piece, :, None], 1 - 1e-9)
        kernel(pixels, starts, shapes, crops[piece], (changed * bins).astype(np.int64), bins, joint, out[piece])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(0, n, 4096)))
    return out


def _normal(mass: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(mass / mass.sum(axis=1, keepdims=True), np.float32)


def make_random(n: int, dim: int, clustered: bool, seed: int) -> NDArray[np.float32]:
    """[n, dim]: around 200 centres drawn from Dirichlet(0.2), or independent from Dirichlet(1), which is dense."""
    rng = np.random.default_rng(seed)
    if not clustered:
        return _normal(rng.standard_exponential((n, dim), np.float32) + np.float32(1e-9))
    centres = _normal(np.random.default_rng(0).standard_gamma(0.2, (200, dim)) + 1e-6)
    out = np.empty((n, dim), np.float32)
    for first in range(0, n, 65536):
        rows = out[first : first + 65536]
        mass = centres[rng.integers(0, len(centres), len(rows))] * 200
        rows[:] = _normal(rng.standard_gamma(mass, dtype=np.float32) + np.float32(1e-9))
    return out


class Maker:
    """Makes data sets by name; pictures are read once."""

    def __init__(self, data: str | Path | None, threads: int) -> None:
        self.threads = threads
        self.pictures, self.source = read_sources(data)

    def make(self, name: str, n: int, n_queries: int) -> Data:
        """n rows and other n_queries queries of the same kind.

        Raises: ImportError: crops need Numba.
        """
        rows, queries = (self._rows(name, count, seed) for count, seed in ((n, 1), (n_queries, 2)))
        return Data(name, 3 if name == REAL else 1, rows, queries)

    def _rows(self, name: str, n: int, seed: int) -> NDArray[np.float32]:
        if name in (REAL, JOINT):
            bins, joint = (32, False) if name == REAL else (8, True)
            return make_crops(self.pictures, n, bins, joint, seed, self.threads)
        return make_random(n, 96, name == CLUSTERED, seed)
