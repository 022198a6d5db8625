"""What `bench slic` measures on: sizes, ways to segment by name, and the gate of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

import alseg_fast as alseg

from .baselines.superpixel_signature import COMPACTNESS, N_ITER

Image = NDArray[np.uint8]
Segments = NDArray[np.integer[Any]]

OURS, FRESH, ADAPTIVE = "alseg", "alseg, fresh outputs", "alseg, adaptive (SLICO)"
FAST, FAST_SCALAR, SKIMAGE = "fast-slic AVX2", "fast-slic", "skimage slic"
COUNT_SLACK = 0.2  # the real number of segments may differ from the asked one by so much


@dataclass(frozen=True)
class Case:
    """A picture of `size` (H, W) and the numbers of segments that are asked for."""

    size: tuple[int, int]
    counts: tuple[int, ...]


CASES = (Case((321, 481), (200, 1000)), Case((1024, 2048), (200, 1000, 2048)))
QUICK_CASES = (Case((160, 240), (60,)), Case((256, 512), (200,)))


@dataclass(frozen=True)
class Peer:
    """A baseline by where its function lives; its library loads when it is used."""

    name: str
    target: str  # "module:function" in baselines/
    in_speed: bool = True
    in_quality: bool = True

    def make(self, image: Image, n_segments: int, threads: int) -> Callable[[], Segments]:
        module, function = self.target.split(":")
        loaded: Any = import_module(f".baselines.{module}", __package__)
        call: Callable[[], Segments] = getattr(loaded, function)(image, n_segments, threads)
        return call


PEERS = (
    Peer(FAST, "slic_fast:avx2"),
    Peer(FAST_SCALAR, "slic_fast:scalar", in_quality=False),  # the same labels as with AVX2
    Peer("fast-slic LSC AVX2", "slic_fast:lsc_avx2"),
    Peer(SKIMAGE, "slic_skimage:slic"),
    Peer("skimage slic_zero", "slic_skimage:slic_zero", in_speed=False),
    Peer("OpenCV SLIC", "slic_opencv:slic"),
    Peer("OpenCV SLICO", "slic_opencv:slico"),
    Peer("OpenCV SEEDS, 10 iterations", "slic_opencv:seeds"),
    Peer("OpenCV SEEDS, 4 iterations", "slic_opencv:seeds_4"),
    Peer("OpenCV LSC", "slic_opencv:lsc"),
)


def our_calls(image: Image, n_segments: int, threads: int) -> dict[str, Callable[[], Segments]]:
    """Into kept memory, into fresh memory, and with a compactness of each segment's own."""

    def call(**options: Any) -> Segments:
        labels: Segments = alseg.slic(
            image, n_segments, COMPACTNESS, n_iter=N_ITER, space="lab", num_threads=threads, **options
        )
        return labels

    kept = np.empty(image.shape[:2], np.int32)
    return {OURS: lambda: call(out=kept), FRESH: lambda: call(), ADAPTIVE: lambda: call(adaptive=True)}


def count_components(labels: Segments) -> int:
    """Number of 4-connected parts of equal label.

    Every horizontal run of equal labels is a node; runs of equal label that touch a row below are joined.
    """
    height, width = labels.shape
    starts = np.ones((height, width), bool)
    starts[:, 1:] = labels[:, 1:] != labels[:, :-1]
    runs = np.cumsum(starts.ravel()).reshape(height, width) - 1
    touching = labels[1:] == labels[:-1]
    pairs = np.unique(np.stack([runs[:-1][touching], runs[1:][touching]], axis=1), axis=0)
    parent = list(range(int(runs[-1, -1]) + 1))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    left = len(parent)
    for a, b in pairs.tolist():
        a, b = root(a), root(b)
        if a != b:
            parent[max(a, b)] = min(a, b)
            left -= 1
    return left


def check_segments(labels: Segments, n_segments: int) -> str | None:
    """None if every segment is 4-connected, ids are 0, 1, ... in raster order and their number is about right."""
    n = int(labels.max()) + 1
    first = np.full(n, labels.size, np.int64)
    np.minimum.at(first, labels.ravel(), np.arange(labels.size))
    if int(labels.min()) < 0 or not bool((np.diff(first) > 0).all()) or int(first[-1]) == labels.size:
        return "ids are not 0, 1, ... in the order of their first pixels"
    parts = count_components(labels)
    if parts != n:
        return f"{n} segments have {parts} connected parts"
    if abs(n - n_segments) > COUNT_SLACK * n_segments:
        return f"{n} segments, {n_segments} were asked for"
    return None


def check_peer(labels: Segments, image: Image) -> str | None:
    """None if it is a label map of the picture with more than one segment."""
    if labels.shape != image.shape[:2]:
        return f"labels have shape {list(labels.shape)}, not {list(image.shape[:2])}"
    return None if len(np.unique(labels)) > 1 else "one segment alone"
