"""What a recipe is given: the config, the data, where to write, and the steps that every recipe is made of.

A recipe is a module `alseg_fast/learn/methods/<name>.py` with

* ``Options``: a class derived from `training.config.Settings`, the type of the config's `options`;
* ``run(job: Job, options: Options) -> Outcome``: trains with `job.train`, exports with `job.export`, and returns the
  figures. It must be safe to repeat from the start after a kill: a finished stage returns at once, an unfinished one
  goes on, and `job.once` keeps what was computed between stages.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from ... import atomic
from ...errors import RunError, UsageError
from ..data.batches import Batches
from ..data.dataset import Dataset
from ..data.transforms import Augment, View
from ..maps.hide_and_seek import hide_and_seek
from ..maps.map_sheet import map_sheet
from ..maps.overlay import write_sheet
from ..networks.build import build_network
from ..networks.export import export_network
from ..networks.weak_network import WeakNetwork
from .config import Settings, StageConfig, TrainConfig
from .events import Events
from .loop import BatchSource, train_stage
from .method import Method
from .progress import StageResult


@dataclass(frozen=True)
class Outcome:
    """What a recipe found.

    Attributes:
        figures: name of a prediction ("segmentation", "cam", "cam tag-masked") -> its figures, floats in [0, 1];
            printed as a table, a line each. What is measured with the true image tags has a line of its own.
        facts: anything else worth keeping, JSON values.
    """

    figures: Mapping[str, Mapping[str, float]]
    facts: Mapping[str, Any] = field(default_factory=dict)


class Recipe(Protocol):
    """A module of `learn.methods`."""

    Options: type[Settings]

    def run(self, job: Job, options: Any) -> Outcome: ...


@dataclass(frozen=True)
class Data:
    """The parts of a data set as one training sees them.

    Attributes:
        train: images to learn from; only the labelled ones have a mask, or weak labels in its place.
        truth: the same images with all masks, to measure pseudo-labels by; never to learn from.
        validation: held-out images with masks; None: there are none.
        test: images that the final figures come from; None: there are none.
        labelled: ids of the images whose masks the learner sees.
        weak_seconds: what drawing the weak labels would have cost an annotator, of all labelled images together;
            None: full masks.
        failures: id -> why, of the images that could not be read and are in no part.
    """

    train: Dataset
    truth: Dataset
    validation: Dataset | None
    test: Dataset | None
    labelled: tuple[str, ...]
    weak_seconds: float | None = None
    failures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One training in one directory.

    Attributes:
        config: as given.
        out: the directory.
        data: see `Data`.
        view: the deterministic transform for evaluation.
        device: where networks live.
        events: who is told about progress.
        files: what `export` wrote, by name.
        stages: results of `train`, by name.
        failures: images that could not be read while training, with the reason, beside those of `data`.
    """

    config: TrainConfig
    out: Path
    data: Data
    view: View
    device: torch.device
    events: Events
    files: dict[str, Path] = field(default_factory=dict)
    stages: dict[str, StageResult] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def seed(self, *names: str | int) -> int:
        """A seed of its own for every name: changing one part of a recipe leaves the others' random numbers alone."""
        text = "\0".join(map(str, (self.config.seed, *names)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")

    def stage(self, name: str) -> StageConfig:
        """The config's stage. Raises: UsageError: it has none of this name."""
        try:
            return self.config.stages[name]
        except KeyError:
            known = ", ".join(self.config.stages) or "none"
            raise UsageError(
                f"the method {self.config.method} needs stages.{name}; the config has {known}; add stages.{name}.steps"
            ) from None

    def stage_directory(self, name: str) -> Path:
        """OUT/checkpoints/<name>, made if absent."""
        return self._made("checkpoints", name)

    def directory(self, *names: str) -> Path:
        """OUT/files/<names>, made if absent: for what a recipe writes beside checkpoints and networks."""
        return self._made("files", *names)

    def _made(self, *names: str) -> Path:
        path = self.out.joinpath(*names)
        atomic.make_directory(path)
        return path

    def build_network(self, *, name: str = "network", **changes: Any) -> WeakNetwork:
        """The config's network for this data, from the seed of `name`, on the device.

        Args:
            changes: keywords of `build_network` that win over the config, such as n_tags=0 or decoder="none".
        """
        wanted = self.config.network.model_dump()
        wanted |= wanted.pop("options")
        train = self.data.train
        wanted |= {"n_tags": len(train.tag_names), "n_classes": len(train.classes)}
        wanted |= {"seed": self.seed("weights", name), **changes}
        return build_network(**wanted).to(self.device)

    def make_batches(self, dataset: Dataset, stage: str, **changes: Any) -> Batches:
        """Augmented batches of `dataset` with the stage's batch size, from the stage's seed.

        Args:
            changes: keywords of `Augment` that win over the config, such as strong=True.
        """
        data, wanted = self.config.data, self.stage(stage)
        keywords = self.config.augment.model_dump()
        if keywords["hide"] is not None:
            keywords["hide"] = partial(hide_and_seek, **keywords["hide"])
        keywords |= changes
        return Batches(
            dataset,
            Augment(data.size, mean=data.mean, std=data.std, **keywords),
            batch_size=wanted.batch_size,
            seed=self.seed("batches", stage),
            labelled_per_batch=wanted.labelled_per_batch,
            cache=data.cache,
            workers=data.workers,
        )

    def train(
        self,
        stage: str,
        method: Method,
        batches: BatchSource,
        *,
        name: str | None = None,
        validation: Dataset | None = None,
    ) -> StageResult:
        """Train one stage, or go on with it, or take its result if it is finished; `method` ends with that result.

        Args:
            stage: of the config.
            name: of this training, for a stage that is trained several times (rounds); the stage's own if not given.
            validation: what early stopping goes by; the config's validation images if not given.
        """
        name = stage if name is None else name
        result = train_stage(
            method,
            batches,
            self.stage(stage),
            directory=self.stage_directory(name),
            validation=self.data.validation if validation is None else validation,
            log=self.events,
            name=name,
            seed=self.seed("steps", name),
            device=self.device,
        )
        self.stages[name] = result
        self.failures.update({str(k): str(v) for k, v in dict(getattr(batches, "failures", {})).items()})
        return result

    def once(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """JSON values that are computed once: after a kill and a new start they are read from OUT/done/<name>.json.

        Raises: RunError: the file is damaged.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise UsageError(f"Job.once: name must be letters, digits, _ . and -; got {name!r}. Choose another.")
        path = self._made("done") / f"{name}.json"
        if path.exists():
            try:
                found = json.loads(path.read_bytes())
                if isinstance(found, dict):
                    return found
            except ValueError:
                pass
            raise RunError(f"{path} is damaged; delete it and run the same command again")
        # Through JSON also the first time: the second start must see the same values.
        text = json.dumps(make(), allow_nan=False)
        atomic.write_atomic(path, text.encode())
        return dict(json.loads(text))

    def export(self, network: WeakNetwork, *, head: str = "segmentation", name: str | None = None) -> Path:
        """Write the network as ONNX, OUT/network.onnx or for the head "cam" OUT/cam.onnx, with its metadata.

        Of the head "cam" also OUT/maps.png: activation maps over some pictures, what a person looks at first.
        """
        path = self.out / (name or ("cam.onnx" if head == "cam" else "network.onnx"))
        data = self.data.train
        export_network(
            network,
            path,
            head=head,
            input_size=self.config.data.size,
            classes=data.tag_names if head == "cam" else data.classes,
            mean=self.config.data.mean,
            std=self.config.data.std,
        )
        self.files[path.stem] = path
        if head == "cam":
            sheet = path.with_name("maps.png" if name is None else f"{path.stem}-maps.png")
            write_sheet(sheet, map_sheet(network, self.data.test or self.data.truth, self.view))
            self.files[sheet.stem] = sheet
        return path
