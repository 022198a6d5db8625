"""Compare strategies in active-learning loops on labelled data; the same command again goes on where it stopped."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..errors import UsageError
from .output import Result, columns

_EXTRA = "alseg simulate needs {}, which is not installed; run pip install 'alseg-fast[train]'"


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
        help="wins over the config, such as --set data.root=glas --set rounds=3; repeatable",
    )
    parser.add_argument("--list", action="store_true", help="show the ready configs, and stop")


def run(arguments: argparse.Namespace) -> Result:
    try:
        from ..simulation.config_file import read_simulation, ready_simulations
        from ..simulation.run import PAGE, RESULTS, run_simulation
    except ModuleNotFoundError as error:
        if (error.name or "alseg_fast").startswith("alseg_fast"):
            raise
        raise UsageError(_EXTRA.format(error.name)) from None
    if arguments.list:
        return _list(ready_simulations())
    if arguments.source is None:
        raise UsageError("give CONFIG.yaml or the name of a ready config; alseg simulate --list shows them")
    config = read_simulation(arguments.source, arguments.settings)
    out = arguments.out or config.out
    if out is None:
        raise UsageError("give --out DIR, or out in the config")
    rows = run_simulation(config, out, source=arguments.source, tell=_tell)
    from ..simulation.results.tables import summary_text

    files = {"results": f"{out}/{RESULTS}", "page": f"{out}/{PAGE}"}
    data = {"out": str(out), **files, "rows": [asdict(row) for row in rows]}
    return Result(data, f"{summary_text(rows, source=config.published)}\n{files['results']}\n{files['page']}")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _list(ready: Mapping[str, str]) -> Result:
    data: dict[str, Any] = {"configs": dict(ready)}
    return Result(data, "ready configs:\n" + columns(list(ready.items()), "  "))
