"""Swapped assignments: maps teach the segmentation, the segmentation teaches the maps (CoSA).

The labels come from a teacher, so nothing here sends a gradient into them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ...checks import check_choice, check_size
from ...errors import RangeError
from ..data.dataset import IGNORE
from .inputs import check_flags, check_like, check_positive, check_scores, check_tags, zero_of
from .segmentation import pixel_losses

_ABSENT = -1e5


def cam_to_segmentation(
    seg_logits: Tensor,
    cam_labels: Tensor,
    weights: Tensor | None = None,
    *,
    background_share: float = 0.5,
    eps: float = 1e-6,
) -> Tensor:
    """L_c2s: cross-entropy of the segmentation against labels from activation maps, background and foreground halved.

    With l the cross-entropy of a pixel and w its weight::

        share * sum(w l over background) / (count + eps) + (1 - share) * sum(w l over foreground) / (count + eps)

    Args:
        seg_logits: [B, C, h, w], resized bilinearly (corners not aligned) to the labels' size; C = 1 for two classes.
        cam_labels: [B, H, W] integer class ids, 0 = background, 255 = no label. Labels that count tags
            (tag + 1) become class ids by :func:`tags_to_classes`.
        weights: [B, H, W] reliability weights, mean 1 over an image; None = 1. The counts are of pixels, not weights.
        background_share: weight of the background's half.
        eps: as in the released code.

    Returns: scalar. A side without pixels adds 0; a batch with one side only has half a loss, as published.
    Raises: ShapeError, DtypeError, DeviceError, RangeError.
    Source: Yang et al., CoSA (ECCV 2024), released code; the weights after the paper.
    """
    name = "cam_to_segmentation"
    if not 0 <= background_share <= 1:
        raise RangeError(f"{name}: background_share must be in [0, 1]; got {background_share!r}. 0.5 is published.")
    eps = check_positive(name, "eps", eps)
    logits = check_scores(name, "seg_logits", seg_logits, "[B, C, h, w]")
    losses, known = pixel_losses(name, logits, cam_labels, "cam_labels", weights)
    if not bool(known.any()):
        return zero_of(logits)
    background = known & (cam_labels == 0)
    foreground = known & (cam_labels != 0)
    total = losses.new_zeros(())
    for side, share in ((background, background_share), (foreground, 1 - background_share)):
        total = total + share * torch.where(side, losses, 0).sum() / (side.sum(dtype=losses.dtype) + eps)
    return total


def tags_to_classes(labels: Tensor, class_of_tag: Sequence[int]) -> Tensor:
    """Labels that count tags (0 = background, tag + 1, 255 = none) as segmentation class ids, same shape, int64."""
    name = "tags_to_classes"
    _check_class_of_tag(name, class_of_tag, IGNORE)
    ids = labels.long()
    table = torch.full((256,), -1, dtype=torch.int64, device=labels.device)
    table[IGNORE] = IGNORE
    table[: len(class_of_tag) + 1] = torch.tensor([0, *class_of_tag], device=labels.device)
    result = table[ids.clamp(0, 255)]
    if bool(((result < 0) | (ids < 0) | (ids > 255)).any()):
        raise RangeError(
            f"{name}: labels must be 0..{len(class_of_tag)} or {IGNORE}; got others. "
            "They hold 0 for the background and tag + 1 elsewhere."
        )
    return result


def segmentation_pseudo_labels(
    seg_logits: Tensor,
    tags: Tensor,
    class_of_tag: Sequence[int],
    size: tuple[int, int],
    temperature: float = 0.01,
    *,
    mode: str = "bilinear",
) -> Tensor:
    """SPL: what the segmentation says about each tag's class, on the grid of the activation maps.

    ::

        z[absent classes] = -1e5;  p = softmax(z / temperature);  SPL[tag] = resize(p[class of tag]) * tags

    Args:
        seg_logits: [B, C, h, w]; with C = 1 the logits are (0, z), so p = sigmoid(z / temperature).
        tags: [B, K], 1 = present. A class is absent where all tags that mark it are 0; a class that no tag marks
            (the background) is never absent. Two present tags of one class share its probability.
        class_of_tag: K class ids.
        size: (h', w') of the maps.
        temperature: 0.01 makes the labels almost hard.
        mode: "bilinear" (corners not aligned) or "area" (mean over the cell); the published mode is not known.

    Returns: [B, K, h', w'] in 0..1, without gradient.
    Raises: ShapeError, DtypeError, DeviceError, RangeError.
    Source: Yang et al., CoSA (ECCV 2024), released code; one foreground logit is this package's addition.
    """
    name = "segmentation_pseudo_labels"
    logits = check_scores(name, "seg_logits", seg_logits, "[B, C, h, w]").detach()
    n_classes = max(logits.shape[1], 2)
    _check_class_of_tag(name, class_of_tag, n_classes)
    present = check_tags(name, tags, (logits.shape[0], len(class_of_tag)), logits, "seg_logits and class_of_tag")
    grid = check_size(name, "size", size)
    check_choice(name, "mode", mode, ("bilinear", "area"))
    temperature = check_positive(name, "temperature", temperature)
    if logits.shape[1] == 1:
        logits = torch.cat((torch.zeros_like(logits), logits), 1)
    logits = torch.where(allowed_classes(present, class_of_tag, n_classes)[:, :, None, None], logits, _ABSENT)
    probs = torch.softmax(logits / temperature, 1)[:, list(class_of_tag)]  # [B, K, h, w]
    corners = {"align_corners": False} if mode == "bilinear" else {}
    return F.interpolate(probs, size=grid, mode=mode, **corners) * present[:, :, None, None]


def segmentation_to_cam(
    cams: Tensor, spl: Tensor, tags: Tensor, valid: Tensor | None = None, form: str = "signed"
) -> Tensor:
    """L_s2c: multi-label soft margin between activation maps and the segmentation's pseudo-labels.

    With x the map ("signed") or its positive part ("published") and y the pseudo-label, the mean over maps and valid
    pixels of ``log(1 + exp(x)) - y * x``.

    Args:
        cams: [B, K, h, w] raw maps.
        spl: [B, K, h, w] in 0..1, of :func:`segmentation_pseudo_labels`; no gradient goes into it.
        tags: [B, K], 1 = present. Absent tags count, with y = 0 as `spl` has it; images without any tag are left
            out, for then `spl` says nothing.
        valid: [B, h, w] bool, inside the picture; None = everywhere.
        form: "signed" uses the maps as they are. "published" cuts negative values off first: then no logit falls
            below 0, a pixel with y = 0 costs at least ln 2, a loss that stays at 0.69 is normal, and a map that is
            negative gets no gradient.

    Returns: scalar; 0 with gradient 0 where no pixel counts.
    Raises: ShapeError, DtypeError, DeviceError, RangeError.
    Source: Yang et al., CoSA (ECCV 2024), released code ("published"); "signed" is this package's.
    """
    name = "segmentation_to_cam"
    check_choice(name, "form", form, ("signed", "published"))
    maps = check_scores(name, "cams", cams, "[B, K, h, w]")
    n, n_tags, height, width = maps.shape
    target = check_like(name, "spl", spl, maps.shape, maps, "cams").detach().to(maps.dtype)
    if not bool(((target >= 0) & (target <= 1) | target.isnan()).all()):
        raise RangeError(f"{name}: spl must be in 0..1; got others. Pass the result of segmentation_pseudo_labels.")
    counts = check_tags(name, tags, (n, n_tags), maps, "cams").any(1)[:, None, None].expand(n, height, width)
    if valid is not None:
        counts = counts & check_flags(name, "valid", valid, (n, height, width), maps, "cams")
    if not bool(counts.any()):
        return zero_of(maps)
    counts = counts[:, None]
    maps = torch.where(counts, maps, 0)
    maps = maps.relu() if form == "published" else maps
    losses = F.binary_cross_entropy_with_logits(maps, torch.where(counts, target, 0), reduction="none")
    return torch.where(counts, losses, 0).sum() / (counts.sum() * n_tags)


def allowed_classes(tags: Tensor, class_of_tag: Sequence[int], n_classes: int) -> Tensor:
    """[B, C] bool: the class is marked by a present tag, or by no tag at all."""
    marks = torch.zeros((len(class_of_tag), n_classes), dtype=torch.bool, device=tags.device)
    marks[torch.arange(len(class_of_tag)), list(class_of_tag)] = True
    present = (tags.bool()[:, :, None] & marks).any(1)
    return present | ~marks.any(0)


def _check_class_of_tag(name: str, class_of_tag: Sequence[int], n_classes: int) -> None:
    wrong = [c for c in class_of_tag if not 0 <= c < n_classes]
    if wrong or not len(class_of_tag):
        raise RangeError(
            f"{name}: class_of_tag must hold ids 0..{n_classes - 1}; got {wrong[0] if wrong else 'none'}. "
            "Pass Dataset.class_of_tag."
        )
