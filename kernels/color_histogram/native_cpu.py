"""The C++ implementation: planes of bytes, then bit planes or increments, whichever suits the bins."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty
from ..slic.common import A_BITS, B_BITS, lab_tables

_SPACE_CODES = {"rgb": 0, "hsv": 1, "lab": 2}


@cache
def _lab_tables() -> tuple[NDArray[np.uint64], NDArray[np.uint32], NDArray[np.uint8]]:
    """to_xyz [3, 256] as in slic; ab [3, 8192]: what X, Y, Z add to 2^6 a, and shifted by 16 bits to 2^7 b, rounding
    and the offset of 128 included; lightness [8192]."""
    to_xyz, roots = lab_tables()
    lightness, of_a, of_b = (roots[:, k].astype(np.int64) for k in range(3))
    half_a, half_b = (128 << A_BITS) + (1 << A_BITS - 1), (128 << B_BITS) + (1 << B_BITS - 1)
    ab = np.stack([of_a, half_a - of_a + (half_b + of_b) * 65536, -of_b * 65536])
    return to_xyz, (ab % 2**32).astype(np.uint32), lightness.astype(np.uint8)


def color_histogram(
    images: Sequence[NDArray[np.uint8]],
    masks: Sequence[NDArray[np.bool_]] | None,
    space: str,
    bins: int,
    joint: bool,
    num_threads: int = 0,
) -> NDArray[np.uint64]:
    """Same as ``reference.color_histogram``; masks must be C-contiguous."""
    counts = empty((len(images), bins**3 if joint else 3 * bins), np.uint64)
    to_xyz, ab, lightness = _lab_tables() if space == "lab" else (None, None, None)
    _native.color_histogram(
        images=list(images),
        masks=None if masks is None else list(masks),
        space=_SPACE_CODES[space],
        bins=bins,
        joint=joint,
        to_xyz=to_xyz,
        ab=ab,
        lightness=lightness,
        num_threads=num_threads,
        counts=counts,
    )
    return counts
