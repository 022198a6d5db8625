"""NumPy's ways to count, after OpenCV's conversions where the space is not RGB; and the published recipe by steps."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

Call = Callable[[], NDArray[np.float32]]

_HEIGHT, _SATURATION, _SIGMA, _SLOPE, _SMOOTHING = 128, 3.0, 0.9, 1e5, 1e-8


def _converter(space: str, threads: int) -> Callable[[NDArray[np.uint8]], Any]:
    if space == "rgb":
        return lambda image: image
    import cv2

    cv2.setNumThreads(threads)
    code = {"hsv": cv2.COLOR_RGB2HSV_FULL, "lab": cv2.COLOR_RGB2Lab}[space]
    return lambda image: cv2.cvtColor(image, code)


def _shares(counts: Any, pixels: int) -> NDArray[np.float32]:
    shares: NDArray[np.float32] = (counts / pixels).astype(np.float32)
    return shares


def bincount(image: NDArray[np.uint8], space: str, bins: int, joint: bool, threads: int) -> Call:
    """np.bincount of the bins."""
    convert = _converter(space, threads)
    pixels = image.shape[0] * image.shape[1]

    def together() -> NDArray[np.float32]:
        b = convert(image).astype(np.uint16) * np.uint16(bins) >> 8
        index = (b[..., 0] * np.uint16(bins) + b[..., 1]) * np.uint16(bins) + b[..., 2]
        return _shares(np.bincount(index.ravel(), minlength=bins**3), pixels)

    def apart() -> NDArray[np.float32]:
        x = convert(image)
        edges = np.arange(256) * bins // 256  # bytes are counted, which needs no array of bins, and then folded
        counts = [np.bincount(edges, np.bincount(x[..., c].ravel(), minlength=256), bins) for c in range(3)]
        return _shares(np.concatenate(counts), pixels)

    return together if joint else apart


def histogram(image: NDArray[np.uint8], space: str, bins: int, joint: bool, threads: int) -> Call:
    """np.histogram a channel, or np.histogramdd."""
    convert = _converter(space, threads)
    pixels = image.shape[0] * image.shape[1]

    def together() -> NDArray[np.float32]:
        counts, _ = np.histogramdd(convert(image).reshape(-1, 3), bins, [(0, 256)] * 3)
        return _shares(counts.ravel(), pixels)

    def apart() -> NDArray[np.float32]:
        x = convert(image)
        return _shares(np.concatenate([np.histogram(x[..., c], bins, (0, 256))[0] for c in range(3)]), pixels)

    return together if joint else apart


def _smoothed(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The recipe up to its histogram: [128, w, 3] in 0..1."""
    vivid = ImageEnhance.Color(Image.fromarray(image)).enhance(_SATURATION)
    width = max(1, image.shape[1] * _HEIGHT // image.shape[0])
    small = np.asarray(vivid.resize((width, _HEIGHT), Image.Resampling.BICUBIC), np.float32) / np.float32(255)
    line = np.exp(-(np.arange(-1, 2) ** 2) / (2 * _SIGMA**2))
    line = (line / line.sum()).astype(np.float32)
    p = np.pad(small, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    p = line[0] * (p[:-2] + p[2:]) + line[1] * p[1:-1]
    smoothed: NDArray[np.float32] = line[0] * (p[:, :-2] + p[:, 2:]) + line[1] * p[:, 1:-1]
    return smoothed


def _normalised(counts: list[NDArray[np.float64]]) -> NDArray[np.float32]:
    return np.concatenate([(c + _SMOOTHING) / (c + _SMOOTHING).sum() for c in counts]).astype(np.float32)


def belharbi_bins(image: NDArray[np.uint8], space: str, bins: int, joint: bool, threads: int) -> Call:
    """The published recipe with ordinary bins, where 0.0 and 1.0 count half: NumPy's fastest form of it."""

    def call() -> NDArray[np.float32]:
        smoothed = _smoothed(image)
        counts = []
        for c in range(3):
            v = smoothed[..., c].ravel()
            count = np.bincount(np.clip(v * bins, 0, bins - 1).astype(np.intp), minlength=bins).astype(np.float64)
            count[0] -= np.count_nonzero(v <= 0) / 2
            count[-1] -= np.count_nonzero(v >= 1) / 2
            counts.append(count)
        return _normalised(counts)

    return call


def belharbi_sigmoids(image: NDArray[np.uint8], space: str, bins: int, joint: bool, threads: int) -> Call:
    """The published recipe as it was written: every value through the two sigmoids of every bin."""
    edges = np.arange(bins + 1) / bins

    def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return 0.5 * (1 + np.tanh(x / 2))

    def call() -> NDArray[np.float32]:
        smoothed = _smoothed(image).astype(np.float64)
        counts = []
        for c in range(3):
            v = smoothed[..., c].ravel()
            pairs = pairwise(edges)
            shares = [(sigmoid(_SLOPE * (v - low)) * sigmoid(_SLOPE * (high - v))).sum() for low, high in pairs]
            counts.append(np.array(shares))
        return _normalised(counts)

    return call
