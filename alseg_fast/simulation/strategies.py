"""The strategies by name, and what each can be told."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..learn.methods.segmentation import PseudoWeight
from ..learn.training.config import Settings

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Dropout = Annotated[float, Field(gt=0, lt=1)]


class NoOptions(Settings):
    """Nothing to tell."""


class ForegroundOptions(Settings):
    """Random among the images of a class that the network predicts most foreground in.

    Attributes:
        share: of the class's unlabelled images, those with the largest predicted foreground, that the draw is from.
    """

    share: Share = 0.5


class ScoreOptions(Settings):
    """The images with the highest score.

    Attributes:
        score_size: "image": the mean is over the pixels of the picture's own size, as published; "input": of the
            network's input.
        reduce: "mean", as published, "max" or "top" (mean of the highest 5 %); the published forms have the mean only.
    """

    score_size: Literal["image", "input"] = "image"
    reduce: Literal["mean", "max", "top"] = "mean"


class DropoutOptions(ScoreOptions):
    """The images with the highest variance over stochastic passes.

    Attributes:
        dropout: probability of a zero, in training too; published 0.2 (the other strategies train without).
        passes: published 50.
    """

    dropout: Dropout = 0.2
    passes: Annotated[int, Field(ge=2)] = 50


class LabelPropOptions(Settings):
    """Random images, and pseudo-masks for those that a label reaches.

    Attributes:
        k: nearest images of the same class among which a labelled one must be. Published 40, which with classes of at
            most 40 images lets all pass.
        pseudo_weight: lambda, see `PseudoWeight`; None: that of `segmentation`.
        cycles: trainings a round: 2 as in the published code: without this round's pseudo-masks, then with them; 1 as
            in the published algorithm: on the labelled images and the pseudo-masks of the round before.
    """

    k: Count = 40
    pseudo_weight: PseudoWeight | None = None
    cycles: Literal[1, 2] = 2


class RegionOptions(Settings):
    """Superpixels by their uncertainty; further keys are those of `alseg.SelectOptions`.

    Attributes:
        regions: how they are cut, see `alseg.Scorer`; the papers do not say.
    """

    regions: str = "slic:400"
    class_rule: Literal["equal", "inverse", "exp"] = "equal"


class EdgeOptions(Settings):
    """Pixels by their entropy, edges weighted; see `alseg.SelectOptions`."""

    edge_source: Literal["labels", "image"] = "labels"
    edge_weight: Annotated[float, Field(ge=0)] = 1.0
    edge_mode: Literal["multiply", "add"] = "multiply"
    edge_dilation: Annotated[int, Field(ge=0)] = 1
    edge_threshold: Annotated[float, Field(ge=0, le=1)] = 0.1


WITHOUT_MASKS = ("all_foreground", "wsl")
IMAGE_STRATEGIES: dict[str, type[Settings]] = {
    "all_foreground": NoOptions,
    "wsl": NoOptions,
    "random": NoOptions,
    "foreground_random": ForegroundOptions,
    "entropy": ScoreOptions,
    "entropy_published": ScoreOptions,
    "mc_dropout": DropoutOptions,
    "mc_dropout_published": DropoutOptions,
    "label_prop": LabelPropOptions,
    "full_sup": NoOptions,
}
"""Whole masks. "all_foreground" (nothing learned, every pixel called foreground), "wsl" (the activation maps of the
classifier) and "full_sup" are single points: no mask at all, and all of them. "..._published" score as the
published code does, which is not what their names say; see `alseg.belharbi_entropy`, `alseg.belharbi_mc_dropout`."""

PIXEL_STRATEGIES: dict[str, type[Settings]] = {
    "full": NoOptions,
    "random-pixels": NoOptions,
    "entropy-pixels": NoOptions,
    "entropy-edge": EdgeOptions,
    "superpixel": RegionOptions,
    "superpixel-crf": RegionOptions,
    "class-superpixel-crf": RegionOptions,
    "random-superpixels": RegionOptions,
}
"""Parts of the added images, by the strategies of `alseg.select`; "full" buys all of their pixels."""
