"""Adversarial erasing: hot regions are erased from the picture, so that the next classifier looks elsewhere.

The loop is: train a classifier, make its maps, `hot_regions`, `still_recognised`, `ErasedRegions.add`, and train the
next one on pictures from which `erase` (tensors) or `erase_picture` (8-bit) took `ErasedRegions.erased`. What was
found over all rounds is the object.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ...checks import check_size
from ...errors import DataError, DtypeError, RangeError, ShapeError
from .cams import normalise_cams
from .hide_and_seek import fill_values
from .inputs import check_images, is_present, resize_maps, share

HOT_THRESHOLD = 0.5
"""Share of a map's maximum from which a pixel is hot. The paper's value is not known here; this is a choice."""


def hot_regions(
    cams: Tensor,
    tags: Tensor,
    threshold: float = HOT_THRESHOLD,
    *,
    size: tuple[int, int] | None = None,
    mode: str = "max",
    align_corners: bool = True,
) -> Tensor:
    """[B, K, H, W] bool: where the normalised map of a present tag is at least `threshold`.

    Args:
        cams: [B, K, h, w] raw maps; normalised at their own resolution, then upsampled.
        tags: [B, K], nonzero where the tag is present; an absent tag has no region, nor has an empty map.
        threshold: in (0, 1].
        size: (H, W) pixels; None keeps (h, w).
        mode: of `normalise_cams`.
        align_corners: of the upsampling.

    Raises: ShapeError, DtypeError, RangeError: an argument is wrong. DataError: cams hold NaN or inf.
    """
    name = "hot_regions"
    if not 0.0 < threshold <= 1.0:
        raise RangeError(f"{name}: threshold must be in (0, 1]; got {threshold!r}. It is a share of the map's maximum.")
    scaled = normalise_cams(cams.detach(), tags, mode)
    shape = (cams.shape[-2], cams.shape[-1]) if size is None else check_size(name, "size", size)
    present = is_present(name, tags, (cams.shape[0], cams.shape[1]), cams.device)
    return resize_maps(scaled, shape, present, align_corners=align_corners) >= threshold


def erase(
    images: Tensor,
    cams: Tensor,
    threshold: float = HOT_THRESHOLD,
    *,
    tags: Tensor,
    fill: float | Sequence[float] = 0.0,
    mode: str = "max",
) -> Tensor:
    """The pictures without the hot regions of all their tags.

    Args:
        images: [B, 3, H, W] normalised; not modified. The other arguments are those of `hot_regions`.
        fill: one value or one a channel, in the unit of `images`; 0 is the mean colour of normalised pictures, the
            fill of the paper.
    """
    check_images("erase", images)
    if len(cams) != len(images):
        raise ShapeError(f"erase: cams must be of the {len(images)} images; got {len(cams)}. Pass the same batch.")
    size = (images.shape[-2], images.shape[-1])
    return erase_regions(images, hot_regions(cams, tags, threshold, size=size, mode=mode).any(dim=1), fill=fill)


def erase_regions(images: Tensor, regions: Tensor, *, fill: float | Sequence[float] = 0.0) -> Tensor:
    """[B, 3, H, W] with `fill` where regions [B, H, W] (bool) is True; not in place."""
    check_images("erase_regions", images)
    if regions.dtype != torch.bool or tuple(regions.shape) != (len(images), *images.shape[-2:]):
        raise ShapeError(
            f"erase_regions: regions must be bool of shape {[len(images), *images.shape[-2:]]}; got {regions.dtype} "
            f"{list(regions.shape)}. Resize them to the pictures."
        )
    values = fill_values("erase_regions", fill, images)
    return torch.where(regions.to(images.device)[:, None], values[:, None, None], images)


def erase_picture(
    image: npt.NDArray[np.uint8], region: npt.NDArray[np.bool_], *, fill: Sequence[float] | float
) -> npt.NDArray[np.uint8]:
    """One 8-bit picture [H, W, 3] with `fill` (0..255, rounded) where region [H, W] is True; before any transform.

    The mean fill of the paper is the mean colour of the training pictures: 255 times the mean that normalises them.
    """
    name = "erase_picture"
    if image.dtype != np.uint8 or region.dtype != np.bool_:
        raise DtypeError(
            f"{name}: image must be uint8 and region bool; got {image.dtype} and {region.dtype}. Convert them first."
        )
    if image.ndim != 3 or image.shape[2] != 3 or region.shape != image.shape[:2]:
        raise ShapeError(
            f"{name}: image must be [H, W, 3] and region [H, W]; got {list(image.shape)} and {list(region.shape)}. "
            "Resize the region to the picture."
        )
    colour = np.asarray(fill, np.float64)
    if colour.shape not in ((), (3,)) or not ((colour >= 0) & (colour <= 255)).all():
        raise RangeError(f"{name}: fill must be one or three numbers in 0..255; got {fill!r}. Give a colour.")
    return np.where(region[:, :, None], np.rint(np.broadcast_to(colour, 3)).astype(np.uint8), image)


def still_recognised(
    scores: Tensor, first_scores: Tensor, tags: Tensor, *, min_score: float = 0.5, max_drop: float = 0.5
) -> Tensor:
    """[B, K] bool: tags whose object is still in the erased picture, so that its next hot region may be trusted.

    Once a classifier no longer finds the class, its map marks background: the trap of erasing. The published loop
    stops after a fixed number of rounds for all pictures; this rule, a choice of this package, is by picture and tag.

    Args:
        scores: [B, K] in 0..1, probabilities on the erased pictures.
        first_scores: [B, K] of the first classifier on the whole pictures.
        tags: [B, K], nonzero where present; absent tags are never recognised.
        min_score: least probability.
        max_drop: most that the score may have fallen, as a share of the first.

    Raises: ShapeError, RangeError: an argument is wrong. DataError: scores are NaN or outside 0..1.
    """
    name = "still_recognised"
    share(name, "min_score", min_score)
    share(name, "max_drop", max_drop)
    if scores.ndim != 2 or scores.shape != first_scores.shape:
        raise ShapeError(
            f"{name}: scores and first_scores must both be [B, K]; got {list(scores.shape)} and "
            f"{list(first_scores.shape)}. Pass the same pictures."
        )
    present = is_present(name, tags, (scores.shape[0], scores.shape[1]), scores.device)
    for argument, values in (("scores", scores), ("first_scores", first_scores)):
        if not bool(((values >= 0) & (values <= 1)).all()):
            raise DataError(f"{name}: {argument} must lie in 0..1; got NaN or other values. Pass probabilities.")
    return present & (scores >= min_score) & (scores >= (1.0 - max_drop) * first_scores.to(scores.device))


def resize_region(region: npt.NDArray[np.bool_], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """[h, w] bool -> [H, W] bool by nearest neighbour at pixel centres."""
    if region.shape == tuple(size):
        return region
    resized = F.interpolate(torch.from_numpy(region[None, None].astype(np.uint8)), size=size, mode="nearest-exact")
    found: npt.NDArray[np.bool_] = resized[0, 0].numpy() != 0
    return found
