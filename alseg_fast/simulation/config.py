"""What a simulation is made with: the keys of CONFIG.yaml, their types and ranges."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from ..learn.methods.classifier import ClassifierOptions
from ..learn.methods.segmentation import SegmentationOptions
from ..learn.training.config import AugmentConfig, DataConfig, NetworkConfig, Settings, StageConfig
from ..learn.training.config_file import validated
from .strategies import IMAGE_STRATEGIES, PIXEL_STRATEGIES

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class CostConfig(Settings):
    """What an annotator spends. Clicks and seconds of regions are those of the RUN (`alseg.select` unit "clicks").

    Attributes:
        mask_seconds: of a whole mask: "instances": 78 s for each connected region of the foreground, see
            `annotation_seconds`; or so many seconds an image, such as 5400 for a street scene.
        pixels_per_click: vertices of a whole mask's outlines lie so far apart, and a region has at least three.
        pixel_clicks, pixel_seconds: of a single pixel; a point takes 2.4 s (Bearman et al., 2016).
    """

    mask_seconds: Literal["instances"] | Positive = "instances"
    pixels_per_click: Positive = 10.0
    pixel_clicks: Positive = 1.0
    pixel_seconds: Positive = 2.4


class ImagesConfig(Settings):
    """Whole masks are bought, the same number of every image class (Belharbi et al.).

    Attributes:
        first: images of each class in round 0, drawn at random, the same for all strategies of a seed.
        step: images of each class in each later round; where classes have run out, what they leave is split over the
            others, floor(step * classes / classes left), as published.
        histogram: of the label propagation, see `alseg.HistogramSpec`.
    """

    first: Count = 4
    step: Count = 1
    histogram: str = "belharbi"


class PixelsConfig(Settings):
    """A part of the pixels of newly added images is bought (Kasarla et al.).

    Attributes:
        first: images that are fully labelled in round 0, the same for all strategies of a seed; 0: none, the start
            is the network of `initial`.
        step: images added in each later round, the same for all strategies of a seed.
        budget: what is bought of them: a share, "10%", or a number of pixels.
        scope: "image": the budget holds in each image; "pool": over the images of the step. The papers do not say.
        order: which images come next: "random" by the seed, or "listed" as the data set has them. Not said either.
        label_rule: of regions: "exact": every pixel its own class; "dominant": the class most of its pixels have.
        skip_void: never buy pixels that the ground truth has no class for, such as the own bonnet; an annotator sees
            them, a network does not.
        score_size: resolution of the uncertainty: "image", the picture's own, or "input", the network's.
    """

    first: Annotated[int, Field(ge=0)]
    step: Count
    budget: str | Count = "10%"
    scope: Literal["image", "pool"] = "image"
    order: Literal["random", "listed"] = "random"
    label_rule: Literal["exact", "dominant"] = "exact"
    skip_void: bool = True
    score_size: Literal["image", "input"] = "image"


class StrategyConfig(Settings):
    """One curve: a strategy, and what tells it from other settings of the same ("k=5")."""

    name: str
    setting: str = ""
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def directory(self) -> str:
        """Folder name of its runs."""
        text = f"{self.name}-{self.setting}" if self.setting else self.name
        return re.sub(r"[^A-Za-z0-9._=-]+", "_", text)


Strategies = Annotated[tuple[StrategyConfig, ...], BeforeValidator(_tuple), Field(min_length=1)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], BeforeValidator(_tuple), Field(min_length=1)]


_SHOWN = ("title", "published", "deviations")
_EXTENDED = ("strategies", "seeds", "rounds")  # more of them may follow in the same directory


class SimulationConfig(Settings):
    """A whole simulation.

    Attributes:
        images, pixels: which of the two loops; one of them.
        data: the data set; all of its training masks are the oracle's, so `labelled` and `weak` stay as they are.
        strategies: curves to make. seeds: runs of each.
        rounds: with round 0, the start.
        split_seed: of what all seeds share: hold-out, classifier, and the first weights of the segmentation head.
        start: what a round trains from: "fresh", the same first weights in every round (published for `images`), or
            "tuned", the weights of the round before. For `pixels` the papers do not say.
        initial: file of weights that the segmentation network starts from in place of random ones, as far as its
            tensors fit; `network.weights` is of the encoder alone.
        stages: "classifier" (images only; frozen afterwards) and "segmentation", in steps and not in epochs: the same
            number in every round, however many images are labelled. With start "tuned" the training of round 0 may
            have a stage of its own, "first": what all later rounds build on may take longer than they do.
        classifier, segmentation: options of the two stages.
        threshold: of masks with one foreground: "validation": the best on the validation masks, which are labels that
            no budget counts; or a number.
        error_auroc: measure how well the uncertainty of a test pixel tells that it is wrong.
        score_batch: images a call of the exported network.
        threads: of torch and of scoring; a part of what makes results repeatable to the bit. None: as the machine has.
        processes: runs, of one strategy with one seed each, that go on at the same time; needs `threads`.
        keep_checkpoints: keep what training wrote of finished rounds: checkpoints and .pt files. The networks as ONNX
            are kept anyway, and the .pt of the last round.
        published: which published table stands beside the results: the data set's name in it. deviations: from the
            published setting, for the page.
    """

    data: DataConfig
    strategies: Strategies
    images: ImagesConfig | None = None
    pixels: PixelsConfig | None = None
    seeds: Seeds = (0,)
    rounds: Count
    split_seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    out: str | None = None
    device: str = "cpu"
    network: NetworkConfig = NetworkConfig()
    augment: AugmentConfig = AugmentConfig()
    start: Literal["fresh", "tuned"] = "fresh"
    initial: str | None = None
    stages: dict[Literal["classifier", "first", "segmentation"], StageConfig]
    classifier: ClassifierOptions = ClassifierOptions()
    segmentation: SegmentationOptions = SegmentationOptions()
    threshold: Annotated[float, Field(gt=0, lt=1)] | Literal["validation"] = "validation"
    error_auroc: bool = True
    cost: CostConfig = CostConfig()
    score_batch: Count = 1
    threads: Count | None = None
    processes: Count = 1
    keep_checkpoints: bool = False
    title: str = "Simulated active learning"
    published: str | None = None
    deviations: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = ()

    @model_validator(mode="after")
    def _check(self) -> SimulationConfig:
        if (self.images is None) == (self.pixels is None):
            raise ValueError("one of images and pixels must be given; images buys whole masks, pixels parts of them")
        known = IMAGE_STRATEGIES if self.images is not None else PIXEL_STRATEGIES
        for strategy in self.strategies:
            if strategy.name not in known:
                raise ValueError(f"strategies must be of {', '.join(known)}; got {strategy.name}")
        for what, values in (
            ("strategies", [s.directory.lower() for s in self.strategies]),
            ("seeds", [str(s) for s in self.seeds]),
        ):
            twice = sorted({v for v in values if values.count(v) > 1})
            if twice:
                raise ValueError(f"{what} must differ; got {twice[0]} twice; give each its own setting")
        if not re.fullmatch(r"cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"device must be cpu, cuda or cuda:I; got {self.device!r}")
        needed = ("classifier", "segmentation") if self.images is not None else ("segmentation",)
        for name in needed:
            if name not in self.stages:
                raise ValueError(f"stages.{name} is missing; add stages.{name}.steps")
        if "first" in self.stages and self.start != "tuned":
            raise ValueError("stages.first must be left out unless start is tuned; fresh rounds all train alike")
        if self.data.labelled != "all" or self.data.weak is not None:
            raise ValueError("data.labelled and data.weak must be left out; the strategies decide what is labelled")
        if self.data.test_split is None:
            raise ValueError("data.test_split must be given; results are measured on it")
        if self.processes > 1 and self.threads is None:
            raise ValueError("threads must be given with processes, for example 1; they share the machine's cores")
        if self.pixels is not None and self.pixels.first == 0 and self.initial is None:
            raise ValueError("initial must be given where pixels.first is 0; there is nothing else to start from")
        if self.network.decoder == "none":
            raise ValueError("network.decoder must not be none; the rounds train a segmentation")
        return self

    def facts(self) -> dict[str, Any]:
        """All that decides the result of one round of one run, beside its strategy and seed, as JSON values."""
        return self.model_dump(
            mode="json",
            exclude={"out", "processes", "keep_checkpoints", *_SHOWN, *_EXTENDED},
        )

    def digest(self) -> str:
        """SHA-256 (hex) of `facts`."""
        text = json.dumps(self.facts(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


def strategy_options(config: SimulationConfig, number: int, source: str) -> BaseModel:
    """The options of the strategy of this number in the config, typed."""
    strategy = config.strategies[number]
    model = (IMAGE_STRATEGIES if config.images is not None else PIXEL_STRATEGIES)[strategy.name]
    return validated(model, strategy.options, source, None, f"strategies.{number}.options.")
