"""Score a pool with a model into a RUN directory; the same command again goes on where it stopped."""

from __future__ import annotations

import argparse

from ..types import MEASURES
from .arguments import add_model_options, model_options, names, positive, shard
from .output import Progress, Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "pool",
        metavar="POOL",
        help="directory, glob, list file, Parquet/CSV/JSONL manifest, WebDataset tar shards, or a URL of any of these",
    )
    parser.add_argument("--model", required=True, metavar="M.onnx", help="segmentation network")
    parser.add_argument("--out", required=True, metavar="RUN", help="directory to write")
    parser.add_argument("--measures", type=names, default="entropy", help=f"any of {','.join(MEASURES)}")
    parser.add_argument(
        "--mc-passes",
        type=positive,
        default=None,
        metavar="T",
        help="passes an image to use, of those the model gives (alseg_fast.export writes such models); all by default",
    )
    parser.add_argument(
        "--regions",
        default="none",
        metavar="HOW",
        help="also score regions: slic:K (superpixels), slico:K, grid:P (squares of P pixels), or none",
    )
    parser.add_argument("--crf", action="store_true", help="also smooth region classes over neighbouring regions")
    parser.add_argument(
        "--region-cache", metavar="DIR", default=None, help="keep superpixels here, for later runs on the same pictures"
    )
    parser.add_argument(
        "--histogram",
        default="none",
        metavar="SPEC",
        help="also store a colour histogram an image, of its own size: rgb:32, hsv:16, lab:8:joint, belharbi, or none",
    )
    parser.add_argument("--histogram-dtype", choices=("float16", "float32"), default="float16", help="of the column")
    parser.add_argument(
        "--published",
        action="store_true",
        help="also the scores of Belharbi et al. as their code computes them, for one foreground",
    )
    parser.add_argument("--maps", action="store_true", help="also write heatmaps and label maps as PNG")
    parser.add_argument(
        "--tags",
        choices=("label", "none"),
        default="label",
        help="which classes are in a picture, for activation maps: the pool's column label, or nothing known",
    )
    parser.add_argument("--score-size", choices=("input", "image"), default="input", help="resolution of the measures")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:I")
    parser.add_argument("--batch-size", type=positive, default=1, metavar="B", help="images a model call")
    parser.add_argument("--workers", type=positive, default=None, metavar="W", help="threads; one a CPU if not given")
    parser.add_argument("--shard", type=shard, default="0/1", metavar="I/N", help="score every N-th part, from I = 0")
    parser.add_argument("--max-pixels", type=positive, default=178_956_970, help="refuse larger images")
    parser.add_argument("--overwrite", action="store_true", help="delete an earlier RUN first")
    parser.add_argument("--strict", action="store_true", help="exit 1 if any image failed")
    add_model_options(parser)


def run(arguments: argparse.Namespace) -> Result:
    from ..engine import Scorer

    scorer = Scorer(
        arguments.model,
        measures=arguments.measures,
        options=model_options(arguments),
        device=arguments.device,
        workers=arguments.workers,
        score_size=arguments.score_size,
        batch_size=arguments.batch_size,
        max_pixels=arguments.max_pixels,
        mc_passes=arguments.mc_passes,
        regions=arguments.regions,
        crf=arguments.crf,
        region_cache=arguments.region_cache,
        histogram=arguments.histogram,
        histogram_dtype=arguments.histogram_dtype,
        published=arguments.published,
    )
    with Progress("score") as progress:
        summary = scorer.score_pool(
            arguments.pool,
            arguments.out,
            maps=arguments.maps,
            tags=arguments.tags,
            shard=arguments.shard,
            overwrite=arguments.overwrite,
            progress=progress.update,
            on_start=progress.start,
        )
    counts = summary.run
    data = {
        "run": str(summary.path),
        "scored": summary.scored,
        "failed": summary.failed,
        "skipped": summary.skipped,
        "seconds": round(summary.seconds, 3),
        "images_per_second": round(summary.images_per_second, 2),
        "rows": counts.rows,
        "failures": counts.failures,
        "parts_done": counts.parts_done,
        "parts": counts.parts,
        "complete": counts.complete,
    }
    lines = [
        f"scored {summary.scored:,} images in {summary.seconds:.1f} s ({summary.images_per_second:.1f} images/s), "
        f"{summary.failed:,} failed, {summary.skipped:,} were done before",
        f"{summary.path}: {counts.rows:,} rows, {counts.failures:,} failures, "
        f"{counts.parts_done} of {counts.parts} parts{'' if counts.complete else ' (not complete)'}",
    ]
    if counts.failures:
        lines.append(f"why images failed: alseg inspect {summary.path}")
    return Result(data, "\n".join(lines), status=1 if arguments.strict and counts.failures else 0)
