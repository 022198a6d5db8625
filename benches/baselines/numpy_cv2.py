"""NumPy and OpenCV: cv2.resize plane by plane, then NumPy in place over blocks of rows that fit the cache."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .signature import Call, Outputs

_BLOCK_PIXELS = 16384  # pixels a NumPy call: fewer cost more calls, more leave the cache


def set_threads(threads: int) -> None:
    """OpenCV only; NumPy's arithmetic uses one thread."""
    cv2.setNumThreads(threads)


def planes(logits: NDArray[np.float32], size: tuple[int, int]) -> Call:
    """Every array preallocated."""
    n_classes, (height, width) = logits.shape[1], size
    rows = max(1, _BLOCK_PIXELS // width)
    up = np.empty((n_classes, height, width), np.float32)
    entropy, gap = np.empty((2, 1, height, width), np.float32)
    labels = np.empty((1, height, width), np.uint8)
    first, second, total, moment, t, e = np.empty((6, rows, width), np.float32)
    above = np.empty((rows, width), bool)

    def measure(y: int, n: int) -> None:
        a, b, s, m, d, x, over = first[:n], second[:n], total[:n], moment[:n], t[:n], e[:n], above[:n]
        label = labels[0, y : y + n]
        a[...] = up[0, y : y + n]
        b.fill(-np.inf)
        label.fill(0)
        for c in range(1, n_classes):
            plane = up[c, y : y + n]
            np.greater(plane, a, out=over)
            np.copyto(label, c, where=over)
            np.minimum(plane, a, out=d)
            np.maximum(b, d, out=b)
            np.maximum(a, plane, out=a)
        s.fill(0)
        m.fill(0)
        for c in range(n_classes):
            np.subtract(up[c, y : y + n], a, out=d)
            np.exp(d, out=x)
            s += x
            d *= x
            m += d
        np.subtract(b, a, out=d)
        np.exp(d, out=d)
        np.subtract(1, d, out=d)
        np.divide(d, s, out=gap[0, y : y + n])
        m /= s
        np.log(s, out=s)
        np.subtract(s, m, out=entropy[0, y : y + n])

    def call() -> Outputs:
        for c in range(n_classes):
            cv2.resize(logits[0, c], (width, height), dst=up[c], interpolation=cv2.INTER_LINEAR)
        for y in range(0, height, rows):
            measure(y, min(rows, height - y))
        return entropy, gap, labels

    return call
