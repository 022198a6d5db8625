"""Pixel losses for masks that are whole, partial, or absent."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...checks import check_choice
from .inputs import check_classes, check_ids, check_like, check_scores, zero_of


def segmentation_loss(
    seg_logits: Tensor, masks: Tensor, *, weights: Tensor | None = None, average: str = "pixels"
) -> Tensor:
    """Cross-entropy over the pixels that carry a label.

    Whole masks, points, scribbles, boxes and partial masks are all the same to it: 255 where nothing is known.
    Equivalent NumPy, with z the logits resized bilinearly (corners not aligned) to the masks' size::

        loss = log(1 + exp(z)) - y * z                  # one channel, a foreground logit
        loss = log(exp(z).sum(class)) - z[y]            # C channels
        pixels: (weights * loss)[known].sum() / known.sum()
        images: mean over images with a known pixel of the same within the image

    Args:
        seg_logits: [B, C, h, w] floating; C = 1 for two classes.
        masks: [B, H, W] integer class ids, 255 = no label.
        weights: [B, H, W] of the pixels, such as reliability weights; None = 1. The sum is divided by the number of
            labelled pixels, not by the sum of the weights, so that the weights' level acts.
        average: "pixels" (every labelled pixel of the batch alike) or "images" (every image with a label alike).

    Returns: scalar; 0 with gradient 0 where no pixel has a label. Logits of pixels without a label do not enter.
    Raises: ShapeError, DtypeError, DeviceError, RangeError (an id beyond the classes).
    Source: Belharbi et al. (2021), equation 1, mean over the pixels of an image; the average over a batch and the
    divisor of weighted sums are this package's choices.
    """
    name = "segmentation_loss"
    check_choice(name, "average", average, ("pixels", "images"))
    logits = check_scores(name, "seg_logits", seg_logits, "[B, C, h, w]")
    losses, known = pixel_losses(name, logits, masks, "masks", weights)
    return zero_of(logits) if not bool(known.any()) else _average(losses, known, average)


def _average(losses: Tensor, known: Tensor, average: str) -> Tensor:
    if average == "pixels":
        return losses.sum() / known.sum()
    means, counts = image_means(losses, known)
    return means[counts > 0].mean()


def pixel_losses(
    function: str, logits: Tensor, masks: Tensor, masks_name: str, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy [B, H, W] of checked logits, 0 where unknown, and which pixels are known."""
    ids = check_ids(function, masks_name, masks, "[B, H, W]", logits)
    check_like(function, masks_name, ids, (logits.shape[0], *ids.shape[1:]), logits, "seg_logits")
    n_channels = logits.shape[1]
    known = check_classes(function, masks_name, ids, 2 if n_channels == 1 else n_channels)
    if logits.shape[2:] != ids.shape[1:]:
        logits = F.interpolate(logits, size=tuple(ids.shape[1:]), mode="bilinear", align_corners=False)
    # selected before the loss, so that what an unlabelled pixel holds reaches neither the sum nor the gradient
    logits = torch.where(known[:, None], logits, 0)
    ids = torch.where(known, ids, 0)
    if n_channels == 1:
        losses = F.binary_cross_entropy_with_logits(logits[:, 0], ids.to(logits.dtype), reduction="none")
    else:
        losses = F.cross_entropy(logits, ids, reduction="none")
    losses = torch.where(known, losses, 0)
    if weights is not None:
        factors = check_like(function, "weights", weights, ids.shape, logits, masks_name)
        losses = losses * torch.where(known, factors.to(losses.dtype), 0)
    return losses, known


def image_means(losses: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the known pixels of each image, 0 where there is none, and their number: [B], [B]."""
    counts = known.flatten(1).sum(1)
    return losses.flatten(1).sum(1) / counts.clamp(min=1), counts
