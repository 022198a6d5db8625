"""Compare strategies in active-learning loops on labelled data; the same command again goes on where it stopped."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict

from ..freed_memory import keep_freed_memory
from .output import Result
from .ready_configs import add_config_arguments, out_of, ready_text, source_of, training_extra


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser, example="rounds=3", listed="the ready configs")


def run(arguments: argparse.Namespace) -> Result:
    with training_extra("simulate"):
        from ..simulation.config_file import read_simulation, ready_simulations
        from ..simulation.results.tables import summary_text
        from ..simulation.run import PAGE, RESULTS, run_simulation
    if arguments.list:
        ready = ready_simulations()
        return Result({"configs": dict(ready)}, ready_text(ready))
    source = source_of("simulate", arguments)
    config = read_simulation(source, arguments.settings)
    out = out_of(arguments, config.out)
    keep_freed_memory()
    rows = run_simulation(config, out, source=source, tell=_tell)
    files = {"results": f"{out}/{RESULTS}", "page": f"{out}/{PAGE}"}
    data = {"out": out, **files, "rows": [asdict(row) for row in rows]}
    return Result(data, f"{summary_text(rows, source=config.published)}\n{files['results']}\n{files['page']}")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
