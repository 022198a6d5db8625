"""Foreground values of two-class data at each picture's own resolution, and the threshold that validation chooses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import tee
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import DataError, UsageError
from ..data.dataset import Dataset
from ..data.pictures import read_picture
from ..data.transforms import View
from ..maps.cams import published_wsl_mask
from ..maps.teacher import activation_maps, evaluating
from ..networks.weak_network import WeakNetwork
from ..training.figures import tag_matrix
from ..training.metrics import choose_threshold, dice_per_image

Kind = Literal["cam", "segmentation"]
Truth = npt.NDArray[np.uint8]


def validation_threshold(network: WeakNetwork, dataset: Dataset, view: View, kind: Kind) -> float:
    """The threshold of the published grid that suits the masks of `dataset` best, see `choose_threshold`.

    Args: as in `foreground_maps`.
    Raises: DataError: no image has a mask (and, for maps, a tag).
    """
    values, truths = tee(foreground_maps(network, dataset, view, kind))
    # Read in step, so that no more than one picture is kept.
    return choose_threshold((value for value, _ in values), (truth for _, truth in truths))


def foreground_maps(
    network: WeakNetwork, dataset: Dataset, view: View, kind: Kind
) -> Iterator[tuple[npt.NDArray[np.float32], Truth]]:
    """(values [H, W] in 0..1, mask [H, W]) of each image that has a mask and, for maps, a tag.

    Args:
        network: with one foreground logit ("segmentation") or a tag head ("cam").
        dataset: of two classes.
        view: pictures as the network sees them.
        kind: "segmentation": the logit, resized to the picture as published, then sigmoid. "cam": the largest of the
            true tags' maps (`activation_maps`), resized.
    Raises: DataError: no image qualifies.
    """
    n_images = 0
    for picture, truth, tags in _pictures(network, dataset, view):
        size = (truth.shape[0], truth.shape[1])
        if kind == "segmentation":
            logits = _have(network(picture).seg_logits, "a decoder")
            values = F.interpolate(logits, size, mode="bilinear", align_corners=False)[0, 0].sigmoid()
        elif bool(tags.any()):
            maps = activation_maps(network, picture, tags)
            values = F.interpolate(maps, size, mode="bilinear", align_corners=False)[0].amax(dim=0)
        else:
            continue
        n_images += 1
        yield values.float().clamp(0, 1).cpu().numpy(), truth
    if n_images == 0:
        raise DataError(f"foreground_maps: dataset {dataset.name} must have an image with a mask; got none.")


def published_wsl_dice(network: WeakNetwork, dataset: Dataset, view: View) -> float:
    """Mean Dice of the published baseline WSL: foreground where the true class wins the arg-max over all maps.

    Raises: DataError: no image has a mask and a tag.
    """
    found = []
    for picture, truth, tags in _pictures(network, dataset, view):
        if bool(tags.any()):
            cams = _have(network(picture, tags).cams, "a tag head")
            mask = published_wsl_mask(cams, tags.argmax(dim=1), (truth.shape[0], truth.shape[1]))
            found.append(dice_per_image(mask[0].cpu().numpy(), truth))
    if not found:
        raise DataError(f"published_wsl_dice: dataset {dataset.name} must have an image with mask and tag; got none.")
    return float(np.mean(found))


def _have(found: Tensor | None, part: str) -> Tensor:
    if found is None:
        raise UsageError(f"foreground_maps: network must have {part}; got one without. Build it with one.")
    return found


def _pictures(network: WeakNetwork, dataset: Dataset, view: View) -> Iterator[tuple[Tensor, Truth, Tensor]]:
    """([1, 3, H, W], mask, [1, K]) of the images with a mask; the network is in eval mode meanwhile."""
    device = next(network.parameters()).device
    with torch.no_grad(), evaluating(network):
        for sample in dataset.samples:
            if sample.mask is None:
                continue
            found = read_picture(dataset, sample, stored_size=lambda _: view.size)
            if found.mask is not None:
                tags = tag_matrix([sample], len(dataset.tag_names), device)
                yield view.tensor(found.image)[None].to(device), found.mask, tags
