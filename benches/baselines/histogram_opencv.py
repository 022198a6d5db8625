"""OpenCV's calcHist: one call a channel, or one for all three together; its own conversions before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Call = Callable[[], NDArray[np.float32]]

_CONVERSIONS = {"hsv": cv2.COLOR_RGB2HSV_FULL, "lab": cv2.COLOR_RGB2Lab}


def _converter(space: str) -> Callable[[NDArray[np.uint8]], Any]:
    code = _CONVERSIONS.get(space)
    return (lambda image: image) if code is None else (lambda image: cv2.cvtColor(image, code))


def calc_hist(image: NDArray[np.uint8], space: str, bins: int, joint: bool, threads: int) -> Call:
    """[D] float32 of the pixels as they lie."""
    cv2.setNumThreads(threads)
    convert = _converter(space)
    pixels = image.shape[0] * image.shape[1]

    def together() -> NDArray[np.float32]:
        found = cv2.calcHist([convert(image)], [0, 1, 2], None, [bins] * 3, [0, 256] * 3)
        return np.asarray(found.ravel() / np.float32(pixels))

    def apart() -> NDArray[np.float32]:
        converted = [convert(image)]
        found = [cv2.calcHist(converted, [c], None, [bins], [0, 256]) for c in range(3)]
        return np.asarray(np.concatenate(found).ravel() / np.float32(pixels))

    return together if joint else apart
