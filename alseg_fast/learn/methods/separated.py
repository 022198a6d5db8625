"""Belharbi et al.: the classifier first, then frozen, then the segmentation head on the pixel-labelled images."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ...errors import ModelError
from ..networks.weak_network import WeakNetwork
from ..training.config import Settings
from ..training.job import Job, Outcome
from .classifier import ClassifierOptions, train_classifier
from .figures import cam_figures, segmentation_figures
from .segmentation import Segmentation, SegmentationOptions, with_masks


class Options(Settings):
    """Both stages with their own options.

    Attributes:
        threshold: of the final masks. "validation", as published: the grid value that is best on the validation masks,
            which are labels that the budget must count; or a number.
    """

    classifier: ClassifierOptions = ClassifierOptions()
    segmentation: SegmentationOptions = SegmentationOptions()
    threshold: Annotated[float, Field(gt=0, lt=1)] | Literal["validation"] = "validation"


def run(job: Job, options: Options) -> Outcome:
    """Stages "classifier" (all training images, tags) and "segmentation" (labelled ones, masks).

    The figures compare the activation maps alone with the segmentation: at a fixed threshold, at the one that is best
    on the validation masks, at the one that is best on the test masks (which no method can know; what maps could reach
    at most), and by the published rule, which has none.
    """
    classifier = train_classifier(job, options.classifier)
    figures = cam_figures(job, classifier, threshold=options.classifier.cam_threshold)
    network = attach_segmentation(job, classifier)
    method = Segmentation(network, view=job.view, options=options.segmentation)
    train = with_masks(job.data.train, "separated")
    result = job.train("segmentation", method, job.make_batches(train, "segmentation", strong=False))
    fixed = options.segmentation.threshold if options.threshold == "validation" else options.threshold
    figures |= segmentation_figures(job, network, threshold=fixed, choose=options.threshold == "validation")
    job.export(network)
    job.export(network, head="cam")
    facts: dict[str, Any] = {
        "pixel_labelled": len(job.data.labelled),
        "validation_images": len(job.data.validation or ()),
        "segmentation_steps": result.steps,
    }
    return Outcome(figures, facts)


def attach_segmentation(job: Job, classifier: WeakNetwork) -> WeakNetwork:
    """The whole network with the trained classifier, frozen, and a fresh segmentation head.

    The head's initialisation comes from the seed alone: in every round, cycle and method of one seed it is the same, as
    in the published runs (theta_0).

    Raises: ModelError: the two networks do not have the same classifier.
    """
    network = job.build_network()
    missing, unexpected = network.load_state_dict(classifier.state_dict(), strict=False)
    fresh = {id(p) for p in network.segmentation_parameters()}
    lost = [name for name, p in network.named_parameters() if name in set(missing) and id(p) not in fresh]
    if lost or unexpected:
        name = (lost or list(unexpected))[0]
        raise ModelError(f"attach_segmentation: the classifier does not fit the network, {name}; build both alike")
    network.freeze_classifier()
    network.reset_segmentation(job.seed("weights", "segmentation"))
    return network
