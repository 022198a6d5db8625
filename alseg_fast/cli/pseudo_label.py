"""Make masks and weights from activation maps: threshold of the pool, masks, weights; goes on where it stopped."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from ..types import LABEL_THRESHOLDS
from .arguments import add_model_options, model_options, positive
from .output import Result, StageProgress, columns

_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pool", required=True, metavar="MANIFEST", help="images; its column label names the classes of each"
    )
    parser.add_argument(
        "--model", required=True, metavar="M.onnx", help="network of activation maps or of segmentation"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="directory to write")
    parser.add_argument(
        "--threshold",
        type=_threshold,
        default="gmm",
        metavar="HOW",
        help="gmm (two Gaussians), gmm3 (three, with a band), otsu, or a number such as 0.45",
    )
    parser.add_argument(
        "--band", type=_pair, metavar="LOW,HIGH", help="ignore pixels whose activation is above LOW and up to HIGH"
    )
    parser.add_argument(
        "--weights",
        choices=("reciprocal", "printed", "none"),
        default="reciprocal",
        help="reliability of pixels as 8-bit PNG: mean 1, higher where surer; as printed in the talk; or none",
    )
    parser.add_argument("--alpha", type=float, default=0.9, metavar="A", help="of the perplexity behind the weights")
    parser.add_argument("--beta", type=float, default=1.0, metavar="B", help="of the perplexity behind the weights")
    parser.add_argument(
        "--weight-step", type=float, default=1 / 32, metavar="S", help="weight of one step of the 8-bit file"
    )
    parser.add_argument("--crf", action="store_true", help="refine the masks by a dense CRF")
    parser.add_argument("--crf-iterations", type=positive, default=5, metavar="N", help="of its mean field")
    parser.add_argument("--crf-gaussian", type=_pair, default="3,3", metavar="SXY,W", help="its smoothness term")
    parser.add_argument(
        "--crf-bilateral", type=_triple, default="80,13,10", metavar="SXY,SRGB,W", help="its appearance term"
    )
    parser.add_argument(
        "--tags", choices=("label", "none"), default="label", help="use the pool's column label, or know nothing"
    )
    parser.add_argument(
        "--background-class",
        metavar="NAME",
        help="class of a segmentation network that is no object, not a pseudo-label",
    )
    parser.add_argument(
        "--truth", metavar="MANIFEST|pool", help="compare with the masks of its column mask_uri (pool: the pool's own)"
    )
    parser.add_argument(
        "--ignore-index", type=int, default=255, metavar="V", help="value of true masks that does not count; -1: none"
    )
    parser.add_argument("--overlay", type=positive, metavar="N", help="draw N pictures and masks into overview.jpg")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:I")
    parser.add_argument("--batch-size", type=positive, default=1, metavar="B", help="images a model call")
    parser.add_argument("--workers", type=positive, default=None, metavar="W", help="threads; one a CPU if not given")
    parser.add_argument("--max-pixels", type=positive, default=178_956_970, help="refuse larger images")
    parser.add_argument("--overwrite", action="store_true", help="delete an earlier pseudo-labelling in DIR first")
    parser.add_argument("--strict", action="store_true", help="exit 1 if any image failed")
    add_model_options(parser)


def _threshold(text: str) -> str | float:
    if text in LABEL_THRESHOLDS:
        return text
    try:
        return float(text)
    except ValueError:
        known = ", ".join(LABEL_THRESHOLDS)
        raise argparse.ArgumentTypeError(f"must be one of {known}, or a number; got {text!r}") from None


def _numbers(text: str, count: int) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count:
        raise argparse.ArgumentTypeError(f"must be {count} numbers with commas; got {text!r}")
    return values


def _pair(text: str) -> tuple[float, ...]:
    return _numbers(text, 2)


def _triple(text: str) -> tuple[float, ...]:
    return _numbers(text, 3)


def run(arguments: argparse.Namespace) -> Result:
    from ..pseudo_labelling import pseudo_label
    from ..stages.pseudo_labels import CrfTerms

    with StageProgress() as stages:
        done = pseudo_label(
            arguments.pool,
            arguments.model,
            arguments.out,
            threshold=arguments.threshold,
            band=arguments.band,
            weights=arguments.weights,
            alpha=arguments.alpha,
            beta=arguments.beta,
            weight_step=arguments.weight_step,
            crf=arguments.crf,
            crf_terms=CrfTerms(arguments.crf_iterations, arguments.crf_gaussian, arguments.crf_bilateral),
            tags=arguments.tags,
            background_class=arguments.background_class,
            truth=arguments.truth,
            ignore_index=None if arguments.ignore_index < 0 else arguments.ignore_index,
            overlay=arguments.overlay or 0,
            options=model_options(arguments),
            device=arguments.device,
            batch_size=arguments.batch_size,
            workers=arguments.workers,
            max_pixels=arguments.max_pixels,
            overwrite=arguments.overwrite,
            on_stage=stages.start,
            progress=stages.update,
        )
    summary = done.summary
    wrong = summary["failures"] + summary.get("truth", {}).get("errors", 0)
    data = {"out": str(done.path), **summary}
    return Result(data, "\n".join(_lines(done)), status=1 if arguments.strict and wrong else 0)


def _lines(done: Any) -> Iterable[str]:
    summary = done.summary
    threshold = summary["threshold"]
    band = "" if threshold["low"] == threshold["high"] else f", band {threshold['low']:.3f} to {threshold['high']:.3f}"
    how = {"given": "given"}.get(threshold["method"], f"{threshold['method']} of {threshold.get('images', 0):,} images")
    yield f"threshold {threshold['threshold']:.3f} ({how}){band}"
    shares = (f"{name} {_percent(summary, name)}" for name in ("foreground", "ignore"))
    yield f"{summary['masks']:,} masks of {summary['images']:,} images, pixels: {', '.join(shares)}"
    if summary["flags"]:
        yield "worth a look: " + ", ".join(f"{name} {n:,}" for name, n in summary["flags"].items())
    if summary["missing"]:
        worst = sorted(summary["missing"].items(), key=lambda item: (-item[1], item[0]))
        shown = ", ".join(f"{name} {n:,}" for name, n in worst[:_SHOWN])
        yield f"labels without a pixel: {shown}" + (", ..." if len(worst) > _SHOWN else "")
    if "truth" in summary:
        yield from _truth_lines(summary["truth"])
    if summary["failures"]:
        yield f"{summary['failures']:,} images failed: {done.path}/failures.parquet"
    yield f"masks -> {done.path}/manifest.parquet"


def _percent(summary: Any, key: str) -> str:
    share = summary[f"{key}_share_mean"]
    return "-" if share is None else f"{100 * share:.1f} %"


def _truth_lines(truth: Any) -> Iterable[str]:
    masked, free = truth["tag_masked"], truth["unmasked"]
    yield f"against {truth['images']:,} true masks:"
    rows = [("IoU", "image labels", "without")]
    known = [n for n in masked["per_class"] if masked["per_class"][n] is not None or free["per_class"][n] is not None]
    rows += [(name, _share(masked["per_class"][name]), _share(free["per_class"][name])) for name in known[:_SHOWN]]
    rows += [("mean", _share(masked["miou"]), _share(free["miou"]))]
    rows += [("mean, named pixels", _share(masked["miou_named"]), _share(free["miou_named"]))]
    rows += [("pixel accuracy", _share(masked["pixel_accuracy"]), _share(free["pixel_accuracy"]))]
    yield columns(rows, indent="  ")
    if len(known) > _SHOWN:
        yield f"  ... {len(known) - _SHOWN:,} more classes in summary.json"
    if truth["errors"]:
        yield f"{truth['errors']:,} true masks could not be used, such as: {truth['first_error']}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
