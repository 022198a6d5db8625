"""Dropout masks from a counter-based generator: a mask depends on seed, place and pass only.

Not on torch's generator, the number of passes, the batch or the order of calls. Source of the generator:
Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011), Philox 4x64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PASSES_PER_BYTE = 8


def keep_mask(seed: int, place: int, index: int, shape: Sequence[int], p: float) -> NDArray[np.bool_]:
    """True where pass ``index`` keeps an element at dropout place ``place``: probability 1 - p, to 2^-32.

    Args:
        seed: 0 .. 2^64 - 1.
        place: number of the dropout call in the forward pass, from 0.
    Returns: bool array of ``shape``.
    """
    count = int(np.prod(shape, dtype=np.int64))
    key = np.array([seed, place << 32 | index], np.uint64)
    # The raw words of a bit generator are the same in every version of NumPy; its distributions are not.
    words = np.random.Philox(key=key).random_raw((count + 1) // 2).astype("<u8").view("<u4")[:count]
    keep: NDArray[np.bool_] = (words >= np.uint64(round(p * 2**32))).reshape(shape)
    return keep


def packed_masks(seed: int, place: int, n_passes: int, shape: Sequence[int], p: float) -> NDArray[np.uint8]:
    """Masks of passes 0 .. T-1, eight to a byte: [ceil(T / 8), *shape]; bit t % 8 of plane t // 8 is pass t."""
    packed = np.zeros((n_planes(n_passes), *shape), np.uint8)
    for t in range(n_passes):
        bit = np.uint8(t % PASSES_PER_BYTE)
        packed[t // PASSES_PER_BYTE] |= keep_mask(seed, place, t, shape, p).astype(np.uint8) << bit
    return packed


def n_planes(n_passes: int) -> int:
    """Bytes an element that the masks of T passes take."""
    return -(-n_passes // PASSES_PER_BYTE)


def gain(p: float) -> float:
    """Factor of the kept elements, 1 / (1 - p); 0 for p = 1, where none is kept."""
    return 1 / (1 - p) if p < 1 else 0.0
