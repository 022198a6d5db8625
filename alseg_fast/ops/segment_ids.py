"""Maps of region ids as the kernels take them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_ndim
from ..errors import DtypeError, RangeError

# Every function keeps a row for every id: sparse ids, such as colours, would fill the memory with nothing.
_FEW_IDS = 65536
_NARROW = ("int8", "int16", "int32", "uint8", "uint16")


def take_ids(name: str, segments: Any, n_segments: int | None) -> tuple[NDArray[np.int32], int]:
    """[H, W] integers -> (C-contiguous int32 [H, W], S). Where `n_segments` is given, the kernel checks the range."""
    ids = np.asarray(segments)
    check_ndim(name, "segments", ids, (2,), "[H, W]")
    if ids.dtype.kind not in "iu":
        raise DtypeError(
            f"{name}: segments must be integers; got {ids.dtype}. Pass ids from 0, and -1 where there is no region."
        )
    if n_segments is None:
        n_segments = max(0, int(ids.max()) + 1)
    elif isinstance(n_segments, bool) or not isinstance(n_segments, (int, np.integer)) or n_segments < 0:
        raise RangeError(
            f"{name}: n_segments must be None or an integer >= 0; got {n_segments!r}. None takes the largest id + 1."
        )
    # Narrowing could turn a wrong id into a right one.
    wide = ids.dtype.name not in _NARROW and (int(ids.min()) < -1 or int(ids.max()) >= n_segments)
    if wide or n_segments > 2**31 - 1:
        raise bad_ids(name, ids, n_segments)
    if n_segments > max(_FEW_IDS, ids.size):
        raise RangeError(
            f"{name}: segments must have no more ids than pixels ({ids.size}), or {_FEW_IDS}; got {n_segments}. "
            "Relabel them from 0 without gaps."
        )
    return np.ascontiguousarray(ids, np.int32), int(n_segments)


def bad_ids(name: str, segments: Any, n_segments: int) -> RangeError:
    """The error for ids out of range."""
    ids = np.asarray(segments)
    return RangeError(
        f"{name}: segments must be ids from 0 to n_segments - 1 = {n_segments - 1}, or -1 where there is no region; "
        f"got {int(ids.min())} to {int(ids.max())}. Relabel them, or give the number of regions."
    )
