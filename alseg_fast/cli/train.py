"""Train networks from image tags and few masks; the same command again goes on where it stopped."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import UsageError
from .output import Result, columns
from .train_progress import TrainProgress

_FIRST = ("miou", "dice", "class_dice", "pixel_accuracy", "tag_accuracy")  # columns
_EXTRA = "alseg train needs {}, which is not installed; run pip install 'alseg-fast[train]'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", nargs="?", metavar="CONFIG.yaml", help="a config, or the name of a ready one (--list shows them)"
    )
    parser.add_argument("--out", metavar="DIR", help="directory to write; else the config's out")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="wins over the config, such as --set data.root=glas --set stages.segmentation.steps=500; repeatable",
    )
    parser.add_argument("--overwrite", action="store_true", help="delete an earlier training in DIR first")
    parser.add_argument("--strict", action="store_true", help="exit 1 if any image could not be read")
    parser.add_argument("--list", action="store_true", help="show the methods and the ready configs, and stop")


def run(arguments: argparse.Namespace) -> Result:
    try:
        from ..learn.training.config_file import read_config, ready_configs
        from ..learn.training.recipes import METHODS
        from ..learn.training.train import run_training
    except ModuleNotFoundError as error:
        if (error.name or "alseg_fast").startswith("alseg_fast"):
            raise
        raise UsageError(_EXTRA.format(error.name)) from None
    if arguments.list:
        return _list(ready_configs(), tuple(METHODS))
    if arguments.source is None:
        raise UsageError("give CONFIG.yaml or the name of a ready config; alseg train --list shows them")
    config = read_config(arguments.source, arguments.settings)
    out = arguments.out or config.out
    if out is None:
        raise UsageError("give --out DIR, or out in the config")
    with TrainProgress() as progress:
        result = run_training(config, out, source=arguments.source, overwrite=arguments.overwrite, listeners=[progress])
    failed = arguments.strict and result["failures"]
    return Result({"out": str(out), **result}, "\n".join(_lines(result, str(out))), status=1 if failed else 0)


def _list(ready: Mapping[str, str], methods: tuple[str, ...]) -> Result:
    rows = [(name, text) for name, text in ready.items()]
    text = "ready configs:\n" + (columns(rows, "  ") if rows else "  none") + f"\nmethods: {', '.join(methods)}"
    return Result({"configs": dict(ready), "methods": list(methods)}, text)


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
