"""Choose what to annotate next from a RUN, within a budget: images, regions or pixels."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from .output import Result, columns

_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_path", metavar="RUN", help="directory that alseg score wrote")
    parser.add_argument(
        "--budget",
        type=_amount,
        required=True,
        metavar="B",
        help="how much: a number, or a share such as 10%%",
    )
    parser.add_argument("--out", required=True, metavar="BATCH.parquet", help="file to write, one row a pick")
    parser.add_argument(
        "--unit", default="images", help="what the budget counts: images, regions, pixels, clicks or seconds"
    )
    parser.add_argument("--per-image", action="store_true", help="the budget holds in each image, not over the pool")
    parser.add_argument(
        "--strategy",
        default="top",
        help="of images, or of regions with any other unit: top (of --measure), random, or a measure such as entropy; "
        "of regions: superpixel, superpixel-crf, class-superpixel-crf, random-superpixels; with --unit pixels, of "
        "single pixels: entropy-pixels, entropy-edge, random-pixels",
    )
    parser.add_argument(
        "--measure", default="entropy_mean", help="any numeric column of the scores or regions, to rank by"
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="LABELLED",
        help="a batch, manifest or list of ids never to choose, of a batch of regions or pixels just these; may be "
        "given again",
    )
    parser.add_argument(
        "--ignore", metavar="DIR", help="masks <image_id>.png of pixels never to buy (non-zero), for regions and pixels"
    )
    parser.add_argument(
        "--masks", metavar="DIR", help="also write a mask <image_id>.png of every picked image: 255 = bought"
    )
    parser.add_argument("--seed", type=int, default=0, help="decides ties and random draws")
    group = parser.add_argument_group("settings of the region and pixel strategies")
    group.add_argument(
        "--edge-source", default="labels", help="entropy-edge: labels (their borders) or image (its edges)"
    )
    group.add_argument("--edge-weight", type=float, default=1.0, metavar="W", help="entropy-edge: weight of an edge")
    group.add_argument(
        "--edge-mode", default="multiply", help="entropy-edge: multiply, (1 + W edge) entropy, or add, entropy + W edge"
    )
    group.add_argument("--edge-dilation", type=int, default=1, metavar="PX", help="entropy-edge: widen edges")
    group.add_argument(
        "--edge-threshold", type=float, default=0.1, metavar="T", help="with edges of the image: gradient from 0 to 1"
    )
    group.add_argument(
        "--crf-use",
        default="rank",
        metavar="USE",
        help="strategies with crf: rank by the entropy after the region CRF, or labels: rank as without it",
    )
    group.add_argument(
        "--class-rule",
        default="equal",
        help="class-superpixel-crf: split the budget equal, inverse (1 / pixel share s of the class) or exp (exp(-s))",
    )


def _amount(text: str) -> int | float | str:
    if text.strip().endswith("%"):
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise argparse.ArgumentTypeError(f"must be a whole number, a number of clicks or seconds, or 10%; got {text!r}")


def run(arguments: argparse.Namespace) -> Result:
    from ..stages.select import SelectOptions, batch_facts, select

    batch = select(
        arguments.run_path,
        budget=arguments.budget,
        unit=arguments.unit,
        budget_scope="image" if arguments.per_image else "pool",
        strategy=arguments.strategy,
        measure=arguments.measure,
        options=SelectOptions(**{field.name: getattr(arguments, field.name) for field in fields(SelectOptions)}),
        exclude=[Path(path) for path in arguments.exclude] or None,
        ignore=arguments.ignore,
        seed=arguments.seed,
        out=arguments.out,
        masks=arguments.masks,
    )
    facts = batch_facts(batch)
    regions = batch.num_rows > batch.column("region_id").null_count
    rows = [("rank", "score", *(("cost",) if arguments.unit != "images" else ()), "image_id", "reason")]
    for row in batch.slice(0, _SHOWN).to_pylist():
        score = "" if row["score"] is None else f"{row['score']:.4f}"
        name = f"{row['image_id']} region {row['region_id']}" if regions else row["image_id"]
        cost = (f"{row['cost']:.6g}",) if arguments.unit != "images" else ()
        rows.append((str(row["rank"]), score, *cost, name, row["reason"]))
    text = columns(rows)
    if len(batch) > _SHOWN:
        text += f"\n... {len(batch) - _SHOWN:,} more"
    text += f"\n{len(batch):,} picks -> {arguments.out}"
    share = 100 * float(facts["share"])
    bought, pool = (f"{n:,.1f}" if isinstance(n, float) else f"{n:,}" for n in (facts["bought"], facts["pool"]))
    text += f"\nbought {bought} of {pool} {arguments.unit} ({share:.2f} %)"
    if arguments.masks:
        text += f"\nmasks -> {arguments.masks}"
    data = {
        "batch": arguments.out,
        "masks": arguments.masks,
        "picks": len(batch),
        **{key: facts[key] for key in ("strategy", "unit", "budget", "budget_scope", "bought", "pool", "share")},
        "first": [{k: v for k, v in row.items() if k != "rle"} for row in batch.slice(0, _SHOWN).to_pylist()],
    }
    return Result(data, text)
