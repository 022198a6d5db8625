"""The figures that recipes report: activation maps, pseudo-masks and segmentation, each on a line of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from ..data.dataset import Dataset
from ..data.label_images import read_ids
from ..data.pictures import read_mask
from ..data.transforms import View
from ..networks.weak_network import WeakNetwork
from ..training.evaluate import evaluate_cams, evaluate_segmentation
from ..training.job import Job
from ..training.metrics import ConfusionMeter
from .foreground import published_wsl_dice, validation_threshold

Figures = dict[str, dict[str, float]]
TEST, TRAINING = "test", "training images"


def pick_score(figures: Mapping[str, float], data: Dataset) -> float:
    """What a segmentation is judged by: mean Dice of two-class data, else mIoU."""
    return figures["dice"] if len(data.classes) == 2 else figures["miou"]


def judge(
    network: WeakNetwork, data: Dataset, view: View, *, threshold: float, score: Literal["segmentation", "cam"]
) -> dict[str, float]:
    """Figures of activation maps ("cam_...") and, where there is a decoder, of segmentation; "score" is one of them.

    Args:
        threshold: of normalised maps.
        score: the side that counts; maps are validated with the true tags.
    """
    cams = evaluate_cams(network, data, view, threshold=threshold)
    figures = {f"cam_{name}": value for name, value in cams.items()}
    if network.decoder is not None:
        figures |= evaluate_segmentation(network, data, view, tag_masked=True)
    side = cams if score == "cam" or network.decoder is None else figures
    return {**figures, "score": pick_score(side, data) if "miou" in side else side["tag_accuracy"]}


def cam_figures(
    job: Job, network: WeakNetwork, *, threshold: float, name: str | None = None, training: bool = False
) -> Figures:
    """How good the activation maps are as masks, on the test images and, with `training`, on the training images.

    With two classes also at the threshold that suits the validation masks best, and by the published rule WSL, which
    needs no threshold. "oracle_..." figures are the best over all thresholds, chosen on the very masks they are
    measured with: no method has them, they bound what maps could reach. Maps of "true tags" know which classes the
    picture has.

    Args:
        threshold: of normalised maps.
        name: of the threshold, where there are several.
    """
    cut = f", {name}" if name else ""

    def make() -> Figures:
        figures: Figures = {}
        two = len(job.data.train.classes) == 2
        for place, data in _places(job, training):
            for tags in ("true",) if two else ("true", "predicted"):
                found = evaluate_cams(network, data, job.view, threshold=threshold, tags=tags)
                figures[f"cam, {tags} tags{cut}, {place}"] = {**found, "threshold": threshold}
            if two:
                figures[f"cam, published rule, {place}"] = {"dice": published_wsl_dice(network, data, job.view)}
                if job.data.validation is not None:
                    chosen = validation_threshold(network, job.data.validation, job.view, "cam")
                    found = evaluate_cams(network, data, job.view, threshold=chosen)
                    figures[f"cam, true tags, validation threshold, {place}"] = {**found, "threshold": chosen}
        return figures

    return _once(job, "figures-cam" + (f"-{name.replace(' ', '-')}" if name else ""), make)


def segmentation_figures(
    job: Job, network: WeakNetwork, *, threshold: float, choose: bool = False, training: bool = False
) -> Figures:
    """The segmentation's figures, with those that mask absent classes by the true tags apart.

    Args:
        threshold: of one foreground logit.
        choose: also at the threshold that suits the validation masks best (two classes).
        training: also on the training images.
    """

    def make() -> Figures:
        figures: Figures = {}
        two = len(job.data.train.classes) == 2
        cuts = {"": threshold} if two else {"": 0.5}
        if choose and two and job.data.validation is not None:
            chosen = validation_threshold(network, job.data.validation, job.view, "segmentation")
            cuts[", validation threshold"] = chosen
        for place, data in _places(job, training):
            for name, cut in cuts.items():
                found = evaluate_segmentation(network, data, job.view, tag_masked=not two, threshold=cut)
                masked = {k.removeprefix("tag_masked_"): v for k, v in found.items() if k.startswith("tag_masked_")}
                plain = {k: v for k, v in found.items() if not k.startswith("tag_masked_")}
                figures[f"segmentation{name}, {place}"] = {**plain, **({"threshold": cut} if two else {})}
                if masked:
                    figures[f"segmentation{name}, true tags, {place}"] = masked
        return figures

    return _once(job, "figures-segmentation", make)


def mask_figures(name: str, truth: Dataset, masks: Mapping[str, Path]) -> Figures:
    """Pseudo-masks on disk against the annotations.

    "miou" is over the pixels that the masks name; "named" is their share. Nothing where no image has both.
    """
    meter, named, known = ConfusionMeter(len(truth.classes), unlabelled_prediction="skip"), 0, 0
    for sample in truth.samples:
        if sample.mask is None or sample.image_id not in masks:
            continue
        right, made = read_mask(truth, sample), read_ids(masks[sample.image_id])
        meter.add(made, right)
        named += int(((made != 255) & (right != 255)).sum())
        known += int((right != 255).sum())
    if known == 0:
        return {}
    return {name: {"miou": meter.miou, "pixel_accuracy": meter.pixel_accuracy, "named": named / known}}


def _places(job: Job, training: bool) -> Iterator[tuple[str, Dataset]]:
    """Where figures are measured: data that has masks."""
    for place, data in ((TEST, job.data.test), (TRAINING, job.data.truth if training else None)):
        if data is not None and any(s.mask is not None for s in data.samples):
            yield place, data


def _once(job: Job, name: str, make: Callable[[], Figures]) -> Figures:
    found: dict[str, Any] = job.once(name, make)
    return {line: dict(values) for line, values in found.items()}
