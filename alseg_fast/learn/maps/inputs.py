"""What the functions on activation maps ask of their arguments, and their one way of resizing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import DataError, DtypeError, RangeError, ShapeError


def check_images(name: str, images: Tensor) -> None:
    """[B, 3, H, W] floating point; whether they are finite shows in the maps."""
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        raise ShapeError(
            f"{name}: images must have shape [B, 3, H, W], none of them 0; got {list(images.shape)}. "
            "Pass a batch of normalised RGB pictures."
        )
    if not images.is_floating_point():
        raise DtypeError(f"{name}: images must be floating point; got {images.dtype}. Normalise the pictures first.")


def check_cams(name: str, cams: Tensor) -> None:
    """[B, K, h, w] floating point, finite."""
    if cams.ndim != 4 or 0 in cams.shape:
        raise ShapeError(
            f"{name}: cams must have shape [B, K, h, w], none of them 0; got {list(cams.shape)}. "
            "Pass at least one image and one tag."
        )
    if not cams.is_floating_point():
        raise DtypeError(f"{name}: cams must be floating point; got {cams.dtype}. Pass the network's raw maps.")
    check_finite(name, cams)


def check_finite(name: str, cams: Tensor) -> None:
    """DataError naming the first image and tag whose map holds NaN or inf."""
    broken = ~torch.isfinite(cams.detach()).flatten(2).all(dim=2)
    if broken.any():
        image, tag = broken.nonzero()[0].tolist()
        raise DataError(
            f"{name}: cams must be finite; got NaN or inf in the map of tag {tag} of image {image}. "
            "Look for a diverged training or a broken picture."
        )


def present_tags(name: str, tags: Tensor | None, shape: tuple[int, int], device: torch.device) -> Tensor | None:
    """[B, K] bool on `device`, or None for None."""
    return None if tags is None else is_present(name, tags, shape, device)


def is_present(name: str, tags: Tensor, shape: tuple[int, int], device: torch.device) -> Tensor:
    """[B, K] bool on `device`; ShapeError when tags are of other images or classes."""
    if tuple(tags.shape) != shape:
        raise ShapeError(
            f"{name}: tags must have shape [B, K] = {list(shape)}; got {list(tags.shape)}. "
            "Give one row an image, nonzero where the tag is present."
        )
    if tags.is_floating_point() and not bool(torch.isfinite(tags).all()):
        raise DataError(
            f"{name}: tags must be finite; got NaN or inf. Give 1 where the tag is present and 0 elsewhere."
        )
    return tags.to(device) != 0


def one_tag(name: str, tag: Tensor | int, cams: Tensor) -> Tensor:
    """[B] int64 class indices from one index or [B] of them."""
    chosen = torch.as_tensor(tag, device=cams.device)
    if chosen.is_floating_point() or chosen.dtype == torch.bool:
        raise DtypeError(f"{name}: tag must be integers; got {chosen.dtype}. Pass class indices, not scores.")
    chosen = chosen.to(torch.int64).expand(len(cams)) if chosen.ndim == 0 else chosen.to(torch.int64)
    if chosen.shape != cams.shape[:1]:
        raise ShapeError(
            f"{name}: tag must be one integer or [B] = [{len(cams)}]; got {list(chosen.shape)}. Give one an image."
        )
    if int(chosen.min()) < 0 or int(chosen.max()) >= cams.shape[1]:
        raise RangeError(
            f"{name}: tag must be in 0..{cams.shape[1] - 1}; got {int(chosen.min())}..{int(chosen.max())}. "
            "An image without a tag has no true class: leave it out."
        )
    return chosen


def above_zero(name: str, argument: str, value: float) -> float:
    """A number above 0, not NaN."""
    if not value > 0.0:
        raise RangeError(f"{name}: {argument} must be above 0; got {value!r}. Give a positive number.")
    return float(value)


def share(name: str, argument: str, value: float) -> float:
    """A number in 0..1."""
    if not 0.0 <= value <= 1.0:
        raise RangeError(f"{name}: {argument} must be in [0, 1]; got {value!r}. It is a share.")
    return float(value)


def resize_maps(maps: Tensor, size: tuple[int, int], present: Tensor | None, *, align_corners: bool) -> Tensor:
    """[B, K, h, w] -> [B, K, H, W] bilinear; only the maps that `present` [B, K] names, the others are 0."""
    if present is None:
        return interpolate(maps, size, align_corners=align_corners)
    which = present.nonzero(as_tuple=True)
    full = maps.new_zeros((*maps.shape[:2], *size))
    return full.index_put(which, interpolate(maps[which][:, None], size, align_corners=align_corners)[:, 0])


def interpolate(maps: Tensor, size: tuple[int, int], *, align_corners: bool) -> Tensor:
    """Bilinear, without antialiasing; the same tensor where nothing changes."""
    if tuple(maps.shape[-2:]) == size:
        return maps
    if not len(maps):  # torch has no interpolation of an empty batch
        return maps.new_zeros((*maps.shape[:-2], *size))
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=align_corners)
