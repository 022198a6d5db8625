"""Frozen values passed between the stages and handed to users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# NumPy arrays, or torch tensors where the caller passed torch tensors.
Array = Any

# Those of one pass, and those that compare T passes with each other. The order is that of every kernel's columns.
SINGLE_PASS_MEASURES = ("entropy", "margin", "least_confidence")
MC_MEASURES = ("expected_entropy", "mutual_information", "variance", "variation_ratio")
MEASURES = SINGLE_PASS_MEASURES + MC_MEASURES
ACTIVATIONS = ("softmax", "sigmoid", "probabilities", "cam")
CAM_BACKGROUND = 0.45  # score of the background beside maps in 0..1; the literature has 0.2 to 0.7
LABEL_THRESHOLDS = ("gmm", "gmm3", "otsu")  # of pseudo-labels, besides a number
REDUCTIONS = ("mean", "max", "top")
NO_REGIONS = "none"
NO_HISTOGRAM = "none"


@dataclass(frozen=True)
class Uncertainty:
    """What :func:`alseg_fast.uncertainty` returns. N images, S segments, L labels (C; 2 for one-channel models;
    C + 1 for "cam", whose label 0 is the background).

    Attributes:
        maps: measure -> [N, H, W] float32, 0 where a pixel is not valid; empty unless maps were asked for.
        labels: [N, H, W] uint8 (uint16 above 256 labels) arg-max class ids, or None.
        scores: "<measure>_<reduction>" -> [N] float32 over the valid pixels; NaN where there is none.
        class_fraction: [N, L] float32 share of pixels predicted as each class, or None.
        class_means: measure -> [N, L] float32 mean over the pixels predicted as the class (NaN: no such
            pixel); empty unless asked for.
        finite: [N] bool; False where the logits hold NaN or inf (only with ``nan_policy="mark"``), whose
            scores are NaN.
        segments: "<measure>_mean", "<measure>_sum" -> [N, S] float32 and float64, "area" -> [N, S] int64 valid
            pixels, "class_fraction" -> [N, S, L] float32 (with `class_stats`). A segment without a valid pixel has
            area 0, sum 0, and NaN for mean and class_fraction. Empty unless segments were given.
        valid_pixels: [N] int64 pixels that counted.
    """

    maps: Mapping[str, Array] = field(default_factory=dict)
    labels: Array | None = None
    scores: Mapping[str, Array] = field(default_factory=dict)
    class_fraction: Array | None = None
    class_means: Mapping[str, Array] = field(default_factory=dict)
    finite: Array | None = None
    segments: Mapping[str, Array] = field(default_factory=dict)
    valid_pixels: Array | None = None
    # What `out=` writes into again: the checked request and the arrays behind this value.
    _workspace: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class RegionGeometry:
    """What :func:`alseg_fast.ops.region_geometry` returns, for regions 0..S - 1; lengths in pixel edges.

    Attributes:
        area: [S] int64 pixels.
        boxes: [S, 4] int32 x, y, w, h of the smallest box; 0, 0, 0, 0 of a region without a pixel.
        perimeter: [S] int64 edges to other regions, to pixels of no region, and to the border of the image.
        label_edges: [S] int64 edges within the region between pixels of different labels; None without labels.
    """

    area: Array
    boxes: Array
    perimeter: Array
    label_edges: Array | None = None
