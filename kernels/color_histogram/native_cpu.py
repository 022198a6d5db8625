"""The C++ implementation: planes of bytes, then bit planes or increments, whichever suits the bins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty
from ..slic.common import lab_tables

_SPACE_CODES = {"rgb": 0, "hsv": 1, "lab": 2}


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
    to_xyz, roots = lab_tables() if space == "lab" else (None, None)
    _native.color_histogram(
        images=list(images),
        masks=None if masks is None else list(masks),
        space=_SPACE_CODES[space],
        bins=bins,
        joint=joint,
        to_xyz=to_xyz,
        roots=roots,
        num_threads=num_threads,
        counts=counts,
    )
    return counts
