"""Show the main job on an example pool made on the spot, with the small model that ships in the package."""

from __future__ import annotations

import argparse

from .arguments import positive
from .output import Progress, Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", default="alseg-demo", metavar="DIR", help="directory for the pool, the RUN, the report"
    )
    parser.add_argument("--images", type=positive, default=200, metavar="N", help="size of the example pool")


def run(arguments: argparse.Namespace) -> Result:
    from ..demo.run import run_demo

    with Progress("demo") as progress:
        outcome = run_demo(arguments.out, arguments.images, progress=progress.update, on_start=progress.start)
    return Result(outcome.data, outcome.text)
