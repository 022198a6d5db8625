"""Measure speed on this machine, beside the strongest peers that are installed."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..errors import UsageError
from .arguments import names, positive
from .output import Result

ALL = "all"


@dataclass(frozen=True)
class Bench:
    """What one benchmark has beyond --quick, --threads and --save-to: parts to run alone, and further options.

    One that trains for half an hour is not `in_all`.
    """

    parts: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    in_all: bool = True

    @property
    def options(self) -> tuple[str, ...]:
        return (*(("part",) if self.parts else ()), *self.takes)


BENCHES = {
    "uncertainty": Bench(parts=("single", "mc"), takes=("device",)),
    "slic": Bench(parts=("speed", "quality"), takes=("data",)),
    "crf": Bench(parts=("speed", "accuracy"), takes=("data",)),
    "knn": Bench(parts=("exact", "graphs", "cost", "build"), takes=("data", "device")),
    "regions": Bench(parts=("steps", "core-hours"), takes=("data",)),
    "histogram": Bench(takes=("data",)),
    "gmm": Bench(),
    "pipeline": Bench(),
    "memory": Bench(),
    "weak-supervision": Bench(parts=("ccp", "drawn", "glas"), takes=("data", "work"), in_all=False),
}
_USUAL = {"part": ALL, "device": "cpu", "data": None, "work": None}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parts = "; ".join(f"{name}: {', '.join(bench.parts)}" for name, bench in BENCHES.items() if bench.parts)
    parser.add_argument("what", nargs="?", default=ALL, choices=(*BENCHES, ALL), help="which benchmark")
    parser.add_argument("--quick", action="store_true", help="small sizes and few repetitions; figures are rough")
    parser.add_argument("--threads", type=_counts, default="1,2", help="thread counts to measure (CPU)")
    parser.add_argument("--part", default=ALL, help=f"one part alone ({parts})")
    parser.add_argument("--device", default="cpu", help="of uncertainty, knn: cpu, cuda or cuda:NUMBER")
    parser.add_argument(
        "--data",
        metavar="DIR",
        default=None,
        help="of slic, crf, regions, histogram, knn: folder of BSDS500 pictures and drawings; of weak-supervision: "
        "folder of ccp and glas",
    )
    parser.add_argument("--work", metavar="DIR", default=None, help="of weak-supervision: where its trainings lie")
    parser.add_argument("--save-to", metavar="DIR", default=None, help="also write each result as JSON here")


def _counts(text: str) -> tuple[int, ...]:
    return tuple(positive(part) for part in names(text))


def run(arguments: argparse.Namespace) -> Result:
    chosen = tuple(n for n, b in BENCHES.items() if b.in_all) if arguments.what == ALL else (arguments.what,)
    _check(arguments, [BENCHES[name] for name in chosen])
    data, texts = {}, []
    for name in chosen:
        module, options = f"alseg_fast.benches.{name.replace('-', '_')}", _options(BENCHES[name], arguments)
        if "device" in options:
            module += "_cuda"
        loaded = import_module(module)
        result = loaded.run(quick=arguments.quick, save_to=arguments.save_to, **options)
        data[name] = result
        texts.append(loaded.format_table(result))
    return Result(data, "\n\n".join(texts))


def _check(arguments: argparse.Namespace, chosen: list[Bench]) -> None:
    """An option that a benchmark does not have, or a part that is not one of its own, is a mistake."""
    what = arguments.what
    for option, usual in _USUAL.items():
        value = getattr(arguments, option)
        having = [name for name, bench in BENCHES.items() if option in bench.options]
        # Of all options only --data means the same to every benchmark that has it.
        if value == usual or what in having or (what == ALL and option == "data"):
            continue
        raise UsageError(
            f"bench {what}: --{option} must be {usual or 'absent'}; got {value!r}. "
            f"It is an option of alseg bench {', '.join(having)}."
        )
    if len(chosen) == 1 and arguments.part not in (*chosen[0].parts, ALL):
        known = ", ".join((*chosen[0].parts, ALL))
        raise UsageError(f"bench {what}: --part must be one of {known}; got {arguments.part!r}.")


def _options(bench: Bench, arguments: argparse.Namespace) -> dict[str, Any]:
    """What one benchmark takes beyond the common options."""
    options: dict[str, Any] = {}
    if bench.parts:
        options["part"] = arguments.part
    if "data" in bench.takes:
        options["data"] = arguments.data
    if "work" in bench.takes:
        options["work"] = arguments.work
    if "device" in bench.takes and arguments.device != _USUAL["device"]:
        return {**options, "device": arguments.device}
    return {**options, "threads": arguments.threads}
