"""Measure speed on this machine, beside the strongest peers that are installed."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

from ..errors import UsageError
from .arguments import names, positive
from .output import Result

BENCHES = ("uncertainty", "pipeline", "memory")
PARTS = ("single", "mc", "all")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", default="all", choices=(*BENCHES, "all"), help="which benchmark")
    parser.add_argument("--quick", action="store_true", help="small sizes and few repetitions; figures are rough")
    parser.add_argument("--threads", type=_counts, default="1,2", help="thread counts to measure (CPU)")
    parser.add_argument("--part", default="all", choices=PARTS, help="of uncertainty: one pass, MC dropout, or both")
    parser.add_argument("--device", default="cpu", help="of uncertainty: cpu, cuda or cuda:NUMBER")
    parser.add_argument("--save-to", metavar="DIR", default=None, help="also write each result as JSON here")


def _counts(text: str) -> tuple[int, ...]:
    return tuple(positive(part) for part in names(text))


def run(arguments: argparse.Namespace) -> Result:
    if arguments.what != "uncertainty":
        for option, usual in (("part", "all"), ("device", "cpu")):
            value = getattr(arguments, option)
            if value != usual:
                raise UsageError(
                    f"bench {arguments.what}: --{option} must be {usual}; got {value!r}. "
                    f"It is an option of alseg bench uncertainty."
                )
    chosen = BENCHES if arguments.what == "all" else (arguments.what,)
    data, texts = {}, []
    for name in chosen:
        module, options = f"alseg_fast.benches.{name}", _options(name, arguments)
        if "device" in options:
            module += "_cuda"
        loaded = import_module(module)
        result = loaded.run(quick=arguments.quick, save_to=arguments.save_to, **options)
        data[name] = result
        texts.append(loaded.format_table(result))
    return Result(data, "\n\n".join(texts))


def _options(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What one benchmark takes beyond the common options."""
    if name != "uncertainty":
        return {"threads": arguments.threads}
    if arguments.device == "cpu":
        return {"threads": arguments.threads, "part": arguments.part}
    return {"device": arguments.device, "part": arguments.part}
