"""The C++ implementation: all regions of a label map in one walk over its memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...alloc import empty


def encode_mask(mask: NDArray[np.bool_]) -> str:
    """Same as ``reference.encode_mask``; mask must be C-contiguous."""
    return _native.encode_mask(mask)


def encode_rle(ids: NDArray[np.int32], n_segments: int) -> list[str] | None:
    """Same as ``reference.encode_rle``; ids must be C-contiguous int32."""
    strings: list[str] | None = _native.encode_rle(ids, n_segments)
    return strings


def decode_rle(text: str, size: tuple[int, int]) -> tuple[NDArray[np.bool_], int]:
    """Same as ``reference.decode_rle``; where there is a fault, part of the mask may be filled."""
    mask = empty(size, np.bool_)
    return mask, _native.decode_rle(text, mask)


def decode_regions(texts: Sequence[str], size: tuple[int, int]) -> tuple[NDArray[np.int32], int, int]:
    """Same as ``reference.decode_regions``; where there is a fault, part of the map may be filled."""
    ids = empty(size, np.int32)
    fault, index = _native.decode_regions(list(texts), ids)
    return ids, fault, index
