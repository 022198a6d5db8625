"""Adversarial erasing, the classical loop: train, find what is hot, erase it, train again; the union is the object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from ...atomic import make_directory, write_atomic
from ...stages.pseudo_masks import encode_palette_png
from ...stages.run_layout import png_path
from ..data.dataset import IGNORE, Dataset, Sample
from ..data.pictures import read_image
from ..maps.erased_regions import ErasedRegions
from ..maps.erasing import hot_regions, still_recognised
from ..maps.teacher import evaluating
from ..networks.weak_network import WeakNetwork
from ..training.config import Settings
from ..training.job import Job, Outcome
from .classifier import Classifier, ClassifierOptions
from .erased_pictures import write_erased
from .figures import mask_figures

Share = Annotated[float, Field(ge=0, le=1)]


class Options(Settings):
    """The loop. Erase threshold and number of rounds of the paper are not known; these are choices.

    Attributes:
        rounds: classifiers that are trained, each from the same initialisation.
        threshold: share of a map's maximum from which a pixel is hot.
        min_score, max_drop: a region counts only while the classifier still recognises the tag in what is left, see
            `still_recognised`; this is where the loop ends for a picture.
    """

    classifier: ClassifierOptions = ClassifierOptions()
    rounds: Annotated[int, Field(ge=1)] = 3
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    min_score: Share = 0.5
    max_drop: Share = 0.5


def run(job: Job, options: Options) -> Outcome:
    """Stage "classifier", once a round.

    OUT/files/pseudo_masks has the union as masks, OUT/files/regions the bits of each
    round. Exports the first classifier: it is the one that saw whole pictures.
    """
    train, folder = job.data.train, job.directory("regions")
    data = train.with_labels(())
    regions = ErasedRegions(len(train.tag_names))
    first_scores: dict[str, list[float]] = {}
    figures: dict[str, dict[str, float]] = {}
    facts: dict[str, Any] = {"new_pixels": []}
    for number in range(options.rounds):
        name = f"round-{number + 1}"
        network = _train(job, options, data, name)
        if number == 0:
            job.export(network, head="cam")
        path = folder / f"{name}.npz"
        found = job.once(name, partial(_find, job, options, network, data, regions, first_scores, path))
        # From the file in every case: what a second start would have.
        regions = ErasedRegions.load(path)
        first_scores = first_scores or found["scores"]
        facts["new_pixels"].append(found["added"])
        masks = _write_masks(train, regions, job.directory("pseudo_masks", name))
        figures |= mask_figures(f"pseudo-masks after round {number + 1}", job.data.truth, masks)
        if found["added"] == 0 or number + 1 == options.rounds:
            break
        fill = [255 * mean for mean in job.config.data.mean]
        erased = write_erased(train, regions, job.directory("erased", name), fill)
        data = replace(data, samples=tuple(replace(s, image=erased.get(s.image_id, s.image)) for s in data.samples))
    return Outcome(figures, facts)


def _train(job: Job, options: Options, data: Dataset, name: str) -> WeakNetwork:
    network = job.build_network(decoder="none")
    method = Classifier(network, single_tag=data.single_tag, view=job.view, options=options.classifier)
    job.train("classifier", method, job.make_batches(data, "classifier", strong=options.classifier.strong), name=name)
    return network


def _find(
    job: Job,
    options: Options,
    network: WeakNetwork,
    data: Dataset,
    regions: ErasedRegions,
    first_scores: dict[str, list[float]],
    path: Path,
) -> dict[str, Any]:
    """Add the hot regions of every picture with a tag, and save them."""
    added, scores_of, size = 0, {}, job.config.data.size
    with torch.no_grad(), evaluating(network):
        for sample in data.samples:
            if not sample.tags:
                continue
            tags = torch.zeros((1, len(data.tag_names)), device=job.device)
            tags[0, list(sample.tags)] = 1
            outputs = network(job.view.tensor(read_image(sample))[None].to(job.device))
            scores = _probabilities(outputs.tag_logits, data.single_tag)
            scores_of[sample.image_id] = scores[0].tolist()
            first = torch.tensor([first_scores.get(sample.image_id, scores_of[sample.image_id])], device=job.device)
            allowed = still_recognised(scores, first, tags, min_score=options.min_score, max_drop=options.max_drop)
            hot = hot_regions(outputs.cams, tags, options.threshold, size=size)
            added += regions.add([sample.image_id], hot, allowed)
    regions.rounds += 1
    regions.save(path)
    return {"added": added, "scores": scores_of}


def _probabilities(logits: Tensor, single_tag: bool) -> Tensor:
    return logits.softmax(dim=1) if single_tag else logits.sigmoid()


def _write_masks(dataset: Dataset, regions: ErasedRegions, folder: Path) -> dict[str, Path]:
    """Image id -> PNG of class ids at the picture's size; pixels that two classes claim are ignored."""
    written = {}
    for sample in dataset.samples:
        if sample.image_id not in regions:
            continue
        path = png_path(folder, sample.image_id)
        if not path.exists():
            size = read_image(sample).shape[:2]
            mask = union_mask(sample, dataset.class_of_tag, regions, (size[0], size[1]))
            make_directory(path.parent)
            write_atomic(path, encode_palette_png(mask))
        written[sample.image_id] = path
    return written


def union_mask(
    sample: Sample, class_of_tag: Sequence[int], regions: ErasedRegions, size: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """[H, W] class ids: what was found of each tag; 0 where nothing was, 255 where two classes were."""
    mask = np.zeros(size, np.uint8)
    for tag in sample.tags:
        found, wanted = regions.found(sample.image_id, tag, size), class_of_tag[tag]
        mask[found & (mask != 0) & (mask != wanted)] = IGNORE
        mask[found & (mask == 0)] = wanted
    return mask
