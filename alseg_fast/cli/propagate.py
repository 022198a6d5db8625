"""Find the images that a label reaches, by same-class nearest neighbours, and give them pseudo-masks."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from .arguments import add_model_options, model_options, positive, size_bytes
from .output import Result, StageProgress, columns

_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pool", required=True, metavar="MANIFEST", help="all images: image_id, uri and label, the class of each"
    )
    parser.add_argument(
        "--labelled",
        required=True,
        metavar="MANIFEST",
        help="the images with a pixel mask: image_id and perhaps mask_uri, or one id a line",
    )
    parser.add_argument("-k", "--k", type=positive, required=True, metavar="K", help="nearest neighbours that count")
    parser.add_argument("--out", required=True, metavar="DIR", help="directory to write")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--histogram", default="belharbi", metavar="SPEC", help="rgb:32, hsv:16, lab:8:joint, belharbi")
    source.add_argument("--run", metavar="RUN", dest="scored_run", help="take histograms from this RUN")
    source.add_argument("--index", metavar="INDEX", help="take histograms from this histogram index")
    parser.add_argument(
        "--direction",
        choices=("unlabelled", "labelled"),
        default="unlabelled",
        help="whose neighbours: the unlabelled image's, as published, or the labelled image's",
    )
    parser.add_argument(
        "--claims",
        choices=("one", "many"),
        default="one",
        help="with direction labelled: a pair with the nearest labelled image that claims an image, or with all",
    )
    parser.add_argument("--max-distance", type=float, metavar="NATS", help="also at most this far")
    parser.add_argument(
        "--weights",
        choices=("published", "equal"),
        default="published",
        help="of the channels: 1 / Z of each class, Z the sum over all pairs, or equal",
    )
    parser.add_argument("--approximate", action="store_true", help="do not prove that neighbours are the nearest")
    parser.add_argument(
        "--table",
        type=_numbers,
        default="1,5,10,20,40",
        metavar="K,...",
        help="also count the images that pass for these",
    )
    parser.add_argument("--multi-label", action="store_true", help='label holds several classes: a list or "a,b,c"')
    parser.add_argument("--model", metavar="M.onnx", help="write pseudo-masks by this segmentation network")
    parser.add_argument(
        "--threshold", type=float, default=0.5, metavar="P", help="probability from which on a pixel is named"
    )
    parser.add_argument(
        "--validation",
        metavar="MANIFEST",
        help="images with mask_uri to choose the threshold by (foreground and background only)",
    )
    parser.add_argument(
        "--ignore-index", type=int, metavar="V", help="value of validation masks that does not count, such as 255"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:I")
    parser.add_argument("--batch-size", type=positive, default=1, metavar="B", help="images a model call")
    parser.add_argument("--workers", type=positive, default=None, metavar="W", help="threads; one a CPU if not given")
    parser.add_argument(
        "--max-memory",
        type=size_bytes,
        default=None,
        metavar="SIZE",
        help="such as 8G; else half of the machine's",
    )
    parser.add_argument("--max-pixels", type=positive, default=178_956_970, help="refuse larger images")
    parser.add_argument("--overwrite", action="store_true", help="delete an earlier propagation in DIR first")
    parser.add_argument("--strict", action="store_true", help="exit 1 if any image failed")
    add_model_options(parser)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(positive(part.strip()) for part in text.split(",") if part.strip())


def run(arguments: argparse.Namespace) -> Result:
    from ..errors import UsageError
    from ..propagation import MaskOptions, propagate

    masks = None
    if arguments.model is not None:
        masks = MaskOptions(
            arguments.model,
            model_options(arguments),
            arguments.threshold,
            arguments.validation,
            arguments.ignore_index,
            arguments.device,
            arguments.batch_size,
            arguments.workers,
            arguments.max_pixels,
        )
    elif arguments.validation is not None or model_options(arguments).to_json():
        raise UsageError("--validation and the model options need --model; give the network that makes the masks")
    with StageProgress() as stages:
        done = propagate(
            arguments.pool,
            arguments.labelled,
            k=arguments.k,
            out=arguments.out,
            histogram=arguments.histogram,
            run=arguments.scored_run,
            index=arguments.index,
            direction=arguments.direction,
            claims=arguments.claims,
            max_distance=arguments.max_distance,
            weights=arguments.weights,
            exact=not arguments.approximate,
            table=arguments.table,
            multi_label=arguments.multi_label,
            masks=masks,
            device=arguments.device,
            workers=arguments.workers,
            max_memory=arguments.max_memory,
            max_pixels=arguments.max_pixels,
            overwrite=arguments.overwrite,
            on_stage=stages.start,
            progress=stages.update,
        )
    summary = done.summary
    data = {"out": str(done.path), **summary, "computed": dict(done.computed)}
    failed = arguments.strict and summary["failures"]
    return Result(data, "\n".join(_lines(done, arguments.k)), status=1 if failed else 0)


def _lines(done: Any, k: int) -> Iterable[str]:
    from ..stages.propagate_report import class_rows, k_rows

    summary = done.summary
    yield columns(class_rows(summary, k, _SHOWN))
    if len(summary["classes"]) > _SHOWN:
        yield f"... {len(summary['classes']) - _SHOWN:,} more classes in {done.path}/summary.json"
    yield ""
    yield columns(k_rows(summary))
    yield ""
    yield (
        f"k = {k}: {summary['passing']:,} of {summary['unlabelled']:,} unlabelled images pass "
        f"({100 * summary['share']:.1f} %), {summary['pairs']:,} pairs, {summary['certified']:,} certified"
    )
    again = {what: n for what, n in done.computed.items() if what not in ("new", "kept")}
    if again:
        yield "classes computed again: " + ", ".join(f"{n:,} ({what})" for what, n in sorted(again.items()))
    if "masks" in summary:
        masks = summary["masks"]
        sure = "" if masks["reliability_mean"] is None else f", mean reliability {masks['reliability_mean']:.3f}"
        chosen = f" (best on {masks['images']:,} images, score {masks['score']:.3f})" if "score" in masks else ""
        yield (
            f"{masks['masks']:,} pseudo-masks at threshold {masks['threshold']:g}{chosen}{sure}, "
            f"{masks['empty']:,} without any pixel, {masks['full']:,} with all"
        )
    if summary["failures"]:
        yield f"{summary['failures']:,} images failed: {done.path}/failures.parquet"
    yield f"pairs -> {done.path}/pairs.parquet"
