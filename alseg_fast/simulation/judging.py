"""What a network, and what pseudo-masks are worth: figures on the test images, and against the hidden truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import UsageError
from ..learn.data.dataset import IGNORE
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
from ..stages.error_detection import PixelCounts
from .common import Common

_LEVELS = 4096


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


def all_foreground(common: Common) -> dict[str, Any]:
    """{"score", "figures"} of calling every pixel of every test image foreground (two classes): what must be beaten."""
    data = common.data.test
    assert data is not None
    meter = ConfusionMeter(len(data.classes))
    dices = []
    for sample in data.samples:
        if sample.mask is not None:
            truth = read_mask(data, sample)
            made = np.ones(truth.shape, np.uint8)
            meter.add(made, truth)
            dices.append(dice_per_image(made, truth))
    figures = {"dice": float(np.mean(dices)), "miou": float(meter.miou)}
    return {"score": figures["dice"], "figures": figures}


@torch.no_grad()
def error_auroc(common: Common, network: WeakNetwork, threshold: float) -> float | None:
    """The chance that a wrong pixel of the test images has a higher entropy than a right one; None: all are right, or
    all are wrong.

    Entropies are told apart in 4096 levels between 0 and ln C.
    """
    assert common.data.test is not None
    counts = PixelCounts(levels=_LEVELS, limit=math.log(len(common.data.train.classes)))
    shift = math.log(threshold / (1 - threshold))
    with evaluating(network):
        for sample in common.data.test.samples:
            if sample.mask is None:
                continue
            truth = read_mask(common.data.test, sample)
            logits = network(common.view.tensor(read_image(sample))[None].to(common.device)).seg_logits
            if logits is None:
                raise UsageError("error_auroc: network must have a decoder; got one without. Build it with one.")
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
            counts.add(found.maps["entropy"][0], labels, truth, ignore=IGNORE)
    if not counts.wrong.any() or not counts.right.any():
        return None
    return counts.auroc()


def mask_quality(common: Common, masks: Mapping[str, Path]) -> dict[str, float]:
    """{"score", "foreground"} of pseudo-masks of two classes against the truth of the training images.

    The score is the mean Dice; foreground the mean share of the pixels that a mask calls foreground: masks that are all
    0 or all 1 feed on themselves.
    """
    dices, shares = [], []
    for sample in common.data.train.samples:
        if sample.image_id in masks:
            truth, made = read_mask(common.data.train, sample), read_ids(masks[sample.image_id])
            dices.append(dice_per_image(made, truth))
            shares.append(float(np.mean(made == 1)))
    return {"score": float(np.mean(dices)), "foreground": float(np.mean(shares))}
