"""Perceptual hash of a picture: near-duplicates differ in few of its 64 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..ops import resize_normalize

_SIDE, _LOW = 32, 8
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_ROWS = 4 * _SIDE  # rows looked at; more change no bit that matters and cost a pass over the whole picture


def _dct_rows() -> NDArray[np.float32]:
    """The first 8 rows of the orthonormal type-II DCT of length 32."""
    k, n = np.arange(_LOW)[:, None], np.arange(_SIDE)
    rows = np.cos(np.pi * k * (2 * n + 1) / (2 * _SIDE)) * np.sqrt(2 / _SIDE)
    rows[0] /= np.sqrt(2)
    return np.asarray(rows, np.float32)


_DCT = _dct_rows()


def phash(image: NDArray[np.uint8]) -> int:
    """64-bit perceptual hash: which low frequencies of the 32 x 32 luma lie above their median.

    Args:
        image: [h, w, 3] uint8 RGB.
    Returns: an unsigned 64-bit integer; bits row by row, lowest frequency first and highest bit first.
    Source: Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions (2010), section 3.2.1.
    """
    small = np.empty((3, _SIDE, _SIDE), np.float32)
    resize_normalize(image[:: max(1, image.shape[0] // _ROWS)], small, num_threads=1)
    luma = (_LUMA @ small.reshape(3, -1)).reshape(_SIDE, _SIDE)
    frequencies = (_DCT @ luma @ _DCT.T).ravel()
    ranked = np.sort(frequencies)
    median = 0.5 * (ranked[ranked.size // 2 - 1] + ranked[ranked.size // 2])
    return int.from_bytes(np.packbits(frequencies > median).tobytes(), "big")
