"""Nearest neighbours of colour histograms, class by class: build an index, add to it, query it."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .arguments import add_common, positive, size_bytes
from .output import Progress, Result, columns

_SOURCE = "a RUN scored with --histogram, a Parquet file with columns image_id and histogram, or a pool of images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    build = actions.add_parser("build", help="make an index of a source")
    build.add_argument("source", metavar="SOURCE", help=_SOURCE)
    build.add_argument("--out", required=True, metavar="INDEX", help="directory to write")
    build.add_argument(
        "--histogram",
        default=None,
        metavar="SPEC",
        help="SPACE:BINS[:joint] or belharbi; rgb:32 for a pool",
    )
    build.add_argument(
        "--channels", type=positive, default=None, metavar="C", help="of histograms in Parquet without --histogram"
    )
    build.add_argument(
        "--weights",
        type=_weights,
        default="equal",
        metavar="HOW",
        help="of the channels: equal, published (1 / Z_c of each class), or C numbers, comma separated",
    )
    build.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="of the stored histograms")
    build.add_argument("--cells", choices=("auto", "none"), default="auto", help="partition large classes, or not")
    build.add_argument("--seed", type=int, default=0, metavar="S", help="of the cells and of sampled weights")
    build.add_argument("--overwrite", action="store_true", help="replace an index that is there")
    _add_filling(build)
    add = actions.add_parser("add", help="add the images of a source to an index")
    add.add_argument("index", metavar="INDEX", help="directory that alseg index build wrote")
    add.add_argument("source", metavar="SOURCE", help=_SOURCE)
    add.add_argument("--skip-existing", action="store_true", help="leave out images that are in the index already")
    _add_filling(add)
    query = actions.add_parser("query", help="the nearest neighbours of an image")
    query.add_argument("index", metavar="INDEX", help="directory that alseg index build wrote")
    what = query.add_mutually_exclusive_group(required=True)
    what.add_argument("--id", default=None, help="an image of the index; it is no neighbour of itself")
    what.add_argument("--image", default=None, metavar="FILE", help="any picture, path or URL")
    query.add_argument("--label", default=None, metavar="L", help="the class to look in; that of --id if not given")
    query.add_argument("-k", "--k", type=positive, default=10, help="neighbours")
    query.add_argument("--within", type=float, default=None, metavar="NATS", help="only neighbours nearer than this")
    query.add_argument("--approximate", action="store_true", help="look at --multiplier * k candidates only")
    query.add_argument("--multiplier", type=positive, default=8, metavar="M", help="candidates / k if approximate")
    for action in (build, add, query):
        add_common(action, nested=True)


def _add_filling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels",
        default="auto",
        metavar="HOW",
        help="auto (the column label of the source), none (one class), predicted (of a RUN), or a manifest with "
        "columns image_id and label",
    )
    parser.add_argument("--workers", type=positive, default=None, metavar="W", help="threads; one a CPU if not given")
    parser.add_argument("--max-pixels", type=positive, default=178_956_970, help="refuse larger images")
    parser.add_argument(
        "--max-memory",
        type=size_bytes,
        default="2G",
        metavar="SIZE",
        help="for what is in hand, such as 500M",
    )
    parser.add_argument(
        "--commit-every", type=positive, default=None, metavar="N", help="images between two commits; else thousands"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 if any image failed")


def run(arguments: argparse.Namespace) -> Result:
    return {"build": _build, "add": _add, "query": _query}[arguments.action](arguments)


def _build(arguments: argparse.Namespace) -> Result:
    from ..indexing import build_index

    with Progress("index") as progress:
        summary = build_index(
            arguments.source,
            arguments.out,
            histogram=arguments.histogram,
            channels=arguments.channels,
            weights=None if arguments.weights == "equal" else arguments.weights,
            dtype=arguments.dtype,
            cells=None if arguments.cells == "none" else arguments.cells,
            seed=arguments.seed,
            overwrite=arguments.overwrite,
            filling=_filling(arguments, progress),
        )
    return _told(summary, arguments.strict)


def _add(arguments: argparse.Namespace) -> Result:
    from ..indexing import add_to_index

    with Progress("index") as progress:
        summary = add_to_index(
            arguments.index,
            arguments.source,
            skip_existing=arguments.skip_existing,
            filling=_filling(arguments, progress),
        )
    return _told(summary, arguments.strict)


def _filling(arguments: argparse.Namespace, progress: Progress) -> Any:
    from ..indexing import Filling

    committed = 0

    def on_commit(images: int, failed: int) -> None:
        nonlocal committed
        committed += images
        progress.update(images, failed)
        if not sys.stderr.isatty():
            print(f"alseg: index: {committed:,} images committed", file=sys.stderr, flush=True)

    return Filling(
        labels=arguments.labels,
        workers=arguments.workers,
        max_pixels=arguments.max_pixels,
        max_memory=arguments.max_memory,
        commit_images=arguments.commit_every,
        on_start=progress.start,
        on_commit=on_commit,
    )


def _told(summary: Any, strict: bool) -> Result:
    data = {
        "index": summary.path,
        "added": summary.added,
        "failed": summary.failed,
        "skipped": summary.skipped,
        "rows": summary.rows,
        "classes": [{"label": label, "rows": rows} for label, rows in summary.classes.items()],
        "seconds": round(summary.seconds, 3),
    }
    classes = len(summary.classes)
    text = (
        f"added {summary.added:,} images in {summary.seconds:.1f} s, {summary.failed:,} failed, "
        f"{summary.skipped:,} were there before\n"
        f"{summary.path}: {summary.rows:,} images in {classes} {'class' if classes == 1 else 'classes'}"
    )
    if summary.failed:
        text += f"\nwhy images failed: alseg inspect {summary.path}"
    return Result(data, text, status=1 if strict and summary.failed else 0)


def _query(arguments: argparse.Namespace) -> Result:
    from ..index_query import query_index

    found, label = query_index(
        arguments.index,
        image_id=arguments.id,
        image=arguments.image,
        label=arguments.label,
        k=arguments.k,
        exact=not arguments.approximate,
        multiplier=arguments.multiplier,
        within=arguments.within,
    )
    count = int((found.distances[0] < float("inf")).sum())
    pairs = list(zip(found.ids[0, :count].tolist(), found.distances[0, :count].tolist(), strict=True))
    stats = found.stats
    visited = min(int(stats.visited[0]), int(stats.rows[0]))
    data = {
        "query": arguments.id if arguments.id is not None else arguments.image,
        "label": label,
        "neighbours": [{"rank": i + 1, "id": name, "distance": d} for i, (name, d) in enumerate(pairs)],
        "certified": bool(found.certified[0]),
        "visited": visited,
        "reranked": int(stats.reranked[0]),
        "rows": int(stats.rows[0]),
    }
    rows = [("rank", "distance", "id"), *((str(i + 1), f"{d:.6g}", str(name)) for i, (name, d) in enumerate(pairs))]
    proof = "certified: these are the nearest" if found.certified[0] else "not certified: nearer ones may exist"
    of_class = "" if label is None else f" of class {label}"
    text = f"{columns(rows)}\n{proof}; visited {visited:,} of {stats.rows[0]:,} images{of_class}"
    return Result(data, text)


def _weights(text: str) -> str | list[float]:
    if text in ("equal", "published"):
        return text
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be equal, published or numbers; got {text!r}") from None
