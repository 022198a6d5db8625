"""Image tags only: the classifier whose activation maps everything else starts from."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from ...errors import UsageError
from ..data.batch import Batch
from ..data.dataset import Dataset
from ..data.transforms import View
from ..losses.equivariance import equivariance_loss, transformed_pair
from ..networks.outputs import NetworkOutputs
from ..networks.weak_network import WeakNetwork
from ..training.config import Settings
from ..training.evaluate import evaluate_cams
from ..training.job import Job, Outcome
from ..training.method import Losses
from .figures import cam_figures
from .one_network import OneNetwork, add_up
from .tag_losses import tag_parts


class ClassifierOptions(Settings):
    """What the classifier's stage can do. Hide-and-Seek is a part of the pictures: `augment.hide`.

    Attributes:
        tag_weight, aux_tag_weight: of the tag loss, and of the auxiliary classifier's (CoSA: 1 and 1).
        equivariance_weight: of SEAM's loss (published: 1); 0 leaves its second forward pass out.
        equivariance_scale: the rescaling of SEAM's second view (published: 0.3).
        head_lr_factor: learning rate of the heads relative to the encoder's.
        cam_threshold: on normalised maps, for the mask quality that is reported on the way.
        strong: learn from the strongly augmented view.
    """

    tag_weight: Annotated[float, Field(ge=0)] = 1.0
    aux_tag_weight: Annotated[float, Field(ge=0)] = 1.0
    equivariance_weight: Annotated[float, Field(ge=0)] = 0.0
    equivariance_scale: Annotated[float, Field(gt=0)] = 0.3
    head_lr_factor: Annotated[float, Field(gt=0)] = 1.0
    cam_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    strong: bool = False


class Classifier(OneNetwork):
    """Tag loss, auxiliary tag loss and, on request, equivariance.

    Args:
        network: with a tag head.
        single_tag: exactly one tag an image.
        view: the deterministic form of pictures at evaluation.
        options: see `ClassifierOptions`.
    """

    def __init__(self, network: WeakNetwork, *, single_tag: bool, view: View, options: ClassifierOptions) -> None:
        super().__init__(network, head_lr_factor=options.head_lr_factor)
        self.single_tag, self.view, self.options = single_tag, view, options

    def losses(self, batch: Batch, step: int) -> Losses:
        images = batch.strong if self.options.strong else batch.images
        return add_up(self.parts(self.network(images, batch.tags), images, batch))

    def parts(self, outputs: NetworkOutputs, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The weighted losses of outputs that the network gave for `images`."""
        options = self.options
        parts = tag_parts(
            outputs,
            batch,
            single_tag=self.single_tag,
            weight=options.tag_weight,
            aux_weight=options.aux_tag_weight,
        )
        if options.equivariance_weight > 0:
            # A transformer takes whole patches only.
            patch = getattr(self.network.encoder, "patch", 1)
            _, small = transformed_pair(images, scale=options.equivariance_scale, multiple=patch)
            again = self.network(small, batch.tags)
            if outputs.cams is None or again.cams is None:
                raise UsageError("classifier: network must have activation maps; got none. Build it with a tag head.")
            loss = equivariance_loss(outputs.cams, again.cams, batch.tags)
            parts["equivariance"] = options.equivariance_weight * loss
        return parts

    def evaluate(self, data: Dataset) -> dict[str, float]:
        figures = evaluate_cams(self.network, data, self.view, threshold=self.options.cam_threshold)
        return {**figures, "score": figures["tag_accuracy"]}


class Options(ClassifierOptions):
    """The classifier alone: nothing beyond its own options."""


def run(job: Job, options: Options) -> Outcome:
    """Train a classifier on the tags of all training images; exports it with its activation maps as scores."""
    network = train_classifier(job, options)
    job.export(network, head="cam")
    return Outcome(cam_figures(job, network, threshold=options.cam_threshold))


def train_classifier(job: Job, options: ClassifierOptions, **changes: Any) -> WeakNetwork:
    """The stage "classifier" of every recipe that begins with one: a network without decoder, trained on tags.

    Masks of the training images are not read.

    Args:
        changes: keywords of `build_network` that win over the config.
    """
    data = job.data.train.with_labels(())
    network = job.build_network(decoder="none", **changes)
    method = Classifier(network, single_tag=data.single_tag, view=job.view, options=options)
    job.train("classifier", method, job.make_batches(data, "classifier", strong=options.strong))
    return network
