"""One round of the loop that buys whole masks: its trainings, its pseudo-masks, and what it buys for the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ..stages.own_directory import locked
from ..stages.run_layout import png_path
from .common import Common, write_csv
from .config import StrategyConfig
from .judging import judge, mask_quality
from .public import score, spread
from .purchase import buy_masks
from .steps import Steps, seed_of
from .strategies import DropoutOptions, ForegroundOptions, LabelPropOptions, ScoreOptions
from .training import load_network, train_segmentation

_PUBLISHED = {"entropy_published": "belharbi_entropy", "mc_dropout_published": "belharbi_mc_dropout"}


@dataclass(frozen=True)
class Run:
    """One strategy with one seed.

    Attributes:
        shared: steps of the seed's start, which all strategies have in common.
        directory: of this run.
    """

    common: Common
    seed: int
    strategy: StrategyConfig
    options: Any
    shared: Steps
    directory: Path

    @property
    def dropout(self) -> float | None:
        return self.options.dropout if isinstance(self.options, DropoutOptions) else None

    def steps(self, number: int) -> Steps:
        label = f"seed {self.seed}, {self.strategy.directory}, round {number}: "
        return Steps(self.directory / f"round-{number:02d}", self.common.tell, label)


@dataclass
class Labels:
    """What is labelled so far: image_id -> file, in the order of purchase."""

    masks: dict[str, Path] = field(default_factory=dict)

    def add(self, folder: Path, image_ids: Sequence[str]) -> None:
        self.masks |= {name: png_path(folder, name) for name in image_ids}


class Round:
    """One round: its trainings, its pseudo-masks, and what it buys for the next."""

    def __init__(
        self, run: Run, number: int, steps: Steps, labels: Labels, pseudo: Mapping[str, Path], before: Path | None
    ) -> None:
        self.run, self.number, self.steps, self.labels = run, number, steps, labels
        self.pseudo, self.before = dict(pseudo), before
        self.common, self.config = run.common, run.common.config

    def train(self) -> dict[str, Any]:
        """Networks and figures of the round."""
        run, steps = self.run, self.steps
        name, folder, train_steps = "cycle-0", steps.directory, steps
        if self.number == 0:  # no pseudo-mask yet: the same for all strategies that train the same network
            name = "first" if run.dropout is None else f"first-dropout-{run.dropout:g}"
            folder, train_steps = run.shared.directory, run.shared
        passes = self._passes()
        if self.number == 0 and passes > 1:
            name = f"{name}-{passes}"
        value = self._do(train_steps, name, lambda: self._train(folder, name, self.pseudo, passes))
        seconds = {"train": train_steps.seconds[name]}
        kept: dict[str, Any] = {"folder": folder, "name": name, "value": value}
        masks: dict[str, Path] = {}
        if isinstance(run.options, LabelPropOptions):
            kept, masks, more = self._propagate(kept)
            seconds["train"] += more.pop("train", 0.0)
            seconds |= more
        weights = kept["folder"] / f"{kept['name']}.pt"
        own = self.number == 0 and kept["folder"] == run.shared.directory
        judged_steps, judged = (run.shared, f"judge-{kept['name']}") if own else (steps, "judge")
        figures = self._do(judged_steps, judged, lambda: self._judge(weights))
        seconds["evaluate"] = judged_steps.seconds[judged]
        quality = steps.do("mask-quality", lambda: mask_quality(self.common, masks)) if masks else {}
        if quality:
            figures["figures"] = {**figures["figures"], "pseudo_foreground": quality["foreground"]}
        return {
            **figures,
            "pseudo_score": quality.get("score"),
            "pseudo_images": kept["value"]["pseudo_images"],
            "weights": weights,
            "model": kept["folder"] / f"{kept['name']}.onnx",
            "passes": kept["folder"] / f"{kept['name']}-passes.onnx",
            "masks": masks,
            "seconds": seconds,
        }

    def _do(self, steps: Steps, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """A step of this run; or one of the seed's start, which other processes may want at the same time."""
        if steps is self.steps:
            return steps.do(name, make)
        with locked(steps.directory, wait=self.common.side_by_side):
            return steps.do(name, make)

    def _judge(self, weights: Path) -> dict[str, Any]:
        return judge(self.common, load_network(self.common, weights, self.run.dropout))

    def _passes(self) -> int:
        return self.run.options.passes if isinstance(self.run.options, DropoutOptions) else 1

    def _train(self, folder: Path, name: str, pseudo: Mapping[str, Path], passes: int = 1) -> dict[str, Any]:
        options = self.run.options
        return train_segmentation(
            self.common,
            folder,
            name,
            seed=seed_of(self.run.seed, "training"),
            labelled=self.labels.masks,
            pseudo=pseudo,
            pseudo_weight=options.pseudo_weight if isinstance(options, LabelPropOptions) else None,
            dropout=self.run.dropout,
            passes=passes,
            before=self.before,
            first=self.number == 0,
        )

    def _propagate(self, first: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Path], dict[str, float]]:
        """The second training on this round's pseudo-masks, then those that the final network predicts.

        Without cycles == 2 the second training is left out; so it is where no label reaches an image.
        """
        options, steps = self.run.options, self.steps
        kept = first
        seconds: dict[str, float] = {}
        if options.cycles == 2:
            model = first["folder"] / f"{first['name']}.onnx"
            masks = self._spread("propagate-0", model)
            if not masks:
                return first, {}, {"propagate": steps.seconds.get("propagate-0", 0.0)}
            seconds["propagate"] = steps.seconds["propagate-0"]
            value = steps.do("cycle-1", lambda: self._train(steps.directory, "cycle-1", masks))
            seconds["train"] = steps.seconds["cycle-1"]
            # Both cycles share their best checkpoint: the second must reach the first's validation score.
            before, after = first["value"]["score"], value["score"]
            if before is None or after is None or after >= before:
                kept = {"folder": steps.directory, "name": "cycle-1", "value": value}
        masks = self._spread("propagate-1", kept["folder"] / f"{kept['name']}.onnx")
        seconds["propagate"] = seconds.get("propagate", 0.0) + steps.seconds.get("propagate-1", 0.0)
        return kept, masks, seconds

    def _spread(self, name: str, model: Path) -> dict[str, Path]:
        """Pseudo-masks of all images that a label reaches, by `model`: image_id -> file."""
        config, folder = self.config, self.steps.directory
        assert config.images is not None
        if len(self.labels.masks) == len(self.common.data.train):
            return {}
        number = 0.5 if config.threshold == "validation" else config.threshold

        def make() -> dict[str, Any]:
            labelled = write_csv(folder / "labelled.csv", [{"image_id": i} for i in self.labels.masks])
            done, command = spread(
                self.common.pool,
                labelled,
                folder / name,
                k=self.run.options.k,
                run=run_of_pool(self.common),
                model=model,
                threshold=number,
                validation=self.common.validation if config.threshold == "validation" else None,
                device=config.device,
                batch_size=config.score_batch,
                workers=config.threads,
            )
            facts = done.summary["masks"]
            return {"threshold": facts["threshold"], "pairs": done.summary["pairs"], "commands": [command]}

        self.steps.do(name, make)
        rows = pq.read_table(folder / name / "manifest.parquet", columns=["image_id"]).column("image_id").to_pylist()
        found = {image_id: png_path(folder / name / "masks", image_id) for image_id in rows}
        return {image_id: path for image_id, path in found.items() if path.is_file()}

    def buy(self, found: Mapping[str, Any]) -> list[str]:
        """Score what is left where the strategy asks for it, choose per class, and ask the oracle."""
        run, common, steps, options = self.run, self.common, self.steps, self.run.options
        assert self.config.images is not None
        classes = common.data.train.tag_names
        total = self.config.images.step * len(classes)
        strategy, measure, share = "random", "entropy_mean", 1.0
        source = run_of_pool(common)
        if run.strategy.name not in ("random", "label_prop"):
            source = steps.directory / "RUN"
            steps.do("score", lambda: {"commands": [self._score(found, source)]})
        if isinstance(options, ForegroundOptions):
            share = options.share
        elif isinstance(options, ScoreOptions):
            strategy, measure = "top", self._measure()
        return buy_masks(
            steps,
            common,
            labelled=self.labels.masks,
            quota=lambda left: max(1, total // left),
            run=source,
            strategy=strategy,
            measure=measure,
            seed=seed_of(run.seed, "select", self.number + 1),
            share=share,
        )

    def _measure(self) -> str:
        name = self.run.strategy.name
        if name in _PUBLISHED:
            return _PUBLISHED[name]
        return f"{'variance' if name == 'mc_dropout' else 'entropy'}_{self.run.options.reduce}"

    def _score(self, found: Mapping[str, Any], out: Path) -> str:
        """A RUN of the images without a label."""
        options, config = self.run.options, self.config
        left = [s.image_id for s in self.common.data.train.samples if s.image_id not in self.labels.masks]
        dropout = isinstance(options, DropoutOptions)
        return score(
            self.common.write_pool(self.steps.directory / "pool.csv", left),
            found["passes"] if dropout else found["model"],
            out,
            measures=("variance",) if self.run.strategy.name == "mc_dropout" else ("entropy",),
            score_size=options.score_size if isinstance(options, ScoreOptions) else "input",
            published=self.run.strategy.name in _PUBLISHED,
            device=config.device,
            batch_size=config.score_batch,
            workers=config.threads,
        )


def run_of_pool(common: Common) -> Path:
    """The RUN of all training images by the classifier's activation maps, with colour histograms: what random draws
    choose from, and where the label propagation takes its histograms."""
    return common.root / "start" / "RUN"
