"""Measure speed on this machine, beside the strongest peers that are installed."""

from __future__ import annotations

import argparse
from importlib import import_module

from .arguments import names, positive
from .output import Result

BENCHES = ("uncertainty", "pipeline", "memory")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", default="all", choices=(*BENCHES, "all"), help="which benchmark")
    parser.add_argument("--quick", action="store_true", help="small sizes and few repetitions; figures are rough")
    parser.add_argument("--threads", type=_counts, default="1,2", help="thread counts to measure")
    parser.add_argument("--save-to", metavar="DIR", default=None, help="also write each result as JSON here")


def _counts(text: str) -> tuple[int, ...]:
    return tuple(positive(part) for part in names(text))


def run(arguments: argparse.Namespace) -> Result:
    chosen = BENCHES if arguments.what == "all" else (arguments.what,)
    data, texts = {}, []
    for name in chosen:
        module = import_module(f"alseg_fast.benches.{name}")
        result = module.run(quick=arguments.quick, threads=arguments.threads, save_to=arguments.save_to)
        data[name] = result
        texts.append(module.format_table(result))
    return Result(data, "\n\n".join(texts))
