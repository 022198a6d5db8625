"""Figures with names, from counts and tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.dataset import Dataset, Sample
from .metrics import ConfusionMeter
from .tag_metrics import tag_accuracy, tag_average_precision


def mask_figures(meter: ConfusionMeter, dataset: Dataset, prefix: str = "") -> dict[str, float]:
    figures = {
        f"{prefix}miou": meter.miou,
        f"{prefix}pixel_accuracy": meter.pixel_accuracy,
        f"{prefix}class_dice": meter.class_dice,
    }
    for name, value in zip(dataset.classes, meter.per_class, strict=True):
        if not np.isnan(value):
            figures[f"{prefix}iou/{name}"] = float(value)
    return figures


def tag_figures(tag_logits: list[Tensor], dataset: Dataset) -> dict[str, float]:
    """Nothing where no image has a tag or the network has no tag head."""
    tags = tag_matrix(dataset.samples, len(dataset.tag_names))
    if not tag_logits or not bool(tags.any()):
        return {}
    logits = torch.cat(tag_logits)
    return {
        "tag_accuracy": tag_accuracy(logits, tags, single_tag=dataset.single_tag),
        "tag_average_precision": tag_average_precision(logits, tags),
    }


def class_table(figures: dict[str, float], dataset: Dataset) -> list[dict[str, Any]]:
    """One row a class that has a figure: {"class": name, "iou": ..., "tag_masked_iou": ...}."""
    rows = []
    for name in dataset.classes:
        row = {f"{prefix}iou": figures.get(f"{prefix}iou/{name}") for prefix in ("", "tag_masked_")}
        found = {key: value for key, value in row.items() if value is not None}
        if found:
            rows.append({"class": name, **found})
    return rows


def tag_matrix(samples: Sequence[Sample], n_tags: int, device: torch.device | str = "cpu") -> Tensor:
    """[B, K] float32, 1 where a sample has the tag."""
    tags = torch.zeros((len(samples), n_tags))
    for row, sample in zip(tags, samples, strict=True):
        row[list(sample.tags)] = 1
    return tags.to(device)


def predicted_tags(logits: Tensor, single_tag: bool) -> Tensor:
    if single_tag:
        return F.one_hot(logits.argmax(1), logits.shape[1])
    return (logits > 0).long()
