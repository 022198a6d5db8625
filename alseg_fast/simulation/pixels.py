"""The loop that buys a part of the pixels of newly added images (Kasarla et al.)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..stages.oracle import write_oracle_labels
from ..stages.run_layout import png_path
from ..stages.select_options import SelectOptions
from .common import Common
from .config import PixelsConfig, StrategyConfig
from .costs import Cost, pixel_cost, region_cost
from .judging import judge
from .public import choose, score
from .rows import RoundRow
from .steps import Steps, seed_of
from .strategies import RegionOptions
from .training import drop_weights, load_network, train_segmentation

_READ_MAPS = ("entropy-pixels", "entropy-edge")
_CRF = ("superpixel-crf", "class-superpixel-crf")


@dataclass(frozen=True)
class PixelRun:
    """One strategy with one seed.

    Attributes:
        shared: steps of the seed's start: which image comes when, the first training.
        directory: of this run.
    """

    common: Common
    seed: int
    strategy: StrategyConfig
    options: Any
    shared: Steps
    directory: Path

    @property
    def asked(self) -> PixelsConfig:
        assert self.common.config.pixels is not None
        return self.common.config.pixels

    def steps(self, number: int) -> Steps:
        label = f"seed {self.seed}, {self.strategy.directory}, round {number}: "
        return Steps(self.directory / f"round-{number:02d}", self.common.tell, label)

    def added(self, number: int) -> list[str]:
        """Images that the round `number` adds, from 1."""
        order = self.shared.do("order", dict)["image_ids"]
        begin = self.asked.first + (number - 1) * self.asked.step
        return list(order[begin : begin + self.asked.step])


def start_pixel_seed(common: Common, seed: int, folder: Path) -> Steps:
    """The order of the images, the first training on whole masks, and its figures."""
    asked = common.config.pixels
    assert asked is not None
    steps = Steps(folder, common.tell, f"seed {seed}, start: ")

    def order() -> dict[str, Any]:
        ids = [s.image_id for s in common.data.train.samples]
        if asked.order == "random":
            rng = np.random.default_rng(seed_of(seed, "order"))
            ids = [ids[i] for i in rng.permutation(len(ids)).tolist()]
        return {"image_ids": ids}

    first = steps.do("order", order)["image_ids"][: asked.first]
    masks = {name: png_path(common.truth, name) for name in first}
    training = seed_of(seed, "training")
    steps.do("first", lambda: train_segmentation(common, folder, "first", seed=training, labelled=masks, first=True))
    steps.do("judge", lambda: judge(common, load_network(common, folder / "first.pt")))
    return steps


def run_pixel_strategy(run: PixelRun) -> list[RoundRow]:
    """All rounds of one run, each step once."""
    common, config = run.common, run.common.config
    first = run.shared.do("order", dict)["image_ids"][: run.asked.first]
    masks = {name: png_path(common.truth, name) for name in first}
    cost = Cost.total(common.costs[name] for name in first)
    full = len(first)
    folder, name, steps = run.shared.directory, "first", run.shared
    rows: list[RoundRow] = []
    for number in range(config.rounds):
        own = run.steps(number)
        if number > 0:
            before = folder / f"{name}.pt"
            folder, name, steps = own.directory, "network", own
            train = _training(run, folder, dict(masks), before)
            steps.do("network", train)
            steps.do("judge", lambda: judge(common, load_network(common, folder / "network.pt")))  # noqa: B023
        found = steps.do("judge", dict)
        seconds = {"train": steps.seconds[name], "evaluate": steps.seconds["judge"]}
        shares = {"images": len(masks), "labelled_share": full / len(common.costs) if full == len(masks) else None}
        before_cost = cost
        if number + 1 < config.rounds:
            bought = _buy(run, number + 1, own, folder / f"{name}.onnx")
            seconds |= {k: own.seconds[k] for k in ("score", "select", "oracle") if k in own.seconds}
            masks |= {i: Path(p) for i, p in bought["masks"].items()}
            cost = cost + Cost(**bought["cost"])
            full += len(bought["masks"]) if run.strategy.name == "full" else 0
        own.write_commands()
        if number > 0:
            drop_weights(common, run.steps(number - 1).directory)
        rows.append(_row(run, number, found, before_cost, shares, seconds))
    return rows


def _training(run: PixelRun, folder: Path, masks: Mapping[str, Path], before: Path) -> Any:
    seed = seed_of(run.seed, "training")
    return lambda: train_segmentation(run.common, folder, "network", seed=seed, labelled=masks, before=before)


def _buy(run: PixelRun, number: int, steps: Steps, model: Path) -> dict[str, Any]:
    """The images of round `number`, scored by the network before it, and what is bought of them.

    Returns: {"masks": image_id -> file of an image with at least one labelled pixel, "cost": of the purchase}.
    """
    common, config, asked = run.common, run.common.config, run.asked
    ids = run.added(number)
    if run.strategy.name == "full":
        cost = Cost.total(common.costs[i] for i in ids)
        masks = {i: str(png_path(common.truth, i)) for i in ids}
        return steps.do("oracle", lambda: {"masks": masks, "cost": cost.to_json()})
    folder = steps.directory
    scored, batch = folder / "RUN", folder / "batch.parquet"
    regions = run.options.regions if isinstance(run.options, RegionOptions) else "none"
    steps.do(
        "score",
        lambda: {
            "commands": [
                score(
                    common.write_pool(folder / "pool.csv", ids),
                    model,
                    scored,
                    score_size=asked.score_size,
                    regions=regions,
                    region_cache=common.root / "start" / "regions" if regions != "none" else None,
                    crf=run.strategy.name in _CRF,
                    maps=run.strategy.name in _READ_MAPS,
                    device=config.device,
                    batch_size=config.score_batch,
                    workers=config.threads,
                )
            ]
        },
    )

    def pick() -> dict[str, Any]:
        picks, command = choose(
            scored,
            batch,
            budget=asked.budget,
            unit="pixels",
            scope=asked.scope,
            strategy=run.strategy.name,
            options=_select_options(run.options),
            ignore=common.void if asked.skip_void else None,
            seed=seed_of(run.seed, "select", number),
        )
        return {"picks": picks, "commands": [command]}

    chosen = steps.do("select", pick)

    def ask() -> dict[str, Any]:
        classes = len(common.data.train.classes)
        sums = write_oracle_labels(batch, common.truth, folder / "labels", rule=asked.label_rule, classes=classes)
        labelled = int(sums["labelled"])
        if regions == "none":
            cost = pixel_cost(int(sums["pixels"]), labelled, config.cost)
        else:
            cost = region_cost(scored, chosen["picks"], labelled)
        bought = {i: png_path(folder / "labels", i) for i in sorted({p["image_id"] for p in chosen["picks"]})}
        return {"masks": {i: str(path) for i, path in bought.items()}, "cost": cost.to_json()}

    return steps.do("oracle", ask)


def _select_options(options: Any) -> SelectOptions | None:
    """The strategy's settings that are those of `alseg.select`."""
    values = options.model_dump()
    wanted = {f.name: values[f.name] for f in fields(SelectOptions) if f.name in values}
    return SelectOptions(**wanted) if wanted else None


def _row(
    run: PixelRun,
    number: int,
    found: Mapping[str, Any],
    cost: Cost,
    shares: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> RoundRow:
    return RoundRow(
        strategy=run.strategy.name,
        setting=run.strategy.setting,
        seed=run.seed,
        round=number,
        pixels=cost.pixels,
        pixel_share=cost.pixels / run.common.train_pixels,
        clicks=cost.clicks,
        seconds=cost.seconds,
        score=found["score"],
        figures=dict(found["figures"]),
        error_auroc=found["error_auroc"],
        threshold=found["threshold"],
        step_seconds=dict(seconds),
        **shares,
    )


__all__: Sequence[str] = ("PixelRun", "run_pixel_strategy", "start_pixel_seed")
