"""Figures of a network on a data set, at each picture's own resolution."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ...checks import check_choice
from ...errors import DataError, RangeError, UsageError
from ..data.dataset import Dataset, Sample
from ..data.pictures import read_image, read_mask
from ..maps.teacher import activation_maps, evaluating
from .cam_sweep import CamSweep
from .figures import mask_figures, predicted_tags, tag_figures, tag_matrix
from .label_maps import cam_winner, label_map, without_absent
from .metrics import THRESHOLD_GRID, ConfusionMeter, check_grid, dice_per_image

if TYPE_CHECKING:
    from ..data.transforms import View


def evaluate_segmentation(
    network: nn.Module,
    dataset: Dataset,
    view: View,
    *,
    tag_masked: bool = False,
    threshold: float = 0.5,
    batch_size: int = 8,
) -> dict[str, float]:
    """Figures of the segmentation head.

    Logits are resized to the picture's own size and then become labels, by :func:`alseg_fast.uncertainty`.

    Args:
        network: answers `NetworkOutputs` with seg_logits; its modes are as before afterwards.
        dataset: images without a mask count only for tags.
        view: pictures as the network sees them.
        tag_masked: also give the figures with the classes removed that the *true* image tags rule out. They use
            knowledge of the test image and are not comparable with the others, so each has a name of its own. An
            image without tags is left as it is, for nothing is known about it.
        threshold: of the foreground's probability, for networks with one logit.
        batch_size: pictures in memory at a time.

    Returns: figures in 0..1.
        miou, pixel_accuracy, "iou/<class>" (classes that occur in truth or prediction), class_dice (mean over these
        classes, counted over all images);
        with two classes: dice (mean over images, 0 for a mask without foreground, as published);
        "tag_masked_..." of each of these, with `tag_masked`;
        with a tag head: tag_accuracy, tag_average_precision.
    Raises: DataError: a file cannot be used (a figure over fewer images than asked for would mislead), logits are
        not finite (the image is named), or no image has a mask. UsageError: the network has no segmentation head.
        RangeError: an argument is wrong.
    """
    name = "evaluate_segmentation"
    shift = _logit(name, threshold)
    n_classes = len(dataset.classes)
    meters = {"": ConfusionMeter(n_classes)}
    if tag_masked:
        meters["tag_masked_"] = ConfusionMeter(n_classes)
    dices: dict[str, list[float]] = {prefix: [] for prefix in meters}
    tag_logits: list[Tensor] = []
    with torch.no_grad(), evaluating(network):
        for samples, images in _view_batches(name, network, dataset, view, batch_size):
            outputs = network(images)
            if outputs.seg_logits is None:
                raise UsageError(f"{name}: network must have a segmentation head; got none. Build it with a decoder.")
            if outputs.tag_logits is not None:
                tag_logits.append(outputs.tag_logits.float().cpu())
            logits = _check_logits(name, outputs.seg_logits.float(), n_classes, threshold) - shift
            for i, sample in enumerate(samples):
                if sample.mask is None:
                    continue
                truth = read_mask(dataset, sample)
                for prefix, meter in meters.items():
                    scores = logits[i : i + 1]
                    if prefix and sample.tags:
                        scores = without_absent(scores, sample, dataset)
                    labels = label_map(name, scores, truth.shape, sample)
                    meter.add(labels, truth)
                    if n_classes == 2:
                        dices[prefix].append(dice_per_image(labels, truth))
    if meters[""].n_pixels == 0:
        raise DataError(f"{name}: no image of {dataset.name} has a labelled pixel; evaluate images that have masks")
    figures: dict[str, float] = {}
    for prefix, meter in meters.items():
        figures |= mask_figures(meter, dataset, prefix)
        if dices[prefix]:
            figures[f"{prefix}dice"] = float(np.mean(dices[prefix]))
    return figures | tag_figures(tag_logits, dataset)


def evaluate_cams(
    network: nn.Module,
    dataset: Dataset,
    view: View,
    *,
    threshold: float,
    tags: str = "true",
    aux: bool = False,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    align_corners: bool = False,
    sweep: Sequence[float] = THRESHOLD_GRID,
    batch_size: int = 8,
) -> dict[str, float]:
    """Figures of the activation maps as label maps.

    Maps in 0..1 (see `maps.teacher.activation_maps`) of the tags that are taken as present are resized bilinearly to
    the picture's own size; a pixel gets the class of the largest (of equals the first tag's), or background 0 where
    that is below the threshold.

    Args:
        network: answers `NetworkOutputs` with cams; its modes are as before afterwards.
        dataset: with a background 0. Images without a mask count only for tags.
        view: pictures as the network sees them.
        threshold: of the background, in (0, 1]; a constant or what a fit to the maps has given.
        tags: "true" validates the maps with the image's own tags: right for pseudo-labels of training images, but
            help from the truth on test images; an image without tags is all background. "predicted" takes the
            network's own tags (arg-max for single-tag data, else logit > 0).
        aux: the auxiliary maps instead.
        scales, flip: see `activation_maps`.
        align_corners: of the resize to the picture's size.
        sweep: thresholds that are tried besides.
        batch_size: pictures in memory at a time.

    Returns: figures in 0..1: miou, pixel_accuracy, class_dice, "iou/<class>", with two classes dice, as in
        :func:`evaluate_segmentation`; tag_accuracy, tag_average_precision;
        oracle_miou at oracle_threshold, and with two classes oracle_dice at oracle_dice_threshold: the best over the
        sweep, chosen on the very masks they are measured with. They bound what a threshold can do and are no result.
        Without any mask: the figures of tags alone.
    Raises: DataError: a file cannot be used, maps are not finite, or there is neither mask nor tag. ModelError: the
        network has no maps. RangeError: an argument is wrong.
    """
    name = "evaluate_cams"
    check_choice(name, "tags", tags, ("true", "predicted"))
    if not (isinstance(threshold, (int, float)) and 0 < threshold <= 1):
        raise RangeError(f"{name}: threshold must be in (0, 1]; got {threshold!r}. Maps are in 0..1.")
    at = float(threshold)
    if 0 in dataset.class_of_tag:
        raise RangeError(
            f"{name}: dataset must have a background of id 0; in {dataset.name} 0 is {dataset.classes[0]}, the class "
            "of a tag. A threshold tells foreground from background."
        )
    grid = np.unique(np.append(check_grid(name, "sweep", sweep), at))
    counted = CamSweep(len(dataset.classes), grid)
    tag_logits: list[Tensor] = []
    seen: list[Tensor] = []
    hook = network.register_forward_hook(lambda _module, _inputs, outputs: seen.append(outputs.tag_logits))
    any_mask = False
    try:
        for samples, images in _view_batches(name, network, dataset, view, batch_size):
            present = tag_matrix(samples, len(dataset.tag_names), images.device)
            seen.clear()
            known = present if tags == "true" else None
            try:
                maps = activation_maps(network, images, known, scales=scales, flip=flip, aux=aux)
            except DataError as exc:
                raise DataError(f"{name}: images {', '.join(s.image_id for s in samples)}: {exc}") from exc
            own = seen[0][: len(samples)].float()  # of the first scale; the mirror images follow
            tag_logits.append(own.cpu())
            if tags == "predicted":
                present = predicted_tags(own, dataset.single_tag)
            for i, sample in enumerate(samples):
                if sample.mask is None:
                    continue
                any_mask = True
                truth = read_mask(dataset, sample)
                values, classes = cam_winner(maps[i], present[i], dataset.class_of_tag, truth.shape, align_corners)
                counted.add(values, classes, truth)
    finally:
        hook.remove()
    figures = tag_figures(tag_logits, dataset)
    if any_mask:
        index = int(np.searchsorted(grid, at))
        mious, dices = counted.miou, counted.dice
        figures |= mask_figures(counted.meter(index), dataset)
        figures |= {"oracle_miou": float(mious.max()), "oracle_threshold": float(grid[int(mious.argmax())])}
        if len(dataset.classes) == 2:
            figures["dice"] = float(dices[index])
            figures |= {"oracle_dice": float(dices.max()), "oracle_dice_threshold": float(grid[int(dices.argmax())])}
    elif not figures:
        raise DataError(f"{name}: no image of {dataset.name} has a mask or a tag; there is nothing to compare with")
    return figures


def _view_batches(
    name: str, network: nn.Module, dataset: Dataset, view: View, batch_size: int
) -> Iterator[tuple[tuple[Sample, ...], Tensor]]:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise RangeError(f"{name}: batch_size must be an integer >= 1; got {batch_size!r}. 8 is the default.")
    if not len(dataset):
        raise DataError(f"{name}: the data set {dataset.name} has no image here; check the split")
    first = next(network.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    for start in range(0, len(dataset), batch_size):
        samples = dataset.samples[start : start + batch_size]
        # The same pixels that the exported network sees when the engine scores these files.
        pictures = (read_image(sample, at_least=view.size) for sample in samples)
        yield samples, torch.stack([view.tensor(picture) for picture in pictures]).to(device)


def _check_logits(name: str, logits: Tensor, n_classes: int, threshold: float) -> Tensor:
    channels = logits.shape[1]
    if channels != (1 if n_classes == 2 else n_classes) and not channels == n_classes == 2:
        raise UsageError(
            f"{name}: network must have {1 if n_classes == 2 else n_classes} segmentation channels for {n_classes} "
            f"classes; got {channels}. Build it with n_classes={n_classes}."
        )
    if channels > 1 and threshold != 0.5:
        raise RangeError(
            f"{name}: threshold must be 0.5 for {channels} channels; got {threshold!r}. "
            "The arg-max decides; only one foreground logit has a threshold."
        )
    return logits


def _logit(name: str, threshold: float) -> float:
    if not (isinstance(threshold, (int, float)) and 0 < threshold < 1):
        raise RangeError(f"{name}: threshold must be in (0, 1); got {threshold!r}. It is a probability.")
    return math.log(threshold / (1 - threshold))
