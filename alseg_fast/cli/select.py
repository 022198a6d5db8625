"""Choose what to annotate next from a RUN, within a budget."""

from __future__ import annotations

import argparse
from pathlib import Path

from .arguments import positive
from .output import Result, columns

_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_path", metavar="RUN", help="directory that alseg score wrote")
    parser.add_argument("--budget", type=positive, required=True, metavar="B", help="how much to choose")
    parser.add_argument("--out", required=True, metavar="BATCH.parquet", help="file to write, one row a pick")
    parser.add_argument("--unit", default="images", help="what the budget counts")
    parser.add_argument("--strategy", default="top", help="top (of --measure), random, or a measure such as entropy")
    parser.add_argument("--measure", default="entropy_mean", help="any numeric score column, for top")
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="LABELLED",
        help="a batch, manifest or list of ids never to choose; may be given again",
    )
    parser.add_argument("--seed", type=int, default=0, help="decides ties and random draws")


def run(arguments: argparse.Namespace) -> Result:
    from ..stages.select import select

    batch = select(
        arguments.run_path,
        budget=arguments.budget,
        unit=arguments.unit,
        strategy=arguments.strategy,
        measure=arguments.measure,
        exclude=[Path(path) for path in arguments.exclude] or None,
        seed=arguments.seed,
        out=arguments.out,
    )
    rows = [("rank", "score", "image_id", "reason")]
    for row in batch.slice(0, _SHOWN).to_pylist():
        score = "" if row["score"] is None else f"{row['score']:.4f}"
        rows.append((str(row["rank"]), score, row["image_id"], row["reason"]))
    text = columns(rows)
    if len(batch) > _SHOWN:
        text += f"\n... {len(batch) - _SHOWN:,} more"
    text += f"\n{len(batch):,} picks -> {arguments.out}"
    return Result({"batch": arguments.out, "picks": len(batch), "first": batch.slice(0, _SHOWN).to_pylist()}, text)
