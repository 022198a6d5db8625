"""Show what a model, a RUN, an INDEX, a POOL or a directory of pseudo-labels is, and where each fact comes from."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .arguments import add_model_options, model_options
from .output import Result, columns

_SHOWN = ("measures", "histogram")  # of the config, in lines of their own
_EXAMPLES = 5
_CLASSES = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="MODEL.onnx|RUN|INDEX|POOL|DIR", help="what to look at")
    add_model_options(parser)


def run(arguments: argparse.Namespace) -> Result:
    target = Path(arguments.target)
    if target.suffix == ".onnx":
        return _model(arguments)
    if (target / "run.json").is_file():
        return _run(arguments.target)
    from ..histogram_index.store import is_index
    from ..stages.pseudo_label_files import is_labelling

    if is_labelling(target):
        return _labelling(target)
    return _index(target) if is_index(target) else _pool(arguments.target)


def _labelling(path: Path) -> Result:
    from ..stages.pseudo_label_files import read_labelling

    info, summary, failures = read_labelling(path)
    reasons = Counter(zip(failures.column("stage").to_pylist(), failures.column("error").to_pylist(), strict=True))
    listed = [{"stage": s, "error": e, "images": n} for (s, e), n in reasons.most_common()]
    data = {"pseudo_labels": str(path), "complete": summary is not None, **info, "summary": summary, "failures": listed}
    labels = ", ".join(f"{i} {name}" for i, name in enumerate(info["classes"][:_CLASSES]))
    rows = [
        ("pseudo-labels", f"{path} ({'complete' if summary else 'not complete'})"),
        ("pool", f"{info['pool']['source']}: {info['pool']['images']:,} images"),
        ("model", f"sha256 {info['model']['sha256'][:12]}"),
        ("ids", labels + (", ..." if len(info["classes"]) > _CLASSES else "")),
        *((f"config {key}", str(value)) for key, value in sorted(info["config"].items())),
    ]
    if summary is not None:
        threshold = summary["threshold"]
        rows += [
            ("threshold", f"{threshold['threshold']:.3f}, low {threshold['low']:.3f}, high {threshold['high']:.3f}"),
            ("masks", f"{summary['masks']:,}"),
            ("failures", f"{summary['failures']:,}"),
            *((f"flag {name}", f"{n:,}") for name, n in summary["flags"].items()),
        ]
    text = columns(rows)
    if reasons:
        text += "\nfailures by reason:\n"
        text += columns([(f"{n:,}", s, e) for (s, e), n in reasons.most_common(20)], indent="  ")
    return Result(data, text)


def _index(path: Path) -> Result:
    from ..histogram_index import HistogramIndex
    from ..stages.index_failures import read_failures

    index = HistogramIndex.load(path)
    failures = read_failures(path)
    reasons = Counter(zip(failures.column("stage").to_pylist(), failures.column("error").to_pylist(), strict=True))
    weights = index.weights if index.weights is None or isinstance(index.weights, str) else index.weights.tolist()
    data = {
        "index": str(path),
        "rows": len(index),
        "dim": index.dim,
        "channels": index.channels,
        "weights": weights,
        "dtype": index.dtype,
        "ids": index.id_kind,
        "info": index.info,
        "classes": [
            {"label": label, "rows": rows, "blocks": index.blocks[label]} for label, rows in index.classes.items()
        ],
        "failures": [{"stage": s, "error": e, "images": n} for (s, e), n in reasons.most_common()],
    }
    shown = sorted(index.classes.items(), key=lambda item: -item[1])[:_CLASSES]
    rest = len(index.classes) - len(shown)
    rows = [
        ("index", str(path)),
        ("images", f"{len(index):,}"),
        ("histogram", f"{index.dim} numbers in {index.channels} channels, {index.dtype}"),
        *((key, str(value)) for key, value in index.info.items()),
        ("weights", "equal" if weights is None else str(weights)),
        ("classes", f"{len(index.classes):,}"),
        *((_class_name(label), f"{n:,} in blocks of {_sizes(index.blocks[label])}") for label, n in shown),
        *([("", f"and {rest:,} smaller classes")] if rest else []),
        ("failures", f"{failures.num_rows:,}"),
    ]
    text = columns(rows)
    if reasons:
        text += "\nfailures by reason:\n"
        text += columns([(f"{n:,}", s, e) for (s, e), n in reasons.most_common(20)], indent="  ")
    return Result(data, text)


def _class_name(label: Any) -> str:
    return "no label" if label is None else f"class {label}"


def _sizes(sizes: Sequence[int]) -> str:
    more = f" and {len(sizes) - _EXAMPLES} more" if len(sizes) > _EXAMPLES else ""
    return ", ".join(f"{size:,}" for size in sizes[:_EXAMPLES]) + more


def _model(arguments: argparse.Namespace) -> Result:
    from ..runtimes.onnx import load_model

    model = load_model(arguments.target, model_options(arguments))
    return Result(model.spec.to_json(), model.spec.describe())


def _run(path: str) -> Result:
    from ..stages.store import open_run

    opened = open_run(path)
    info, counts = opened.info, opened.counts
    failures = opened.failures()
    reasons = Counter(zip(failures.column("stage").to_pylist(), failures.column("error").to_pylist(), strict=True))
    data: dict[str, Any] = {
        "run": path,
        "complete": opened.complete,
        "counts": counts,
        "parts": opened.parts,
        "pool": info["pool"],
        "model": info["model"]["path"],
        "classes": opened.classes,
        "measures": opened.measures,
        "regions": opened.region_count,
        "histogram": opened.histogram,
        "config": info["config"],
        "timings": info.get("timings", {}),
        "failures": [{"stage": s, "error": e, "images": n} for (s, e), n in reasons.most_common()],
    }
    state = "complete" if opened.complete else f"{len(opened.parts_done)} of {opened.parts} parts"
    rows = [
        ("run", f"{path} ({state})"),
        ("pool", f"{info['pool']['source']}: {info['pool']['images']:,} images ({info['pool']['kind']})"),
        ("rows", f"{counts['rows']:,}"),
        ("failures", f"{counts['failures']:,}"),
        *([("regions", f"{opened.region_count:,}")] if opened.has_regions else []),
        *([("histogram", opened.histogram)] if opened.histogram else []),
        ("model", f"{info['model']['path']} (sha256 {info['model']['sha256'][:12]})"),
        ("classes", f"{len(opened.classes)}: {', '.join(opened.classes)}"),
        ("measures", ", ".join(opened.measures)),
        *((f"config {key}", str(value)) for key, value in sorted(info["config"].items()) if key not in _SHOWN),
    ]
    text = columns(rows)
    if reasons:
        text += "\nfailures by reason:\n"
        text += columns([(f"{n:,}", s, e) for (s, e), n in reasons.most_common(20)], indent="  ")
    return Result(data, text)


def _pool(source: str) -> Result:
    from ..stages.pool import open_pool

    pool = open_pool(source)
    first = pool.table.column("image_id").slice(0, _EXAMPLES).to_pylist()
    data = {
        "pool": pool.source,
        "kind": pool.kind,
        "images": len(pool),
        "columns": pool.table.column_names,
        "first": first,
        "skipped_files": pool.skipped_files,
        "skipped_examples": list(pool.skipped_examples),
    }
    rows = [
        ("pool", f"{pool.source} ({pool.kind})"),
        ("images", f"{len(pool):,}"),
        ("columns", ", ".join(pool.table.column_names)),
        ("first", ", ".join(first)),
    ]
    if pool.skipped_files:
        rows.append(("skipped", f"{pool.skipped_files:,} other files, such as {', '.join(pool.skipped_examples)}"))
    return Result(data, columns(rows))
