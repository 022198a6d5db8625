"""Dice of two-class masks at every threshold at once, from two histograms an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from ...errors import DataError, UsageError
from ..data.dataset import IGNORE, Dataset
from ..data.pictures import read_picture
from ..data.transforms import View
from ..maps.cams import full_resolution_cams, normalise_cams, published_wsl_mask
from ..maps.teacher import evaluating
from ..networks.build import WeakNetwork
from ..training.metrics import dice_per_image

GRID = tuple(round(0.05 + 0.01 * i, 2) for i in range(95))
"""0.05, 0.06, ..., 0.99: the published grid of thresholds."""

Kind = Literal["cam", "segmentation"]
Pair = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class Sweep:
    """Means over images at each threshold.

    Attributes:
        thresholds: [T] ascending; a pixel is foreground where its value >= threshold.
        dice: [T] mean Dice, 2 |A and B| / (|A| + |B| + 1e-8); 0 for an image without foreground in its mask.
        balance: [T] mean of (IoU of the foreground + IoU of the background) / 2, with 1 added to each numerator and
            denominator: what the published threshold maximises.
        n_images: images that were counted.
    """

    thresholds: npt.NDArray[np.float64]
    dice: npt.NDArray[np.float64]
    balance: npt.NDArray[np.float64]
    n_images: int

    def choose(self) -> float:
        """The threshold with the largest `balance`; of equal ones the lowest."""
        return float(self.thresholds[int(self.balance.argmax())])

    def dice_at(self, threshold: float) -> float:
        """Mean Dice at one of the thresholds of the sweep."""
        at = int(np.abs(self.thresholds - threshold).argmin())
        if abs(self.thresholds[at] - threshold) > 1e-9:
            raise UsageError(
                f"Sweep.dice_at: threshold must be one of the sweep's; got {threshold!r}. Pass it to sweep_thresholds."
            )
        return float(self.dice[at])


def sweep_thresholds(pairs: Iterable[Pair], thresholds: Iterable[float] = GRID) -> Sweep:
    """Dice and balance of images at every threshold.

    Args:
        pairs: (values [H, W] in 0..1, truth [H, W] uint8: 0, 1 or 255 = not counted), one image after the other.
        thresholds: any number, in any order.
    Raises: DataError: there is no image.
    Source: Belharbi et al. (2021), released code (grid, criterion).
    """
    cuts = np.unique(np.asarray(tuple(thresholds), dtype=np.float64))
    dice, balance, n_images = np.zeros(len(cuts)), np.zeros(len(cuts)), 0
    for values, truth in pairs:
        counted = truth != IGNORE
        object_ = truth[counted] != 0
        # Bin b holds the values that reach exactly the first b thresholds.
        bins = np.searchsorted(cuts, values[counted].astype(np.float64), side="right")
        per_bin = np.stack([np.bincount(bins[where], minlength=len(cuts) + 1) for where in (object_, ~object_)])
        reached = per_bin[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]  # [2, T]: pixels >= threshold
        n_object, n_other = per_bin.sum(axis=1)
        hit, false = reached
        dice += 2 * hit / (hit + false + n_object + 1e-8)
        foreground = (hit + 1) / (n_object + false + 1)
        background = (n_other - false + 1) / (n_other + n_object - hit + 1)
        balance += (foreground + background) / 2
        n_images += 1
    if n_images == 0:
        raise DataError("sweep_thresholds: pairs must have at least one image; got none. Hold some images out.")
    return Sweep(cuts, dice / n_images, balance / n_images, n_images)


def probability_maps(
    network: WeakNetwork, dataset: Dataset, view: View, kind: Kind, *, normalise: str = "minmax"
) -> Iterator[Pair]:
    """Foreground values at each picture's own resolution, and its mask; images without a mask are left out.

    Args:
        network: with one foreground logit ("segmentation") or a tag head ("cam").
        dataset: of two classes.
        view: pictures as the network sees them.
        kind: "segmentation": sigmoid of the logit resized to the picture (logits are resized, as published). "cam": the
            maps of the true tags at full resolution, corners aligned, normalised, their maximum.
        normalise: mode of `normalise_cams`; min-max after Zhou et al.
    """
    for picture, truth, tags in _pictures(network, dataset, view):
        size = (truth.shape[0], truth.shape[1])
        outputs = network(picture)
        if kind == "cam":
            full = normalise_cams(full_resolution_cams(outputs.cams, size, tags), tags, mode=normalise)
            values = full[0].amax(dim=0)
        else:
            logits = torch.nn.functional.interpolate(outputs.seg_logits, size, mode="bilinear", align_corners=False)
            values = logits[0, 0].sigmoid()
        yield values.float().cpu().numpy(), truth


def published_wsl_dice(network: WeakNetwork, dataset: Dataset, view: View) -> float:
    """Mean Dice of the published baseline WSL: foreground where the true class wins the arg-max over all maps."""
    found = []
    for picture, truth, tags in _pictures(network, dataset, view):
        mask = published_wsl_mask(network(picture).cams, tags.argmax(dim=1), (truth.shape[0], truth.shape[1]))
        found.append(float(dice_per_image(mask[0].cpu().numpy(), truth)))
    if not found:
        raise DataError("published_wsl_dice: dataset must have an image with tag and mask; got none.")
    return float(np.mean(found))


def _pictures(
    network: WeakNetwork, dataset: Dataset, view: View
) -> Iterator[tuple[torch.Tensor, npt.NDArray[np.uint8], torch.Tensor]]:
    """([1, 3, H, W], truth, [1, K]) of the images with mask and tag; the network is in eval mode meanwhile."""
    device = next(network.parameters()).device
    with torch.no_grad(), evaluating(network):
        for sample in dataset.samples:
            if sample.mask is None or not sample.tags:
                continue
            found = read_picture(dataset, sample)
            if found.mask is None:
                continue
            picture = view.tensor(found.image)[None].to(device)
            tags = torch.zeros((1, len(dataset.tag_names)), device=device)
            tags[0, list(sample.tags)] = 1
            yield picture, found.mask, tags
