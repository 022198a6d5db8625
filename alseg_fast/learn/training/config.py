"""What a training is made with: the keys of CONFIG.yaml, their types and ranges."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _pair_of_size(value: object) -> object:
    """One side stands for a square; a list for (H, W)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    return tuple(value) if isinstance(value, list) else value


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Side = Annotated[int, Field(ge=8, le=16384)]
Size = Annotated[tuple[Side, Side], BeforeValidator(_pair_of_size)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Three = Annotated[tuple[float, float, float], BeforeValidator(_tuple)]
Range = Annotated[tuple[Positive, Positive], BeforeValidator(_tuple)]


class Settings(BaseModel):
    """Base of every part of the config, also of a method's `Options`: no unknown key, no silent conversion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


class WeakConfig(Settings):
    """Weak pixel labels drawn from the full masks of the labelled images; `options` go to `weak_labels`."""

    kind: Literal["points", "scribbles", "boxes", "partial"]
    options: dict[str, Any] = Field(default_factory=dict)


class DataConfig(Settings):
    """Which images are learned from, and what of their labels the learner sees.

    Attributes:
        dataset: a format of `read_dataset`.
        root: its folder, or the manifest's file; relative to the current directory.
        options: further keywords of that reader.
        tags: keep only the n most frequent image tags, or the named ones; None: all.
        size: (H, W) in pixels that the network sees; one number: a square.
        train_split, test_split: names of splits.
        validation: "split:NAME"; a share of the training images, held out per class (rounded up); None: no
            validation, the last step counts.
        labelled: images whose masks the learner sees: "all", a number, "per-class:N", "file:PATH" (an id a line).
        weak: only weak labels of these masks; None: the masks.
        mean, std: of the normalisation (p / 255 - mean) / std; ImageNet's, which pretrained encoders expect.
        check: read every picture and mask once before the training, and leave out what cannot be read.
        cache: keep decoded pictures in memory, up to 1 GiB, or so many bytes.
        keep_groups: hold out whole groups (patients, drives).
        workers: threads that prepare batches ahead; 0: none.
    """

    dataset: str
    root: str
    options: dict[str, Any] = Field(default_factory=dict)
    tags: Count | tuple[str, ...] | None = None
    size: Size = (256, 256)
    train_split: str = "train"
    test_split: str | None = "test"
    validation: float | str | None = 0.2
    labelled: int | str = "all"
    weak: WeakConfig | None = None
    mean: Three = (0.485, 0.456, 0.406)
    std: Three = (0.229, 0.224, 0.225)
    check: bool = True
    cache: bool | Annotated[int, Field(ge=0)] = True
    keep_groups: bool = False
    workers: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("tags"), list):
            return {**values, "tags": tuple(values["tags"])}
        return values

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        if isinstance(self.validation, str) and not re.fullmatch(r"split:.+", self.validation):
            raise ValueError(f"validation must be a share, split:NAME or null; got {self.validation!r}")
        if isinstance(self.validation, float) and not 0 < self.validation < 1:
            raise ValueError(f"validation must be a share between 0 and 1; got {self.validation!r}")
        if isinstance(self.labelled, int) and self.labelled < 0:
            raise ValueError(f"labelled must be at least 0; got {self.labelled}")
        if isinstance(self.labelled, str) and not re.fullmatch(r"all|per-class:[1-9]\d*|file:.+", self.labelled):
            raise ValueError(f"labelled must be all, a number, per-class:N or file:PATH; got {self.labelled!r}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be greater than 0; got {list(self.std)}")
        return self


class NetworkConfig(Settings):
    """Keywords of `build_network`, `options` those of its parts; the numbers of tags and classes come from the data."""

    encoder: Literal["light", "resnet18", "resnet50", "vit_tiny", "vit_small"] = "light"
    pooling: Literal["wildcat", "wildcat_published", "average", "max", "acol"] = "wildcat"
    decoder: Literal["none", "unet", "belharbi", "largefov", "icnet"] = "unet"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    encoder_dropout: bool = True
    aux_tags: bool = False
    aux_block: int = -3
    weights: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class HideConfig(Settings):
    """Hide-and-Seek: cell sizes in pixels to draw from (0 hides nothing), and each cell's chance of being hidden."""

    sizes: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_tuple), Field(min_length=1)] = (
        0,
        16,
        32,
        44,
        56,
    )
    probability: Share = 0.5


class AugmentConfig(Settings):
    """Keywords of `Augment`, which says what they mean; its size, mean and std come from `data`."""

    scale: Range = (1.0, 1.0)
    fit: Literal["stretch", "cover", "contain", "native"] = "stretch"
    place: Literal["random", "centre"] = "random"
    hflip: Share = 0.5
    vflip: Share = 0.0
    colour: Annotated[tuple[NotNegative, NotNegative, NotNegative, NotNegative], BeforeValidator(_tuple)] = (
        0.0,
        0.0,
        0.0,
        0.0,
    )
    blur_probability: Share = 0.0
    blur_radius: Annotated[tuple[NotNegative, NotNegative], BeforeValidator(_tuple)] = (0.1, 2.0)
    strong: bool = False
    hide: HideConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> AugmentConfig:
        for name, (low, high) in (("scale", self.scale), ("blur_radius", self.blur_radius)):
            if low > high:
                raise ValueError(f"{name} must be (least, most); got {[low, high]}")
        return self


class StageConfig(Settings):
    """One stage of training.

    Attributes:
        steps: number of optimiser steps; 0: the stage is left out.
        batch_size: images a step; labelled_per_batch: how many of them have a mask (None: as they come).
        rate: learning rate, times a parameter group's own factor.
        momentum, nesterov: of SGD.
        schedule: "constant"; "step": times gamma every step_every steps; "poly": times (1 - step/steps) ** power;
            "cosine": half a cosine down to min_rate. warmup: steps over which the rate rises linearly before.
        min_rate: no rate falls below it after the warm-up.
        clip: largest norm of the gradient; None: any.
        evaluate_every: steps between evaluations; None: only at the end. patience: stop after so many evaluations
            without a higher score; None: never.
        keep: what the stage ends with: "best" of the evaluations (a later one of equal score wins), or "last".
        checkpoint_every: steps between checkpoints beside those of evaluations; None: none beside them.
        log_every: steps that one line of the metrics sums up.
        threads: of torch on the CPU; None: as it is. A part of what makes a result repeatable to the bit.
        amp: "auto": bfloat16 (else float16) on CUDA, nothing on the CPU; "bfloat16" and "float16": on CUDA only; "off".
    """

    steps: Annotated[int, Field(ge=0)]
    batch_size: Count = 8
    labelled_per_batch: Annotated[int, Field(ge=0)] | None = None
    optimiser: Literal["adamw", "sgd"] = "adamw"
    rate: Positive = 1e-3
    weight_decay: NotNegative = 1e-4
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    schedule: Literal["constant", "step", "poly", "cosine"] = "constant"
    warmup: Annotated[int, Field(ge=0)] = 0
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.9
    step_every: Count = 100
    power: Positive = 0.9
    min_rate: NotNegative = 0.0
    clip: Positive | None = None
    evaluate_every: Count | None = None
    patience: Count | None = None
    keep: Literal["best", "last"] = "best"
    checkpoint_every: Count | None = None
    log_every: Count = 10
    threads: Count | None = None
    amp: Literal["auto", "bfloat16", "float16", "off"] = "auto"

    @model_validator(mode="after")
    def _check(self) -> StageConfig:
        if self.labelled_per_batch is not None and self.labelled_per_batch > self.batch_size:
            raise ValueError(
                f"labelled_per_batch must be at most batch_size = {self.batch_size}; got {self.labelled_per_batch}"
            )
        if self.nesterov and self.momentum == 0 and self.optimiser == "sgd":
            raise ValueError("nesterov must be false where momentum is 0")
        if self.min_rate > self.rate:
            raise ValueError(f"min_rate must be at most rate = {self.rate:g}; got {self.min_rate:g}")
        if self.patience is not None and self.evaluate_every is None:
            raise ValueError(f"patience needs evaluate_every; got patience = {self.patience} alone")
        return self


class TrainConfig(Settings):
    """A whole training: a method of `learn.methods` by name, and all it is given."""

    method: str
    data: DataConfig
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    out: str | None = None
    device: str = "auto"
    network: NetworkConfig = NetworkConfig()
    augment: AugmentConfig = AugmentConfig()
    stages: dict[str, StageConfig] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"device must be auto, cpu, cuda or cuda:I; got {self.device!r}")
        for name in self.stages:
            if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
                raise ValueError(f"stages must have names of small letters, digits, - and _; got {name!r}")
        return self

    def facts(self) -> dict[str, Any]:
        """All that decides the result, as JSON values: everything but where it is written."""
        return self.model_dump(mode="json", exclude={"out"})

    def digest(self) -> str:
        """SHA-256 (hex) of `facts`."""
        text = json.dumps(self.facts(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()
