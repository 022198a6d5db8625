"""Tags and masks at once: one network, both losses in every step."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ..data.batch import Batch
from ..data.dataset import Dataset
from ..data.transforms import View
from ..networks.weak_network import WeakNetwork
from ..training.config import Settings
from ..training.job import Job, Outcome
from ..training.method import Losses
from .classifier import Classifier, ClassifierOptions
from .figures import cam_figures, segmentation_figures
from .one_network import add_up
from .segmentation import Segmentation, SegmentationOptions


class Options(Settings):
    """Both parts with their own options.

    Attributes:
        segmentation_weight: of all losses of masks, beside the tag losses' own weights.
    """

    classifier: ClassifierOptions = ClassifierOptions()
    segmentation: SegmentationOptions = SegmentationOptions()
    segmentation_weight: Annotated[float, Field(ge=0)] = 1.0


class Joint(Segmentation):
    """Tag losses plus mask losses. Images without a mask teach the classifier alone.

    The network runs once a step, on the weak view; with SEAM's loss once more.
    """

    def __init__(self, network: WeakNetwork, *, single_tag: bool, view: View, options: Options) -> None:
        super().__init__(network, view=view, options=options.segmentation)
        self.weight = options.segmentation_weight
        self.classifier = Classifier(network, single_tag=single_tag, view=view, options=options.classifier)

    def losses(self, batch: Batch, step: int) -> Losses:
        outputs = self.network(batch.images, batch.tags)
        parts = self.classifier.parts(outputs, batch.images, batch)
        masks = self.mask_parts(outputs, batch, step)
        return add_up({**parts, **{name: self.weight * part for name, part in masks.items()}})

    def evaluate(self, data: Dataset) -> dict[str, float]:
        masks, tags = super().evaluate(data), self.classifier.evaluate(data)
        return {**{f"cam_{k}": v for k, v in tags.items()}, **masks}


def run(job: Job, options: Options) -> Outcome:
    """One stage, "joint"; exports the segmentation and the activation maps."""
    network = job.build_network()
    train = job.data.train
    method = Joint(network, single_tag=train.single_tag, view=job.view, options=options)
    result = job.train("joint", method, job.make_batches(train, "joint", strong=False))
    figures = {
        **cam_figures(job, network, threshold=options.classifier.cam_threshold),
        **segmentation_figures(job, network, threshold=options.segmentation.threshold),
    }
    job.export(network)
    job.export(network, head="cam")
    facts: dict[str, Any] = {"steps": result.steps, "pixel_labelled": len(job.data.labelled)}
    return Outcome(figures, facts)
