"""region_geometry, region_colors, region_adjacency: what the regions of a label map are like."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_threads
from ..errors import DtypeError, ShapeError
from ..kernels.region_geometry import region_adjacency as _adjacency
from ..kernels.region_geometry import region_colors as _colors
from ..kernels.region_geometry import region_geometry as _geometry
from ..types import RegionGeometry
from .segment_ids import bad_ids, take_ids


def region_geometry(
    segments: Any, n_segments: int | None = None, *, labels: Any = None, num_threads: int | None = None
) -> RegionGeometry:
    """Area, box, perimeter of each region, and the length of the label boundaries inside it.

    Lengths are counts of pixel edges: of pairs of pixels that are neighbours along an axis.

    Args:
        segments: [H, W] integer ids 0..S - 1, -1 where there is no region; any integer dtype, any strides.
        n_segments: S; None takes the largest id + 1.
        labels: [H, W] integers or bool, for example the predicted classes; None: no label edges.
        num_threads: None uses every CPU of the process; same result for any number.
    Returns: :class:`alseg_fast.types.RegionGeometry`.
    Raises: ShapeError, DtypeError, RangeError; the message names the argument.
    Back ends: native (CPU), reference.
    """
    name = "region_geometry"
    ids, count = take_ids(name, segments, n_segments)
    classes = None
    if labels is not None:
        classes = np.asarray(labels)
        _check_size(name, "labels", classes, ids.shape)
        if classes.dtype.kind not in "iub":
            raise DtypeError(f"{name}: labels must be integers or bool; got {classes.dtype}. Pass class ids.")
        classes = np.ascontiguousarray(classes)
    found = _geometry("cpu", ids, count, classes, check_threads(name, num_threads))
    if found is None:
        raise bad_ids(name, ids, count)
    return RegionGeometry(*found)


def region_colors(
    image: Any, segments: Any, n_segments: int | None = None, *, num_threads: int | None = None
) -> NDArray[np.float32]:
    """Mean colour of each region: [S, 3] float32 in 0..255, 0 for a region without a pixel.

    Args:
        image: [H, W, 3], [H, W, 1] or [H, W] uint8; grey is repeated.
        segments, n_segments, num_threads: as :func:`region_geometry`.
    Raises: ShapeError, DtypeError, RangeError; the message names the argument.
    Back ends: native (CPU), reference.
    """
    name = "region_colors"
    ids, count = take_ids(name, segments, n_segments)
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        raise DtypeError(f"{name}: image must be uint8; got {pixels.dtype}. Convert it to 0..255 first.")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        raise ShapeError(f"{name}: image must have 1 or 3 channels; got {list(pixels.shape)}. Drop an alpha channel.")
    if pixels.ndim not in (2, 3):
        raise ShapeError(
            f"{name}: image must have shape [H, W, 3] or [H, W]; got {list(pixels.shape)}. Pass one image."
        )
    _check_size(name, "image", pixels, ids.shape)
    means: NDArray[np.float32] | None
    means = _colors("cpu", np.ascontiguousarray(pixels), ids, count, check_threads(name, num_threads))
    if means is None:
        raise bad_ids(name, ids, count)
    return means


def region_adjacency(
    segments: Any, n_segments: int | None = None, *, num_threads: int | None = None
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Which regions are neighbours, and how long their common border is.

    Args: as :func:`region_geometry`.
    Returns: pairs [E, 2] int32 of ids i < j in ascending order, lengths [E] int64 of their common pixel edges.
    Raises: ShapeError, DtypeError, RangeError; the message names the argument.
    Back ends: native (CPU), reference.
    """
    name = "region_adjacency"
    ids, count = take_ids(name, segments, n_segments)
    found: tuple[NDArray[np.int32], NDArray[np.int64]] | None
    found = _adjacency("cpu", ids, count, check_threads(name, num_threads))
    if found is None:
        raise bad_ids(name, ids, count)
    return found


def _check_size(name: str, argument: str, x: NDArray[Any], size: tuple[int, ...]) -> None:
    if x.shape[:2] != size or (argument == "labels" and x.ndim != 2):
        raise ShapeError(
            f"{name}: {argument} must have the size of segments {list(size)}; got {list(x.shape)}. "
            "Make the regions on the image at the same size."
        )
