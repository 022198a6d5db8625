"""The loop that buys whole masks (Belharbi et al.): rounds of train, propagate, judge, score, select, ask the oracle."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from .. import atomic
from ..errors import UsageError
from ..learn.methods.foreground import published_wsl_dice
from ..learn.training.evaluate import evaluate_cams
from ..stages.oracle import write_oracle_labels
from ..stages.run_layout import png_path
from ..stages.run_reader import open_run
from .common import Common, write_csv
from .config import StrategyConfig
from .costs import Cost
from .judging import judge, mask_quality
from .public import choose, score, spread
from .rows import RoundRow
from .steps import Steps, seed_of
from .strategies import DropoutOptions, ForegroundOptions, LabelPropOptions, ScoreOptions
from .training import drop_weights, load_classifier, load_network, make_classifier, train_segmentation

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


def start_images(common: Common) -> None:
    """The steps that all seeds share: the classifier, and a RUN of the whole pool by its activation maps."""
    steps = Steps(common.root / "start", common.tell, "start: ")
    config = common.config
    assert config.images is not None
    histogram = config.images.histogram
    steps.do("classifier", lambda: make_classifier(common))
    folder = common.root / "start"
    steps.do(
        "score",
        lambda: {
            "commands": [
                score(
                    common.pool,
                    folder / "classifier" / "cam.onnx",
                    run_of_pool(common),
                    histogram=histogram,
                    device=config.device,
                    batch_size=config.score_batch,
                    workers=config.threads,
                )
            ]
        },
    )
    steps.do("wsl", lambda: _wsl(common))
    steps.write_commands()


def run_of_pool(common: Common) -> Path:
    """The RUN of all training images by the classifier's activation maps, with colour histograms: what random draws
    choose from, and where the label propagation takes its histograms."""
    return common.root / "start" / "RUN"


def _wsl(common: Common) -> dict[str, Any]:
    """The published baseline without any mask."""
    assert common.data.test is not None
    network = load_classifier(common)
    cams = evaluate_cams(network, common.data.test, common.view, threshold=common.config.classifier.cam_threshold)
    figures = {k: v for k, v in cams.items() if k in ("tag_accuracy", "oracle_dice", "dice", "miou")}
    return {"score": published_wsl_dice(network, common.data.test, common.view), "figures": figures}


def start_seed(common: Common, seed: int, folder: Path) -> Steps:
    """The first purchase of a seed: so many images of each class, at random."""
    config = common.config
    assert config.images is not None
    steps = Steps(folder, common.tell, f"seed {seed}, start: ")
    first = config.images.first
    labels = common.label_of()
    counts = {name: list(labels.values()).count(name) for name in common.data.train.tag_names}
    short = [name for name, n in counts.items() if n < first]
    if short:
        raise UsageError(f"images.first must be at most {counts[short[0]]}, the images of {short[0]}; got {first}")
    _buy(
        steps,
        common,
        labelled=(),
        quota=lambda left: first,
        run=run_of_pool(common),
        strategy="random",
        measure="entropy_mean",
        seed=seed_of(seed, "first"),
    )
    return steps


def run_strategy(run: Run) -> list[RoundRow]:
    """All rounds of one run, each step once."""
    if run.strategy.name == "wsl":
        return [_single(run, {}, Steps(run.common.root / "start").do("wsl", dict))]
    if run.strategy.name == "full_sup":
        return [_full(run)]
    return _rounds(run)


def _rounds(run: Run) -> list[RoundRow]:
    common, config = run.common, run.common.config
    labels = Labels()
    labels.add(run.shared.directory / "labels", run.shared.do("oracle", dict)["image_ids"])
    rows: list[RoundRow] = []
    pseudo: dict[str, Path] = {}  # what the round before left
    before: Path | None = None
    for number in range(config.rounds):
        steps = run.steps(number)
        round_ = _Round(run, number, steps, labels, pseudo, before)
        found = round_.train()
        rows.append(_row(run, number, labels.masks, found))
        left = [s.image_id for s in common.data.train.samples if s.image_id not in labels.masks]
        if number + 1 < config.rounds and left:
            bought = round_.buy(found)
            steps_seconds = {**rows[-1].step_seconds, **_only(steps.seconds, ("score", "select", "oracle"))}
            rows[-1] = _with_seconds(rows[-1], steps_seconds)
            labels.add(steps.directory / "labels", bought)
        steps.write_commands()
        if number > 0:
            drop_weights(common, run.steps(number - 1).directory)
        pseudo = {name: path for name, path in found["masks"].items() if name not in labels.masks}
        before = found["weights"]
        if not left:
            break
    return rows


class _Round:
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
        value = train_steps.do(name, lambda: self._train(folder, name, self.pseudo, passes))
        seconds = {"train": train_steps.seconds[name]}
        kept = {"folder": folder, "name": name, "value": value}
        masks: dict[str, Path] = {}
        if isinstance(run.options, LabelPropOptions):
            kept, masks, more = self._propagate(kept)
            seconds["train"] += more.pop("train", 0.0)
            seconds |= more
        weights = kept["folder"] / f"{kept['name']}.pt"
        own = self.number == 0 and kept["folder"] == run.shared.directory
        judged_steps, judged = (run.shared, f"judge-{kept['name']}") if own else (steps, "judge")
        figures = judged_steps.do(judged, lambda: judge(self.common, load_network(self.common, weights, run.dropout)))
        seconds["evaluate"] = judged_steps.seconds[judged]
        quality = steps.do("mask-quality", lambda: {"score": mask_quality(self.common, masks)}) if masks else {}
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
        )

    def _propagate(self, first: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Path], dict[str, float]]:
        """The second training on this round's pseudo-masks, then those that the final network predicts.

        Without cycles == 2 the second training is left out; so it is where no label reaches an image.
        """
        options, steps = self.run.options, self.steps
        kept, seconds = first, {}
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
        return _buy(
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


def _buy(
    steps: Steps,
    common: Common,
    *,
    labelled: Mapping[str, Path] | Sequence[str],
    quota: Callable[[int], int],
    run: Path,
    strategy: str,
    measure: str,
    seed: int,
    share: float = 1.0,
) -> list[str]:
    """So many images of every class that has unlabelled ones, each class by a selection of its own from one RUN.

    Args:
        quota: number of classes that are left -> images of each.
        share: only the images with the largest predicted foreground, this share of each class, rounded up.
    Returns: the ids, whose masks the oracle wrote to labels/.
    """
    labels, folder = common.label_of(), steps.directory
    taken = set(labelled)
    left = {
        name: [i for i, label in labels.items() if label == name and i not in taken]
        for name in common.data.train.tag_names
    }
    left = {name: ids for name, ids in left.items() if ids}
    n = quota(len(left))

    def select_all() -> dict[str, Any]:
        atomic.make_directory(folder / "batches")
        known = open_run(run).scores(["image_id", "class_fraction"])
        ids = known.column("image_id").to_pylist()
        fractions = known.column("class_fraction").to_pylist()
        foreground = {i: float(f[1]) for i, f in zip(ids, fractions, strict=True)}
        picks, commands = [], []
        for number, candidates in enumerate(left.values()):
            if share < 1.0:
                candidates = sorted(candidates, key=lambda i: (-foreground.get(i, 0.0), i))
                candidates = candidates[: max(n, math.ceil(share * len(candidates)))]
            wanted = set(candidates)
            others = [i for i in ids if i not in wanted]
            exclude = folder / "batches" / f"exclude-{number}.txt"
            atomic.write_atomic(exclude, "".join(f"{i}\n" for i in others).encode())
            found, command = choose(
                run,
                folder / "batches" / f"batch-{number}.parquet",
                budget=min(n, len(wanted)),
                strategy=strategy,
                measure=measure,
                exclude=exclude if others else None,
                seed=seed,
            )
            picks += [p["image_id"] for p in found]
            commands.append(command)
        return {"image_ids": picks, "commands": commands}

    chosen = steps.do("select", select_all)

    def ask() -> dict[str, Any]:
        for number in range(len(left)):
            batch = folder / "batches" / f"batch-{number}.parquet"
            write_oracle_labels(batch, common.truth, folder / "labels", classes=len(common.data.train.classes))
        return {"image_ids": chosen["image_ids"]}

    return list(steps.do("oracle", ask)["image_ids"])


def _full(run: Run) -> RoundRow:
    """All masks, one training."""
    common = run.common
    steps = run.steps(0)
    masks = {s.image_id: png_path(common.truth, s.image_id) for s in common.data.train.samples}
    steps.do(
        "cycle-0",
        lambda: train_segmentation(
            common, steps.directory, "cycle-0", seed=seed_of(run.seed, "training"), labelled=masks
        ),
    )
    found = steps.do("judge", lambda: judge(common, load_network(common, steps.directory / "cycle-0.pt")))
    seconds = {"train": steps.seconds["cycle-0"], "evaluate": steps.seconds["judge"]}
    return _row(run, 0, masks, {**found, "pseudo_score": None, "pseudo_images": 0, "seconds": seconds})


def _single(run: Run, masks: Mapping[str, Path], found: Mapping[str, Any]) -> RoundRow:
    empty = {"threshold": None, "error_auroc": None, "pseudo_score": None, "pseudo_images": 0, "seconds": {}}
    return _row(run, 0, masks, {**empty, **found})


def _row(run: Run, number: int, masks: Mapping[str, Path], found: Mapping[str, Any]) -> RoundRow:
    common = run.common
    cost = Cost.total(common.costs[name] for name in masks)
    return RoundRow(
        strategy=run.strategy.name,
        setting=run.strategy.setting,
        seed=run.seed,
        round=number,
        images=len(masks),
        labelled_share=len(masks) / len(common.data.train),
        pixels=cost.pixels,
        pixel_share=cost.pixels / common.train_pixels,
        clicks=cost.clicks,
        seconds=cost.seconds,
        score=found["score"],
        figures=dict(found["figures"]),
        pseudo_score=found["pseudo_score"],
        pseudo_images=found["pseudo_images"],
        error_auroc=found["error_auroc"],
        threshold=found["threshold"],
        step_seconds=dict(found["seconds"]),
    )


def _with_seconds(row: RoundRow, seconds: Mapping[str, float]) -> RoundRow:
    return replace(row, step_seconds=dict(seconds))


def _only(values: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    return {name: values[name] for name in names if name in values}
