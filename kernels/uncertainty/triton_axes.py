"""Where output pixels lie between source pixels, as small arrays on the device, and the bands of rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .common import Request
from .reference import axis_positions

ROW_CHOICES = (1, 2, 4, 8, 16)
# One pixel costs about 8 instructions a class, one column about 20 (four loads, their addresses, three blends).
COLUMN_COST = 2.5


@dataclass(frozen=True)
class Axes:
    """Positions in float64, rounded once; the device arrays are what the kernels take."""

    on_device: tuple[Any, ...]  # x_index [W] int32, x_frac [W] float32, y_index [H], y_frac [H], bands [B + 1] int32
    n_bands: int
    identity: bool  # source and output pixels are the same


@lru_cache(maxsize=256)
def _positions(n_in: int, n_out: int, start: float, extent: float, align_corners: bool) -> Any:
    left, _, frac = axis_positions(n_in, n_out, start, extent, align_corners)
    frac32 = frac.astype(np.float32)
    same = n_in == n_out and bool((left == np.arange(n_out)).all()) and not frac32.any()
    return left.astype(np.int32), frac32, same


def cut_bands(index: NDArray[np.int32], rows: int) -> NDArray[np.int32]:
    """[B + 1] first rows of the bands: runs of at most `rows` equal indices; the last entry is the number of rows."""
    starts = np.flatnonzero(np.r_[True, index[1:] != index[:-1]])
    ends = np.r_[starts[1:], len(index)]
    pieces = [np.arange(a, b, rows) for a, b in zip(starts, ends, strict=True)]
    return np.asarray(np.r_[np.concatenate(pieces), len(index)], np.int32)


def best_rows(index: NDArray[np.int32], limit: int) -> int:
    """Rows a tile that cost least: a tall tile shares columns, but part of it is idle where a run is shorter."""
    choices = [r for r in ROW_CHOICES if r <= limit]
    return min(choices, key=lambda r: (len(cut_bands(index, r)) - 1) * (r + COLUMN_COST))


def rows_for(request: Request, shape: tuple[int, int], limit: int) -> int:
    """Rows of a tile, at most `limit`, for logits of [h, w] = `shape`; 1 where the sizes are the same."""
    if is_identity(request, shape):
        return 1
    return best_rows(_vertical(request, shape)[0], limit)


def is_identity(request: Request, shape: tuple[int, int]) -> bool:
    return bool(_vertical(request, shape)[2] and _horizontal(request, shape)[2])


def _vertical(request: Request, shape: tuple[int, int]) -> Any:
    return _positions(shape[0], request.size[0], request.box[0], request.box[2], request.align_corners)


def _horizontal(request: Request, shape: tuple[int, int]) -> Any:
    return _positions(shape[1], request.size[1], request.box[1], request.box[3], request.align_corners)


def axes_for(request: Request, shape: tuple[int, int], rows: int, device: Any) -> Axes:
    key = (request.size, request.box, request.align_corners, shape, rows, str(device))
    return _axes(*key)


@lru_cache(maxsize=64)
def _axes(
    size: tuple[int, int],
    box: tuple[float, float, float, float],
    align_corners: bool,
    shape: tuple[int, int],
    rows: int,
    device: str,
) -> Axes:
    y_index, y_frac, same_y = _positions(shape[0], size[0], box[0], box[2], align_corners)
    x_index, x_frac, same_x = _positions(shape[1], size[1], box[1], box[3], align_corners)
    bands = cut_bands(y_index, rows)
    arrays = tuple(torch.from_numpy(a).to(device) for a in (x_index, x_frac, y_index, y_frac, bands))
    return Axes(arrays, len(bands) - 1, same_x and same_y)
