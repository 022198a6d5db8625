"""slic and grid_segments: the regions of an image that are scored, shown and paid for as one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..alloc import empty
from ..checks import check_choice, check_ndim, check_size, check_threads
from ..errors import DataError, DtypeError, RangeError, ShapeError
from ..kernels.slic import slic as _op
from ..kernels.slic.common import grid_for_mask, make_plan
from .simd import apply_simd_level

_NAME = "slic"
_MOST_COMPACTNESS = 1000.0
_MOST_PIXELS = 2**31 - 1


def slic(
    image: Any,
    n_segments: int,
    compactness: float = 10.0,
    *,
    n_iter: int = 10,
    space: str = "lab",
    adaptive: bool = False,
    blur: bool = True,
    min_size: float = 0.2,
    mask: Any = None,
    num_threads: int | None = None,
    out: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """SLIC superpixels: connected regions of like colour and about equal size.

    K-means from a regular grid of `n_segments` cells, in integers, so that every instruction set and any number of
    threads give the same labels. What the paper leaves open, and where this departs from it:

    - The distance of a pixel to a centre is |2.55 dL| + |da| + |db| + 2 compactness (|dx| + |dy|) / S with colours
      rounded to whole units and S = sqrt(H W / n_segments): sums of absolute differences follow the edges of BSDS500
      better than squares do. With space="rgb": |dR| + |dG| + |dB| of 0..255.
    - A pixel is compared with the centres of the grid cells that its block of 32 pixels touches, and of the cells
      around these, whatever way the centres have moved. Each begins with the mean of its cell.
    - While the centres move, some rows are looked at, at least four of each cell and at most every 16th (all with
      `mask`, and where cells are lower than eight pixels); the last assignment looks at all.
      Iterations end early when no centre moves.
    - Segments are the 4-connected parts of the clusters. Those below `min_size` are merged, in rounds, into the
      neighbour with the least d^2 / (shared border), d being the colour difference of the two clusters; then, as
      long as there are more than 1.1 n_segments, all but the largest so many.

    A constant image gives the cells of the grid; where the cells differ in size, the borders between them lie a
    pixel or two off.

    Args:
        image: [H, W], [H, W, 1] or [H, W, 3] (RGB): uint8; uint16, of which 65535 is white; or float in [0, 1].
            All are rounded to 8 bits a channel.
        n_segments: 1 .. H W, or .. the pixels of `mask`. Photographs of BSDS500 and CamVid
            give 0.87 to 1.1 times as many.
        compactness: 0 .. 1000; more makes rounder segments, less lets them follow colour. 10 suits photographs.
        n_iter: most rounds of moving the centres, >= 0.
        space: "lab" (CIELAB of sRGB under D65) or "rgb" (the channels as they are).
        adaptive: SLICO: `compactness` is not used, colour distances are divided by the largest one of each cluster in
            the round before (by at least 4 units), which makes segments as round in texture as elsewhere.
        blur: smooth the colours by the weights 1 2 1 along both axes first: less noise in the borders, and better
            agreement with people's outlines (BSDS500).
        min_size: least size of a segment, as a share (0 .. 1) of the mean size H W / n_segments.
        mask: [H, W] bool; pixels outside get -1, and `n_segments` are asked for inside. A part of the mask that is
            smaller than `min_size` and touches no other stays a segment.
        num_threads: None uses every CPU of the process; same bits for any number.
        out: [H, W] int32, C-contiguous, to be filled and returned.
    Returns: [H, W] int32, segments 0 .. S - 1, numbered by their first pixel in reading order.
    Raises: ShapeError, DtypeError, RangeError; DataError for NaN or inf. The message names the argument.
    Source: Achanta et al., SLIC Superpixels Compared to State-of-the-Art Superpixel Methods, TPAMI 2012; SLICO is
    the authors' parameter-free variant.
    Back ends: native (CPU), reference.
    """
    picture = _to_bytes(image)
    height, width = picture.shape[:2]
    inside = _take_mask(mask, (height, width))
    _check_numbers(compactness, n_iter, min_size)
    check_choice(_NAME, "space", space, ("lab", "rgb"))
    threads = check_threads(_NAME, num_threads)
    n_pixels = height * width if inside is None else int(np.count_nonzero(inside))
    if isinstance(n_segments, bool) or not isinstance(n_segments, (int, np.integer)) or n_segments < 1:
        raise RangeError(f"{_NAME}: n_segments must be an integer >= 1; got {n_segments!r}. Ask for at least one.")
    if n_pixels == 0:
        raise RangeError(f"{_NAME}: mask must hold at least one pixel; got none. Leave such images out.")
    if n_segments > n_pixels:
        where = "pixels of the image" if inside is None else "pixels of mask"
        raise RangeError(
            f"{_NAME}: n_segments must be in 1..{n_pixels}, the {where}; got {n_segments}. Ask for fewer segments."
        )
    labels = _take_out(out, (height, width))
    apply_simd_level()
    given: dict[str, Any] = {"compactness": float(compactness), "adaptive": bool(adaptive), "n_iter": int(n_iter)}
    given |= {"blur": bool(blur), "min_size": float(min_size)}
    if inside is None:
        plan = make_plan((height, width), int(n_segments), int(n_segments), sample=True, **given)
        filled: NDArray[np.int32] = _op("cpu", picture, None, plan, lab=space == "lab", num_threads=threads, out=labels)
        return filled
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    held = np.ascontiguousarray(inside[box])
    n_cells = grid_for_mask(held, int(n_segments))
    plan = make_plan(held.shape, n_cells, int(n_segments), sample=False, **given)
    labels = empty((height, width), np.int32) if labels is None else labels
    labels.fill(-1)
    labels[box] = _op("cpu", np.ascontiguousarray(picture[box]), held, plan, lab=space == "lab", num_threads=threads)
    return labels


def grid_segments(size: tuple[int, int], cell: int) -> NDArray[np.int32]:
    """Square cells instead of superpixels.

    Args:
        size: (H, W) in pixels.
        cell: side of a cell in pixels, >= 1; the last row and column of cells may be smaller.
    Returns: [H, W] int32, cells 0 .. S - 1 in reading order.
    Raises: ShapeError, RangeError.
    """
    name = "grid_segments"
    height, width = check_size(name, "size", size)
    if isinstance(cell, bool) or not isinstance(cell, (int, np.integer)) or cell < 1:
        raise RangeError(f"{name}: cell must be an integer >= 1; got {cell!r}. Give the side of a cell in pixels.")
    if height * width > _MOST_PIXELS:
        raise ShapeError(f"{name}: size must have at most 2^31 - 1 pixels; got {size!r}. Cut the image.")
    columns = np.arange(width, dtype=np.int64) // cell
    rows = np.arange(height, dtype=np.int64) // cell
    first = (rows * (int(columns[-1]) + 1)).astype(np.int32)
    cells: NDArray[np.int32] = first[:, None] + columns.astype(np.int32)
    return cells


def _to_bytes(image: Any) -> NDArray[np.uint8]:
    """[H, W, 1 or 3] uint8, C-contiguous."""
    x = np.asarray(image)
    check_ndim(_NAME, "image", x, (2, 3), "[H, W] or [H, W, 3]")
    if x.ndim == 3 and x.shape[2] not in (1, 3):
        raise ShapeError(f"{_NAME}: image must have 1 or 3 channels; got {list(x.shape)}. Convert it to RGB.")
    if x.shape[0] * x.shape[1] > _MOST_PIXELS or x.shape[1] > _MOST_PIXELS // 64:
        raise ShapeError(f"{_NAME}: image must have at most 2^31 - 1 pixels; got {list(x.shape)}. Cut it.")
    x = x[:, :, None] if x.ndim == 2 else x
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    if x.dtype == np.uint16:
        return ((x.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if x.dtype.kind != "f":
        raise DtypeError(f"{_NAME}: image must be uint8, uint16 or float in [0, 1]; got {x.dtype}. Convert it first.")
    if not np.isfinite(x).all():
        row, column, channel = (int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise DataError(
            f"{_NAME}: image must be finite; got {x[row, column, channel]} at row {row}, column {column}, "
            f"channel {channel}. Leave such images out."
        )
    if x.min() < 0 or x.max() > 1:
        raise RangeError(
            f"{_NAME}: image must be in [0, 1] where it is float; got {x.min()} to {x.max()}. Divide by its white."
        )
    return np.ascontiguousarray(np.rint(x * x.dtype.type(255)).astype(np.uint8))


def _take_mask(mask: Any, size: tuple[int, int]) -> NDArray[np.bool_] | None:
    if mask is None:
        return None
    inside = np.asarray(mask)
    if inside.shape != size:
        raise ShapeError(
            f"{_NAME}: mask must have the size of image {list(size)}; got {list(inside.shape)}. Resize it."
        )
    if inside.dtype != np.bool_:
        raise DtypeError(f"{_NAME}: mask must be bool; got {inside.dtype}. Compare it with a value first.")
    return inside


def _take_out(out: Any, size: tuple[int, int]) -> NDArray[np.int32] | None:
    if out is None:
        return None
    if not isinstance(out, np.ndarray) or out.dtype != np.int32:
        raise DtypeError(f"{_NAME}: out must be an int32 array; got {getattr(out, 'dtype', type(out).__name__)}.")
    if out.shape != size or not out.flags.c_contiguous or not out.flags.writeable:
        raise ShapeError(
            f"{_NAME}: out must be writable, C-contiguous and of size {list(size)}; got {list(out.shape)}. "
            "Leave it out to get a new array."
        )
    return out


def _check_numbers(compactness: Any, n_iter: Any, min_size: Any) -> None:
    for name, value, most in (("compactness", compactness, _MOST_COMPACTNESS), ("min_size", min_size, 1.0)):
        is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        if not is_number or not (math.isfinite(value) and 0 <= value <= most):
            raise RangeError(f"{_NAME}: {name} must be in 0..{most:g}; got {value!r}. Leave it out for the default.")
    if isinstance(n_iter, bool) or not isinstance(n_iter, (int, np.integer)) or n_iter < 0:
        raise RangeError(f"{_NAME}: n_iter must be an integer >= 0; got {n_iter!r}. 10 is the default.")
