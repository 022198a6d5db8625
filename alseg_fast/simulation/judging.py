"""What a network, and what pseudo-masks are worth: figures on the test images, and against the hidden truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import DataError
from ..learn.data.label_images import read_ids
from ..learn.data.pictures import read_image, read_mask
from ..learn.maps.teacher import evaluating
from ..learn.methods.figures import pick_score
from ..learn.methods.foreground import validation_threshold
from ..learn.networks.weak_network import WeakNetwork
from ..learn.training.evaluate import evaluate_segmentation
from ..learn.training.label_maps import label_map
from ..learn.training.metrics import ConfusionMeter, dice_per_image
from ..ops.uncertainty import uncertainty
from .common import Common

_BINS = 4096


def judge(common: Common, network: WeakNetwork) -> dict[str, Any]:
    """{"score", "figures", "threshold", "error_auroc"} on the test images.

    The score is the mean Dice of two-class data, else mIoU.
    """
    config, data = common.config, common.data
    threshold = None
    if common.two_classes:
        threshold = config.threshold
        if threshold == "validation":
            assert data.validation is not None
            threshold = validation_threshold(network, data.validation, common.view, "segmentation")
    assert data.test is not None
    cut = 0.5 if threshold is None else float(threshold)
    figures = evaluate_segmentation(network, data.test, common.view, threshold=cut)
    auroc = error_auroc(common, network, cut) if config.error_auroc else None
    score = pick_score(figures, data.test)
    return {"score": score, "figures": figures, "threshold": threshold, "error_auroc": auroc}


@torch.no_grad()
def error_auroc(common: Common, network: WeakNetwork, threshold: float) -> float | None:
    """The chance that a wrong pixel of the test images has a higher entropy than a right one; None: one kind is
    missing.

    Entropies are counted in 4096 equal bins between 0 and ln C; equal bins count one half.
    """
    assert common.data.test is not None
    counts = np.zeros((2, _BINS), np.int64)  # right, wrong
    shift = math.log(threshold / (1 - threshold))
    top = math.log(len(common.data.train.classes))
    with evaluating(network):
        for sample in common.data.test.samples:
            if sample.mask is None:
                continue
            truth = read_mask(common.data.test, sample)
            logits = network(common.view.tensor(read_image(sample))[None].to(common.device)).seg_logits
            if logits is None:
                raise DataError("error_auroc: network must have a segmentation head; got none. Build it with one.")
            logits = logits.float().cpu()
            one = logits.shape[1] == 1
            found = uncertainty(
                logits.numpy(),
                (truth.shape[0], truth.shape[1]),
                measures=("entropy",),
                maps=True,
                activation="sigmoid" if one else "softmax",
            )
            labels = label_map("error_auroc", logits - shift if one else logits, truth.shape, sample)
            known = truth != 255
            bins = np.minimum((found.maps["entropy"][0][known] * (_BINS / top)).astype(np.int64), _BINS - 1)
            wrong = labels[known] != truth[known]
            counts[1] += np.bincount(bins[wrong], minlength=_BINS)
            counts[0] += np.bincount(bins[~wrong], minlength=_BINS)
    return auroc_of(counts[0], counts[1])


def auroc_of(right: np.ndarray[Any, Any], wrong: np.ndarray[Any, Any]) -> float | None:
    """Area under the curve of two histograms over the same rising bins."""
    n_right, n_wrong = int(right.sum()), int(wrong.sum())
    if n_right == 0 or n_wrong == 0:
        return None
    below = np.cumsum(right) - right
    return float((wrong * (below + right / 2)).sum() / (n_right * n_wrong))


def mask_quality(common: Common, masks: Mapping[str, Path]) -> float | None:
    """Mean Dice (two classes), else mIoU, of pseudo-masks against the truth of the training images; None: no mask."""
    if not masks:
        return None
    meter = ConfusionMeter(len(common.data.train.classes), unlabelled_prediction="skip")
    dices = []
    for sample in common.data.train.samples:
        if sample.image_id not in masks:
            continue
        truth, made = read_mask(common.data.train, sample), read_ids(masks[sample.image_id])
        meter.add(made, truth)
        if common.two_classes:
            dices.append(dice_per_image(made, truth))
    return float(np.mean(dices)) if dices else float(meter.miou)
