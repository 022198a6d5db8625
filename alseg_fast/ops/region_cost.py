"""region_clicks, region_seconds: what it is expected to cost to annotate a region."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, RangeError, ShapeError
from ..types import RegionGeometry

# A point, as quoted in the literature on weak labels, beside 1 s for an image tag (a class), 10 s for a box and 78 s
# for the mask of an instance.
SECONDS_PER_CLICK = 2.4


def region_clicks(
    geometry: RegionGeometry, class_fraction: Any, *, min_share: float = 0.05, pixels_per_click: float = 10.0
) -> NDArray[np.float32]:
    """Expected clicks to annotate each region: its parts are named, and the borders between them are drawn.

    clicks = (number of classes with at least `min_share` of the region's predicted pixels, and no fewer than one)
    + (length of the predicted class borders inside the region) / `pixels_per_click`. A region predicted as one class
    costs one click; a region without a pixel costs none. Clicks are an expectation and not rounded.

    The model and its constants are this package's choice: publications count the clicks of real polygons, which do
    not exist before the annotation. Lengths are pixel edges: on average over directions, 4 / pi times that of the
    line that is drawn.

    Args:
        geometry: of S regions, measured with `labels` (``region_geometry(segments, labels=...)``).
        class_fraction: [S, L] share of each region's pixels predicted as each class; rows sum to 1, those of regions
            without a pixel are not looked at (``alseg.uncertainty(..., class_stats=True).segments``).
        min_share: of the region's pixels, in [0, 1]; smaller parts are noise of the prediction that nobody names.
        pixels_per_click: distance of the vertices of a drawn border, in pixel edges.
    Returns: [S] float32.
    Raises: ShapeError, RangeError, DataError; the message names the argument.
    """
    name = "region_clicks"
    if geometry.label_edges is None:
        raise ShapeError(f"{name}: geometry must have label_edges; got None. Measure it with labels.")
    area, edges = np.asarray(geometry.area), np.asarray(geometry.label_edges)
    shares = np.asarray(class_fraction, np.float64)
    if shares.ndim != 2 or shares.shape[0] != area.size or shares.shape[1] < 1:
        raise ShapeError(
            f"{name}: class_fraction must have shape [S, L] with S = {area.size}; got {list(shares.shape)}. "
            "Pass one row a region of the geometry."
        )
    if not 0 <= min_share <= 1:
        raise RangeError(f"{name}: min_share must be in [0, 1]; got {min_share!r}. 0.05 is the default.")
    if not (math.isfinite(pixels_per_click) and pixels_per_click > 0):
        raise RangeError(f"{name}: pixels_per_click must be positive; got {pixels_per_click!r}. 10 is the default.")
    filled = area > 0
    wrong = filled & ~((np.abs(shares.sum(axis=1) - 1) <= 1e-3) & (shares >= 0).all(axis=1))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DataError(
            f"{name}: class_fraction must hold shares that sum to 1; got {shares[first].sum():.4g} in row {first}. "
            "Divide counts by the region's area."
        )
    named = np.maximum(1, ((shares >= min_share) & (shares > 0)).sum(axis=1))
    clicks: NDArray[np.float32] = np.where(filled, named + edges / pixels_per_click, 0).astype(np.float32)
    return clicks


def region_seconds(clicks: Any, *, seconds_per_click: float = SECONDS_PER_CLICK) -> NDArray[np.float32]:
    """Expected seconds for that many clicks, of which each is a point.

    Args:
        clicks: any shape, finite and not negative (:func:`region_clicks`).
        seconds_per_click: 2.4 s is the time of one point in Bearman et al. (2016).
    Returns: float32 of the shape of `clicks`.
    Raises: RangeError, DataError; the message names the argument.
    Source: Bearman et al., What's the Point: Semantic Segmentation with Point Supervision, ECCV 2016.
    """
    name = "region_seconds"
    if not (math.isfinite(seconds_per_click) and seconds_per_click > 0):
        raise RangeError(f"{name}: seconds_per_click must be positive; got {seconds_per_click!r}. 2.4 is the default.")
    counts = np.asarray(clicks, np.float64)
    if not (np.isfinite(counts).all() and (counts >= 0).all()):
        raise DataError(f"{name}: clicks must be finite and >= 0; got {counts.min():.4g} to {counts.max():.4g}.")
    seconds: NDArray[np.float32] = (counts * seconds_per_click).astype(np.float32)
    return seconds
