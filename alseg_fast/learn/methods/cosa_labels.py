"""From assigned maps to targets: thresholds that follow the training, labels with an ignore band, pixel weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...ops.band_labels import band_labels
from ...ops.reliability import perplexity, reliability_weights
from ...ops.running_threshold import RunningThreshold
from ..losses.swapped import tags_to_classes
from .cosa_options import ReliabilityOptions, ThresholdOptions


@dataclass(frozen=True)
class MapLabels:
    """What one kind of activation maps says about the pixels of a batch.

    Attributes:
        tags: [B, h, w] int64: 0 background, k + 1 for tag k, 255 unsure or outside the picture.
        classes: the same as segmentation classes.
        perplexity: [B, h, w] float32, low = sure.
        weights: [B, h, w] float32 with mean 1 over the valid pixels of an image, or None.
    """

    tags: Tensor
    classes: Tensor
    perplexity: Tensor
    weights: Tensor | None


class Thresholds:
    """The thresholds of one kind of maps: fixed, or fitted to the maps of the last images.

    Args:
        options: see `ThresholdOptions`.
        low, high: where `options.kind` is "fixed".
    """

    def __init__(self, options: ThresholdOptions, *, low: float, high: float) -> None:
        self.options, self.fixed = options, (low, high)
        self.running = RunningThreshold(
            memory=options.memory,
            period=options.period,
            momentum=options.momentum,
            components=options.components,
            drop_below=options.drop_below,
        )

    def update(self, cams: Tensor) -> None:
        """Take [B, K, h, w] maps of one step into the memory; nothing to do with fixed thresholds."""
        if self.options.kind == "gmm":
            self.running.update(cams.detach())

    @property
    def band(self) -> tuple[float, float]:
        """(low, high): background below low, foreground above high."""
        if self.options.kind == "fixed":
            return self.fixed
        return self.running.low, self.running.high

    @property
    def middle(self) -> float:
        """The one threshold that perplexity is measured from."""
        return self.options.centre if self.options.kind == "fixed" else self.running.threshold

    def state_dict(self) -> dict[str, Any]:
        """The running threshold's, its memory as a tensor: checkpoints take no raw bytes."""
        state = self.running.state_dict()
        memory = np.frombuffer(state["memory"], np.uint8).copy()
        return {**state, "memory": torch.from_numpy(memory)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.running.load_state_dict({**state, "memory": state["memory"].cpu().numpy().tobytes()})


def label_maps(
    cams: Tensor,
    tags: Tensor,
    valid: Tensor,
    thresholds: Thresholds,
    class_of_tag: Sequence[int],
    reliability: ReliabilityOptions,
    *,
    size: tuple[int, int] | None = None,
) -> MapLabels:
    """Labels and weights of normalised maps.

    Of an image without tags, or whose maps are all zero, nothing is known: it gets no label, not the background.

    Args:
        cams: [B, K, h, w] in 0..1.
        tags: [B, K].
        valid: [B, H, W] bool, inside the picture.
        thresholds: of this kind of maps.
        class_of_tag: segmentation class of each tag.
        reliability: form and parameters of the weights.
        size: bilinear resizing of the maps before they are labelled; None: their own grid.
    """
    if size is not None and size != tuple(cams.shape[2:]):
        cams = F.interpolate(cams, size, mode="bilinear", align_corners=False)
    grid = (int(cams.shape[2]), int(cams.shape[3]))
    inside = F.interpolate(valid[:, None].to(cams.dtype), grid, mode="nearest")[:, 0] > 0.5
    inside &= (tags.bool().any(dim=1) & (cams.amax(dim=(1, 2, 3)) > 0))[:, None, None]
    low, high = thresholds.band
    labels = band_labels(cams, tags, low=low, high=high, valid=inside).to(torch.int64)
    hottest = cams.amax(dim=1)
    weights = None
    if reliability.use:
        weights = reliability_weights(
            hottest, thresholds.middle, reliability.alpha, reliability.beta, form=reliability.form, valid=inside
        )
    return MapLabels(
        labels,
        tags_to_classes(labels, class_of_tag),
        perplexity(hottest, thresholds.middle, reliability.alpha, reliability.beta),
        weights,
    )
