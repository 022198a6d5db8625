"""What `bench histogram` measures: sizes, histograms, ways to count by name, and the gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

import alseg_fast as alseg

Image = NDArray[np.uint8]
Histogram = NDArray[np.float32]
Call = Callable[[], Histogram]

OURS, DECODE = "alseg", "JPEG decode (simplejpeg)"
SIZES, QUICK_SIZES = ((960, 1280), (321, 481)), ((120, 160),)
SPECS = ("rgb:32", "rgb:8:joint", "hsv:32", "lab:32", "belharbi")
_EXACT = 2e-7  # of a bin's share, where the definitions are the same
# Mean over channels of the sum of differences, where a peer rounds otherwise: its hue and saturation come from
# tables, its CIELAB from another fixed-point form, its recipe has hard bins.
_LOOSE = {"hsv": 0.35, "lab": 0.35, "belharbi": 0.05}


@dataclass(frozen=True)
class Peer:
    """A baseline by where its function lives; its library loads when it is used."""

    name: str
    target: str  # "module:function" in baselines/

    def make(self, image: Image, spec: alseg.HistogramSpec, threads: int) -> Call:
        module, function = self.target.split(":")
        loaded: Any = import_module(f".baselines.{module}", __package__)
        call: Call = getattr(loaded, function)(image, spec.space, spec.bins, spec.joint, threads)
        return call


COUNTING = (
    Peer("OpenCV calcHist", "histogram_opencv:calc_hist"),
    Peer("NumPy bincount", "histogram_numpy:bincount"),
    Peer("NumPy histogram", "histogram_numpy:histogram"),
)
BELHARBI = (
    Peer("Pillow and NumPy, ordinary bins", "histogram_numpy:belharbi_bins"),
    Peer("Pillow and NumPy, as published", "histogram_numpy:belharbi_sigmoids"),
)


def peers_of(spec: alseg.HistogramSpec) -> tuple[Peer, ...]:
    return BELHARBI if spec.space == "belharbi" else COUNTING


def our_call(image: Image, spec: alseg.HistogramSpec, threads: int) -> Call:
    return lambda: spec.compute(image, num_threads=threads)


def check(row: Histogram, expected: Histogram, spec: alseg.HistogramSpec, ours: bool) -> str | None:
    """None, or what is wrong with a row [D]; `expected` is that of the reference."""
    if row.shape != expected.shape or row.dtype != np.float32:
        return f"shape {list(row.shape)} {row.dtype}, not {list(expected.shape)} float32"
    if ours:
        return None if np.array_equal(row, expected) else "not what the reference gives"
    loose = _LOOSE.get(spec.space)
    difference = np.abs(row - expected)
    if loose is None:
        worst = float(difference.max())
        return None if worst <= _EXACT else f"a bin is off by {worst:.3g}"
    mean = float(difference.sum()) / spec.channels
    return None if mean <= loose else f"{mean:.3g} of the pixels are in other bins"
