"""Masks, pseudo-masks and weak pixel labels: the segmentation network of every recipe's last step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from torch import Tensor

from ...errors import DataError, UsageError
from ..data.batch import Batch
from ..data.dataset import Dataset
from ..data.transforms import View
from ..losses.published import belharbi_loss
from ..losses.schedules import LambdaSchedule
from ..losses.segmentation import segmentation_loss
from ..networks.outputs import NetworkOutputs
from ..networks.weak_network import WeakNetwork
from ..training.config import Settings
from ..training.evaluate import evaluate_segmentation
from ..training.job import Job, Outcome
from ..training.method import Losses
from .figures import pick_score, segmentation_figures
from .one_network import OneNetwork, add_up


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class PseudoWeight(Settings):
    """lambda, the weight of pseudo-labelled images over the steps, see `LambdaSchedule`.

    Published: constant, 0.1 (GlaS) and 0.001 (CUB).
    """

    kind: Literal["constant", "linear", "exponential"] = "constant"
    start: Annotated[float, Field(ge=0)] = 0.1
    end: Annotated[float, Field(ge=0)] | None = None
    steps: Annotated[int, Field(ge=1)] = 1

    def schedule(self) -> LambdaSchedule:
        return LambdaSchedule(kind=self.kind, start=self.start, end=self.end, steps=self.steps)


class SegmentationOptions(Settings):
    """The loss of masks.

    Attributes:
        normalisation: "belharbi", as published: the sums over labelled and pseudo-labelled images are both divided by
            the whole batch size; "own": each by its own number of images; "pixels": mean over all labelled pixels of
            the batch, those of pseudo-labelled images weighted by lambda.
        pseudo_weight: lambda of pseudo-labelled images.
        aux_weights: of a cascade's further outputs, coarsest first (ICNet: 0.16 and 0.4).
        head_lr_factor: learning rate of the decoder relative to the encoder's.
        threshold: where one foreground logit makes the mask during training.
    """

    normalisation: Literal["belharbi", "own", "pixels"] = "pixels"
    pseudo_weight: PseudoWeight = PseudoWeight()
    aux_weights: Annotated[tuple[Annotated[float, Field(ge=0)], ...], BeforeValidator(_tuple)] = (0.16, 0.4)
    head_lr_factor: Annotated[float, Field(gt=0)] = 1.0
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5


class Options(SegmentationOptions):
    """Segmentation alone.

    Attributes:
        pseudo_masks: a folder with <image_id>.png of class ids, for training images that have no mask of their own;
            images without a file there are left out.
    """

    pseudo_masks: str | None = None


class Segmentation(OneNetwork):
    """Learns from whatever pixel labels a batch has; images without any add nothing.

    Args:
        network: with a decoder; parts that are frozen stay as they are.
        view: pictures at evaluation.
        options: see `SegmentationOptions`.
    """

    def __init__(self, network: WeakNetwork, *, view: View, options: SegmentationOptions) -> None:
        super().__init__(network, head_lr_factor=options.head_lr_factor)
        self.view, self.options = view, options
        self.schedule = options.pseudo_weight.schedule()

    def losses(self, batch: Batch, step: int) -> Losses:
        return add_up(self.mask_parts(self.network(batch.images), batch, step))

    def mask_parts(self, outputs: NetworkOutputs, batch: Batch, step: int) -> dict[str, Tensor]:
        """The weighted losses of outputs that the network gave for the batch's weak view."""
        if outputs.seg_logits is None:
            raise UsageError(
                "segmentation: network must have a decoder; got one without. Set network.decoder, for example unet."
            )
        lambda_ = self.schedule.at(step)
        parts = {"masks": self._loss(outputs.seg_logits, batch, lambda_)}
        if outputs.aux_seg_logits:
            weights = self.options.aux_weights
            if len(weights) != len(outputs.aux_seg_logits):
                raise UsageError(
                    f"segmentation: aux_weights must have one weight for each of the network's "
                    f"{len(outputs.aux_seg_logits)} further outputs; got {len(weights)}. Coarsest first."
                )
            for i, (weight, logits) in enumerate(zip(weights, outputs.aux_seg_logits, strict=True)):
                parts[f"aux_masks_{i}"] = weight * self._loss(logits, batch, lambda_)
        return parts

    def _loss(self, logits: Tensor, batch: Batch, lambda_: float) -> Tensor:
        kind = self.options.normalisation
        if kind == "pixels":
            weights = batch.labelled.to(logits.dtype) + lambda_ * batch.pseudo.to(logits.dtype)
            weights = weights[:, None, None].expand(batch.masks.shape)
            return segmentation_loss(logits, batch.masks, weights=weights)
        divide_by = "batch" if kind == "belharbi" else "own"
        return belharbi_loss(logits, batch.masks, batch.labelled, batch.pseudo, lambda_, divide_by=divide_by)

    def evaluate(self, data: Dataset) -> dict[str, float]:
        figures = evaluate_segmentation(self.network, data, self.view, threshold=self.options.threshold)
        return {**figures, "score": pick_score(figures, data)}


def with_masks(dataset: Dataset, name: str) -> Dataset:
    """The images that have a mask of any kind. Raises: UsageError: none has."""
    found = dataset.only(s.image_id for s in dataset.samples if s.mask is not None)
    if not len(found):
        raise UsageError(
            f"{name}: data must have images with masks to learn from; got {len(dataset)} without. "
            "Set data.labelled, or pass pseudo-masks."
        )
    return found


def read_pseudo_masks(folder: str | Path, dataset: Dataset) -> Mapping[str, Path]:
    """Image id -> its file in a folder of pseudo-masks. Raises: DataError: the folder has none for this data set."""
    found = {s.image_id: Path(folder, f"{s.image_id}.png") for s in dataset.samples}
    found = {image_id: path for image_id, path in found.items() if path.is_file()}
    if not found:
        raise DataError(f"no pseudo-mask of an image of {dataset.name}, {folder}; files must be named <image_id>.png")
    return found


def run(job: Job, options: Options) -> Outcome:
    """Train the whole network on the masks there are: full, weak, or made by another run."""
    train = job.data.train
    if options.pseudo_masks is not None:
        train = train.with_labels(job.data.labelled, read_pseudo_masks(options.pseudo_masks, train))
    network = job.build_network(n_tags=0, aux_tags=False)
    method = Segmentation(network, view=job.view, options=options)
    result = job.train("segmentation", method, job.make_batches(with_masks(train, "segmentation"), "segmentation"))
    facts: dict[str, Any] = {"steps": result.steps, "pixel_labelled": len(job.data.labelled)}
    figures = segmentation_figures(job, network, threshold=options.threshold)
    job.export(network)
    return Outcome(figures, facts)
