"""Train networks from image tags and few masks; the same command again goes on where it stopped."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from ..freed_memory import keep_freed_memory
from .output import Result, columns
from .ready_configs import add_config_arguments, out_of, ready_text, source_of, training_extra
from .train_progress import TrainProgress

_FIRST = ("miou", "dice", "class_dice", "pixel_accuracy", "tag_accuracy")  # columns


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser, example="stages.segmentation.steps=500", listed="the methods and the ready configs")
    parser.add_argument("--overwrite", action="store_true", help="delete an earlier training in DIR first")
    parser.add_argument("--strict", action="store_true", help="exit 1 if any image could not be read")


def run(arguments: argparse.Namespace) -> Result:
    with training_extra("train"):
        from ..learn.training.config_file import read_config, ready_configs
        from ..learn.training.recipes import METHODS
        from ..learn.training.train import run_training
    if arguments.list:
        ready = ready_configs()
        text = f"{ready_text(ready)}\nmethods: {', '.join(METHODS)}"
        return Result({"configs": dict(ready), "methods": list(METHODS)}, text)
    source = source_of("train", arguments)
    config = read_config(source, arguments.settings)
    out = out_of(arguments, config.out)
    keep_freed_memory()
    with TrainProgress() as progress:
        result = run_training(config, out, source=source, overwrite=arguments.overwrite, listeners=[progress])
    failed = arguments.strict and result["failures"]
    return Result({"out": out, **result}, "\n".join(_lines(result, out)), status=1 if failed else 0)


def _lines(result: Mapping[str, Any], out: str) -> Iterable[str]:
    if result["figures"]:
        yield columns(figure_rows(result["figures"]))
        yield ""
        classes = class_rows(result["figures"])
        if classes:
            yield columns(classes)
            yield ""
    for name, stage in result["stages"].items():
        best = "" if stage["best_step"] is None else f", best at step {stage['best_step']:,}"
        yield f"{name}: {stage['steps']:,} steps in {stage['seconds']:.1f} s{best}"
    if result["failures"]:
        yield f"{len(result['failures']):,} images could not be read: {out}/result.json"
    written = ", ".join(f"{out}/{path}" for path in result["files"].values())
    yield f"{result['seconds']:.1f} s on {result['device']} -> {written or f'{out}/result.json'}"


def figure_rows(figures: Mapping[str, Mapping[str, float]]) -> list[tuple[str, ...]]:
    """A line a prediction, a column a figure, without those of single classes; what is not there is a dash."""
    found = {key for values in figures.values() for key in values if "/" not in key}
    in_order = dict.fromkeys(key for values in figures.values() for key in values if key in found)
    keys = [key for key in _FIRST if key in found] + [key for key in in_order if key not in _FIRST]
    rows = [("", *keys)]
    for number, (name, values) in enumerate(figures.items(), 1):
        rows.append((f"{number}. {name}", *(_number(values, key) for key in keys)))
    return rows


def class_rows(figures: Mapping[str, Mapping[str, float]]) -> list[tuple[str, ...]]:
    """A line a class ("iou/road"), a column a prediction by its number; none where there are no such figures."""
    keys = list(dict.fromkeys(key for values in figures.values() for key in values if "/" in key))
    numbers = [i for i, values in enumerate(figures.values(), 1) if any("/" in key for key in values)]
    if not keys:
        return []
    rows = [("", *(f"{i}." for i in numbers))]
    predictions = list(figures.values())
    for key in keys:
        rows.append((key.replace("/", " "), *(_number(predictions[i - 1], key) for i in numbers)))
    return rows


def _number(values: Mapping[str, float], key: str) -> str:
    return f"{values[key]:.4f}" if key in values else "-"
