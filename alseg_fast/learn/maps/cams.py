"""Class activation maps as they leave a network: normalised, validated by the image tags, upsampled."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...checks import check_choice, check_size
from ...ops.uncertainty import uncertainty
from ..networks.map_range import MAP_EPSILON, scale_maps
from .inputs import above_zero, check_cams, one_tag, present_tags, resize_maps
from .teacher import TeacherMaps, activation_maps, teacher_maps

__all__ = [
    "MODES",
    "TeacherMaps",
    "activation_maps",
    "empty_cams",
    "full_resolution_cams",
    "normalise_cams",
    "published_wsl_mask",
    "teacher_maps",
    "true_class_maps",
]

MODES = ("max", "minmax")


def normalise_cams(cams: Tensor, tags: Tensor | None = None, mode: str = "max", eps: float = MAP_EPSILON) -> Tensor:
    """Each map to 0..1 over its own pixels; maps of absent tags and empty maps are 0.

    Args:
        cams: [B, K, h, w] floating point, raw; gradients pass.
        tags: [B, K], nonzero where the tag is present; None: all may be. Without them a map that is negative
            everywhere, of an absent class, fills the whole range under "minmax": give them when they are known.
        mode: "max": negative values are 0, divided by the largest value (CoSA, SEAM; the activation "cam" of
            `alseg_fast.uncertainty` does the same). "minmax": (x - min) / (max - min), the authors' demo of CAM.
        eps: a map whose largest value ("max") or range ("minmax") is at most this is empty; `empty_cams` names them.

    Returns: [B, K, h, w], float32, or float64 if cams is.
    Raises: ShapeError, DtypeError, RangeError: an argument is wrong. DataError: cams hold NaN or inf.
    Source: Zhou et al. (2016); published forms add eps to the divisor, so that their largest value is just below 1.
    """
    name = "normalise_cams"
    check_cams(name, cams)
    present = present_tags(name, tags, (cams.shape[0], cams.shape[1]), cams.device)
    scaled, _ = scale_maps(cams, check_choice(name, "mode", mode, MODES), above_zero(name, "eps", eps))
    return scaled if present is None else scaled * present[:, :, None, None]


def empty_cams(cams: Tensor, tags: Tensor | None = None, mode: str = "max", eps: float = MAP_EPSILON) -> Tensor:
    """[B, K] bool: the maps that `normalise_cams`, called alike, has to leave empty although their tag is present."""
    name = "empty_cams"
    check_cams(name, cams)
    present = present_tags(name, tags, (cams.shape[0], cams.shape[1]), cams.device)
    _, empty = scale_maps(cams.detach(), check_choice(name, "mode", mode, MODES), above_zero(name, "eps", eps))
    return empty if present is None else empty & present


def full_resolution_cams(cams: Tensor, size: tuple[int, int], tags: Tensor | None = None) -> Tensor:
    """Raw maps at the size of the picture: bilinear with aligned corners, as the joint network has them.

    Args:
        cams: [B, K, h, w] floating point; gradients pass.
        size: (H, W) pixels.
        tags: [B, K], nonzero where present: the maps of absent tags are 0 and cost nothing; None: all are made.

    Returns: [B, K, H, W]. For 200 classes that is large: `true_class_maps` makes one map an image, and
        `published_wsl_mask` needs none.
    Raises: ShapeError, DtypeError: an argument is wrong. DataError: cams hold NaN or inf.
    """
    name = "full_resolution_cams"
    check_cams(name, cams)
    return resize_maps(
        cams,
        check_size(name, "size", size),
        present_tags(name, tags, (cams.shape[0], cams.shape[1]), cams.device),
        align_corners=True,
    )


def true_class_maps(cams: Tensor, tag: Tensor | int, size: tuple[int, int]) -> Tensor:
    """[B, H, W]: the raw map of one tag an image, upsampled with aligned corners; `tag` is [B] or one index for all."""
    name = "true_class_maps"
    check_cams(name, cams)
    chosen = one_tag(name, tag, cams)
    maps = cams[torch.arange(len(cams), device=cams.device), chosen]
    return resize_maps(maps[:, None], check_size(name, "size", size), None, align_corners=True)[:, 0]


def published_wsl_mask(cams: Tensor, tag: Tensor | int, size: tuple[int, int]) -> Tensor:
    """Foreground by the baseline WSL: the full-resolution map of the true class is the arg-max over all class maps.

    The maps are raw, as published: neither normalised nor compared with a background. The arg-max runs over the
    classes inside the engine's upsampling, so no map is ever stored at full size, whatever the number of classes.
    With one class every pixel is foreground.

    Args:
        cams: [B, K, h, w] floating point; float64 is compared in single precision.
        tag: [B] integers or one for all: the true class.
        size: (H, W) pixels.

    Returns: [B, H, W] bool on the device of cams. In a tie the class with the lower index has the pixel.
    Raises: ShapeError, DtypeError, RangeError: an argument is wrong. DataError: cams hold NaN or inf.
    Source: Belharbi et al. (2021), baseline WSL.
    """
    name = "published_wsl_mask"
    check_cams(name, cams)
    chosen, shape = one_tag(name, tag, cams), check_size(name, "size", size)
    if cams.shape[1] == 1:
        return torch.ones((len(cams), *shape), dtype=torch.bool, device=cams.device)
    raw = cams.detach().float() if cams.dtype == torch.float64 else cams.detach()
    labels: Any = uncertainty(raw, shape, measures=(), maps=False, labels=True, reduce=(), align_corners=True).labels
    same: Tensor = labels.to(torch.int64) == chosen[:, None, None]
    return same
