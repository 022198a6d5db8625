"""Write one self-contained HTML page about a RUN and the images selected from it."""

from __future__ import annotations

import argparse

from .arguments import positive
from .output import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_path", metavar="RUN", help="directory that alseg score wrote")
    parser.add_argument("--batch", metavar="BATCH", default=None, help="what alseg select wrote; else the top images")
    parser.add_argument("--out", required=True, metavar="report.html", help="file to write")
    parser.add_argument("--max-images", type=positive, default=1000, help="images shown at most")
    parser.add_argument("--measure", default=None, help="measure to colour first; the RUN's first if not given")
    parser.add_argument("--title", default=None, help="heading of the page")


def run(arguments: argparse.Namespace) -> Result:
    from ..reporting import make_report

    summary = make_report(
        arguments.run_path,
        arguments.out,
        batch=arguments.batch,
        max_images=arguments.max_images,
        measure=arguments.measure,
        title=arguments.title,
    )
    data = {"report": str(summary.path), "images": summary.images, "bytes": summary.bytes}
    return Result(data, f"{summary.path}: {summary.images:,} images, {summary.bytes / 1e6:.1f} MB")
