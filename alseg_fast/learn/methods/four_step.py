"""The classical pipeline: classifier, activation maps, refined pseudo-masks on disk, a segmentation network on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..training.config import Settings
from ..training.job import Job, Outcome
from .classifier import ClassifierOptions, train_classifier
from .figures import cam_figures, mask_figures, segmentation_figures
from .map_masks import Band, RefineOptions, fit_band, make_pseudo_masks, written_masks
from .segmentation import Segmentation, SegmentationOptions, with_masks


class Options(Settings):
    """Each step with its own options.

    Attributes:
        use_labelled: pixel-labelled images (data.labelled) keep their own masks in step 4; off: every image learns from
            its pseudo-mask, as with tags alone.
    """

    classifier: ClassifierOptions = ClassifierOptions()
    refine: RefineOptions = RefineOptions()
    segmentation: SegmentationOptions = SegmentationOptions()
    use_labelled: bool = False


def run(job: Job, options: Options) -> Outcome:
    """Stages "classifier" and "segmentation"; OUT/files/pseudo_masks has a PNG of class ids for every image with tags.

    The last network is a fresh one without a tag head. A restart keeps what is finished, masks included.
    """
    classifier = train_classifier(job, options.classifier)
    folder = job.directory("pseudo_masks")
    train = job.data.train
    fitted = job.once("threshold", lambda: vars(fit_band(classifier, train, job.view, options.refine)))
    band = Band(fitted["low"], fitted["high"])
    made = job.once(
        "pseudo_masks", lambda: make_pseudo_masks(classifier, train, job.view, folder, band, options.refine)
    )
    masks: dict[str, Path] = dict(written_masks(train, folder))
    figures = cam_figures(job, classifier, threshold=band.middle)
    figures |= mask_figures("pseudo-masks", job.data.truth, masks)
    network = job.build_network(name="segmentation", n_tags=0, aux_tags=False)
    labelled = job.data.labelled if options.use_labelled else ()
    pseudo = {image_id: path for image_id, path in masks.items() if image_id not in set(labelled)}
    data = with_masks(train.with_labels(labelled, pseudo), "four_step")
    method = Segmentation(network, view=job.view, options=options.segmentation)
    result = job.train("segmentation", method, job.make_batches(data, "segmentation", strong=False))
    figures |= segmentation_figures(job, network, threshold=options.segmentation.threshold)
    job.export(network)
    job.export(classifier, head="cam")
    facts: dict[str, Any] = {"pseudo_masks": made, "low": band.low, "high": band.high, "steps": result.steps}
    return Outcome(figures, facts)
