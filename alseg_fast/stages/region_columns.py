"""From the pooled scores of a picture's regions to the columns of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ops import encode_rle, region_clicks, region_crf, region_geometry, region_probs, region_seconds
from .regions import PictureRegions, at_size


def region_columns(
    regions: PictureRegions,
    pooled: Mapping[str, NDArray[Any]],
    measures: Sequence[str],
    segments: NDArray[np.int32],
    labels: NDArray[Any],
    image_size: tuple[int, int],
) -> dict[str, Any]:
    """The columns of `run_layout.regions_schema` but `image_id` and those of the CRF.

    Args:
        regions: of the picture.
        pooled: "<measure>_mean" [S'] and "class_fraction" [S', L] over `segments`, S' >= S.
        measures: names.
        segments: [h, w] the regions at the size of the scores.
        labels: [h, w] predicted classes there.
        image_size: (height, width) of the picture, whose pixels boxes, areas and masks count.

    The sum of a measure over a region is its mean times the region's area in the picture.
    """
    count = regions.count
    whole = at_size(regions.segments, image_size)
    geometry = region_geometry(whole, count, num_threads=1)
    inside = region_geometry(segments, count, labels=labels, num_threads=1)
    assert inside.label_edges is not None
    # Lengths grow with the side: a border drawn at the size of the scores is this much longer in the picture.
    scale = np.sqrt(whole.size / segments.size)
    geometry = replace(geometry, label_edges=np.rint(inside.label_edges * scale).astype(np.int64))
    fraction = pooled["class_fraction"][:count]
    clicks = region_clicks(geometry, fraction)
    columns: dict[str, Any] = {"region_id": np.arange(count)}
    columns.update(zip("xywh", geometry.boxes.T, strict=True))
    columns["area"] = geometry.area
    columns["class"] = fraction.argmax(axis=1).astype(np.int32)
    for measure in measures:
        mean = pooled[f"{measure}_mean"][:count]
        columns[f"{measure}_mean"] = mean
        columns[f"{measure}_sum"] = mean.astype(np.float64) * geometry.area
    columns["class_fraction"] = fraction
    columns["cost_clicks"] = clicks
    columns["cost_seconds"] = region_seconds(clicks)
    columns["rle"] = encode_rle(whole, count)
    return columns


def crf_columns(
    regions: PictureRegions,
    logits: NDArray[Any],
    segments: NDArray[np.int32],
    activation: str,
    box: tuple[float, float, float, float] | None,
) -> dict[str, Any]:
    """Class and entropy of every region after the mean field over its neighbours.

    Args:
        logits: [C, h, w] or [T, C, h, w] as the model gave them.
        segments: the regions at the size of the scores.
    """
    probs = region_probs(logits, segments, regions.count, activation=activation, box=box, num_threads=1)
    probs = region_crf(None, None, probs, colors=regions.colors, adjacency=regions.adjacency, num_threads=1)
    safe = np.maximum(probs, np.finfo(np.float32).tiny)
    return {
        "crf_class": probs.argmax(axis=1).astype(np.int32),
        "crf_entropy": np.maximum(-(probs * np.log(safe)).sum(axis=1), 0.0),
    }
