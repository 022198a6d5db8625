"""Equivariance regularisation (SEAM): the maps of a rescaled picture are the rescaled maps of the picture."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ...checks import check_choice
from ...errors import RangeError, ShapeError
from ..networks.map_range import MAP_EPSILON, scale_maps

RESCALE = 0.3
AVERAGES = ("all", "present")
DETACHED = ("none", "original", "transformed")


def transformed_pair(
    images: Tensor, *, scale: float = RESCALE, flip: bool = False, multiple: int = 1
) -> tuple[Tensor, Tensor]:
    """The pictures and F(pictures): rescaled bilinearly with aligned corners and, with `flip`, mirrored.

    Args:
        images: [B, 3, H, W] floating point.
        scale: of both sides, rounded down and at least 1 pixel; 0.3 is published.
        multiple: above 1, sides become the nearest multiple of it, for networks with fixed patches.
    Raises: ShapeError, RangeError: an argument is wrong.
    """
    if images.ndim != 4:
        raise ShapeError(
            f"transformed_pair: images must have shape [B, 3, H, W]; got {list(images.shape)}. Pass a batch."
        )
    if not 0.0 < scale < float("inf"):
        raise RangeError(f"transformed_pair: scale must be above 0; got {scale!r}. 0.3 is the published one.")
    if multiple < 1:
        raise RangeError(f"transformed_pair: multiple must be at least 1; got {multiple!r}. 1 is whole pixels.")
    size = [max(1, int(scale * side)) for side in images.shape[-2:]]
    if multiple > 1:
        size = [multiple * max(1, round(side / multiple)) for side in size]
    made = F.interpolate(images, size=size, mode="bilinear", align_corners=True)
    return images, made.flip(-1) if flip else made


def equivariance_loss(
    cams: Tensor,
    transformed_cams: Tensor,
    tags: Tensor,
    *,
    flip: bool = False,
    average: str = "all",
    detach: str = "none",
    eps: float = MAP_EPSILON,
) -> Tensor:
    """Mean of |F(A(I)) - A(F(I))|, the maps A divided by their maximum and multiplied by the image tags.

    Negative values of a map are 0 and an empty map is 0 without a gradient. The maps of the picture are brought to
    the grid of the maps of F(picture), corners aligned, so that both sides are sampled alike. Both sides have a
    gradient: with one of them detached, or without the division by the maximum, maps that are zero everywhere are
    the cheapest answer. There is no background channel in the maps of this package.

    Args:
        cams: [B, K, h, w] raw maps A(I).
        transformed_cams: [B, K, h2, w2] raw maps A(F(I)) of the second picture of `transformed_pair`.
        tags: [B, K], nonzero where the tag is present.
        flip: what `transformed_pair` was given.
        average: "all": over all maps, also those of absent tags, which are 0, as published: with K tags of which few
            are present the loss is as much smaller; "present": over the maps of present tags.
        detach: "original" or "transformed" stops the gradient of that side, for experiments.
        eps: a map whose maximum is at most this is empty.

    Returns: scalar; 0 where no tag is present. NaN in a map makes it NaN: the training loop's business.
    Raises: ShapeError, RangeError: an argument is wrong.
    Source: Wang et al. (2020), SEAM, the term R_ER with weight 1. Left out: its cross regularisation (R_ECR), which
        compares maps with those revised by a pixel correlation branch that no network of this package has, and the
        released code's penalty on maps that fill the whole picture.
    """
    name = "equivariance_loss"
    original, other, present = _compared(name, cams, transformed_cams, tags, flip, eps)
    check_choice(name, "detach", detach, DETACHED)
    if detach == "original":
        original = original.detach()
    elif detach == "transformed":
        other = other.detach()
    difference = (original - other).abs()
    if check_choice(name, "average", average, AVERAGES) == "all":
        return difference.mean()
    per_map = difference.mean(dim=(2, 3))  # [B, K], 0 where absent
    return per_map.sum() / present.sum().clamp_min(1)


def _compared(
    name: str, cams: Tensor, transformed: Tensor, tags: Tensor, flip: bool, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """F(A(I)) and A(F(I)), both [B, K, h2, w2] in 0..1 and 0 for absent tags; [B, K] which are present."""
    if cams.ndim != 4 or 0 in cams.shape:
        raise ShapeError(
            f"{name}: cams must have shape [B, K, h, w], none of them 0; got {list(cams.shape)}. Pass raw maps."
        )
    if transformed.ndim != 4 or transformed.shape[:2] != cams.shape[:2] or 0 in transformed.shape:
        raise ShapeError(
            f"{name}: transformed_cams must have shape [B, K, h2, w2] with [B, K] = {list(cams.shape[:2])}; "
            f"got {list(transformed.shape)}. Pass the maps of the same pictures."
        )
    if tags.shape != cams.shape[:2]:
        raise ShapeError(
            f"{name}: tags must have shape [B, K] = {list(cams.shape[:2])}; got {list(tags.shape)}. "
            "Give one row an image, nonzero where the tag is present."
        )
    if not eps > 0.0:
        raise RangeError(f"{name}: eps must be above 0; got {eps!r}. 1e-5 is the default.")
    present = tags.to(cams.device) != 0
    # Absent maps are cut out before the division: no gradient of theirs, and no NaN through 0 * inf.
    absent = ~present[:, :, None, None]
    original, _ = scale_maps(cams.masked_fill(absent, 0.0), "max", eps)
    other, _ = scale_maps(transformed.masked_fill(absent, 0.0), "max", eps)
    size = (other.shape[-2], other.shape[-1])
    if tuple(original.shape[-2:]) != size:
        original = F.interpolate(original, size=size, mode="bilinear", align_corners=True)
    return original.flip(-1) if flip else original, other, present
