"""From what a network answers to label maps at a picture's own size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import DataError
from ...ops.uncertainty import uncertainty
from ..data.dataset import Dataset, Sample
from ..losses.swapped import allowed_classes
from .figures import tag_matrix

_ABSENT = -1e5


def label_map(name: str, logits: Tensor, size: Sequence[int], sample: Sample) -> npt.NDArray[Any]:
    """[H, W] class ids of [1, C, h, w] logits."""
    try:
        found = uncertainty(
            logits.contiguous(),
            (size[0], size[1]),
            measures=(),
            maps=False,
            labels=True,
            reduce=(),
            activation="sigmoid" if logits.shape[1] == 1 else "softmax",
        )
    except DataError as exc:
        raise DataError(f"{name}: image {sample.image_id}: {exc}") from exc
    labels: Any = found.labels  # a tensor like the logits
    ids: npt.NDArray[Any] = labels[0].cpu().numpy()
    return ids


def without_absent(logits: Tensor, sample: Sample, dataset: Dataset) -> Tensor:
    tags = tag_matrix([sample], len(dataset.tag_names), logits.device)
    allowed = allowed_classes(tags, dataset.class_of_tag, len(dataset.classes))  # [1, C]
    allowed = allowed[:, 1:] if logits.shape[1] == 1 else allowed
    # NaN stays: masking must not hide that the network is broken
    return torch.where(allowed[:, :, None, None] | logits.isnan(), logits, _ABSENT)


def cam_winner(
    maps: Tensor, present: Tensor, class_of_tag: Sequence[int], size: Sequence[int], align_corners: bool = False
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """The largest of one image's maps [K, h, w] at each pixel of `size`, and its class: [H, W], [H, W].

    Only the maps of present tags are resized, one at a time. Where all are 0 the class is 0.
    """
    height, width = size
    values = maps.new_zeros((height, width))
    classes = torch.zeros((height, width), dtype=torch.uint8, device=maps.device)
    for tag in present.nonzero()[:, 0].tolist():
        map_ = F.interpolate(maps[None, None, tag], size=(height, width), mode="bilinear", align_corners=align_corners)
        larger = map_[0, 0] > values
        values = torch.where(larger, map_[0, 0], values)
        classes = classes.masked_fill(larger, class_of_tag[tag])
    return values.float().cpu().numpy(), classes.cpu().numpy()
