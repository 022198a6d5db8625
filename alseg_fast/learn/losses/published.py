"""The loss of label propagation with a weak annotator, as its authors trained it."""

from __future__ import annotations

import math

from torch import Tensor

from ...checks import check_choice
from ...errors import RangeError
from .inputs import check_flags, check_scores, zero_of
from .segmentation import image_means, pixel_losses


def belharbi_loss(
    seg_logits: Tensor,
    masks: Tensor,
    labelled: Tensor,
    pseudo: Tensor,
    lambda_: float,
    *,
    divide_by: str = "batch",
) -> Tensor:
    """Annotated images plus lambda times pseudo-labelled ones.

    With BCE_i the mean over the pixels of image i::

        (1 / B) * sum of BCE_i over labelled images  +  lambda * (1 / B) * sum of BCE_i over pseudo-labelled images

    Both sums are divided by the size B of the whole batch, so a batch with few labelled images has a weak supervised
    term. That is what the published figures were trained with.

    Args:
        seg_logits: [B, C, h, w]; C = 1 as published; with more channels BCE becomes cross-entropy.
        masks: [B, H, W] integer class ids; 255 is left out of an image's mean.
        labelled: [B] bool, the mask is an annotation.
        pseudo: [B] bool, the mask is a pseudo-label; no image is both. An image that is neither adds 0 (and counts
            in B).
        lambda_: weight of the pseudo-labels, at least 0; the authors: 0.1 (GlaS), 0.001 (CUB), constant.
        divide_by: "batch" as published, or "own": each sum by its own number of images, so that the balance of
            the terms does not hang on the draw of the batch.

    Returns: scalar. An image without a labelled pixel has a loss of 0.
    Raises: ShapeError, DtypeError, DeviceError, RangeError.
    Source: Belharbi et al., WACV 2021, equation 1; the divisor after the authors' released code.
    """
    supervised, propagated = belharbi_parts(seg_logits, masks, labelled, pseudo, divide_by=divide_by)
    if not (isinstance(lambda_, (int, float)) and math.isfinite(lambda_) and lambda_ >= 0):
        raise RangeError(f"belharbi_loss: lambda_ must be at least 0; got {lambda_!r}. 0 leaves pseudo-labels out.")
    return supervised + lambda_ * propagated


def belharbi_parts(
    seg_logits: Tensor, masks: Tensor, labelled: Tensor, pseudo: Tensor, *, divide_by: str = "batch"
) -> tuple[Tensor, Tensor]:
    """The two terms of :func:`belharbi_loss` before lambda: (labelled, pseudo-labelled)."""
    name = "belharbi_loss"
    check_choice(name, "divide_by", divide_by, ("batch", "own"))
    logits = check_scores(name, "seg_logits", seg_logits, "[B, C, h, w]")
    n = logits.shape[0]
    check_flags(name, "labelled", labelled, (n,), logits, "seg_logits")
    check_flags(name, "pseudo", pseudo, (n,), logits, "seg_logits")
    if bool((labelled & pseudo).any()):
        raise RangeError(
            f"{name}: pseudo must be False where labelled is True; got {int((labelled & pseudo).sum())} images with "
            "both. A mask is an annotation or a pseudo-label."
        )
    losses, known = pixel_losses(name, logits, masks, "masks")
    means, _ = image_means(losses, known)  # [B]
    parts = []
    for chosen in (labelled, pseudo):
        if bool(chosen.any()):
            parts.append(means[chosen].sum() / (n if divide_by == "batch" else chosen.sum()))
        else:
            parts.append(zero_of(logits))
    return parts[0], parts[1]
