"""The loop that buys whole masks (Belharbi et al.): what all runs start from, and the rounds of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..learn.methods.foreground import published_wsl_dice
from ..learn.training.evaluate import evaluate_cams
from ..stages.run_layout import png_path
from .common import Common
from .costs import Cost
from .image_round import Labels, Round, Run, run_of_pool
from .judging import all_foreground, judge
from .public import score
from .purchase import buy_masks
from .rows import RoundRow
from .steps import Steps, seed_of
from .strategies import WITHOUT_MASKS
from .training import drop_weights, load_classifier, load_network, make_classifier, train_segmentation

_BUYING = ("score", "select", "oracle")  # steps that follow the figures of a round


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
    if any(strategy.name == "all_foreground" for strategy in config.strategies):
        steps.do("all_foreground", lambda: all_foreground(common))
    steps.write_commands()


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
    buy_masks(
        steps,
        common,
        labelled=(),
        quota=lambda left: first,
        run=run_of_pool(common),
        strategy="random",
        measure="entropy_mean",
        seed=seed_of(seed, "first"),
    )
    steps.write_commands()
    return steps


def run_strategy(run: Run) -> list[RoundRow]:
    """All rounds of one run, each step once."""
    if run.strategy.name in WITHOUT_MASKS:
        return [_single(run, {}, Steps(run.common.root / "start").do(run.strategy.name, dict))]
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
        round_ = Round(run, number, steps, labels, pseudo, before)
        found = round_.train()
        rows.append(_row(run, number, labels.masks, found))
        left = [s.image_id for s in common.data.train.samples if s.image_id not in labels.masks]
        if number + 1 < config.rounds and left:
            bought = round_.buy(found)
            steps_seconds = {**rows[-1].step_seconds, **{k: v for k, v in steps.seconds.items() if k in _BUYING}}
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
    empty: dict[str, Any] = {
        "threshold": None,
        "error_auroc": None,
        "pseudo_score": None,
        "pseudo_images": 0,
        "seconds": {},
    }
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
