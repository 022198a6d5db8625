"""`alseg bench histogram`: colour histograms, beside OpenCV, NumPy and the decoding of the picture."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image as PillowImage

import alseg_fast as alseg
from alseg_fast.dispatch import use_backend

from . import machine
from .histogram_cases import DECODE, OURS, QUICK_SIZES, SIZES, SPECS, Image, check, our_call, peers_of
from .pictures import find_pictures, get_picture
from .rivals import OURS as OUR_ROLE
from .rivals import PART, PEER, Rival, add_ratios, find_ratio, time_rivals
from .tables import Result, Row, finish_result, format_table, goal, make_table
from .timing import Quiet

__all__ = ["format_table", "run"]

log = logging.getLogger("alseg")

TIMES = 5.0  # goal: how many times our time the fastest peer must take
JPEG_QUALITY = 90

ROW_COLUMNS = [
    *[("backend", "way"), ("median_ms", "median ms"), ("iqr_ms", "IQR"), ("min_ms", "min ms"), ("reps", "reps")],
    *[("call_mib", "MiB a call"), ("mpix_s", "Mpix/s"), ("median_ratio", "x alseg"), ("min_ratio", "x (minima)")],
]
SUMMARY_COLUMNS = [
    *[("case", "case"), ("spec", "histogram"), ("threads", "thr"), ("ours_ms", "alseg ms"), ("ours_min_ms", "min")],
    *[("best_peer", "best peer"), ("best_ratio", "x"), ("best_min_ratio", "(minima)"), ("of_decode", "of decode")],
]
NOTES = (
    "From the picture's bytes in memory to normalised float32; conversions to HSV and CIELAB are OpenCV's own for all "
    "peers. OpenCV's calcHist has a call a channel; NumPy counts bytes and folds them into bins.",
    "The decoding of the same picture from a JPEG of quality 90, on one thread, is shown beside; 'of decode' is our "
    "share of it.",
    "x alseg: time divided by alseg's; below 1 the peer is faster.",
)


def _decoder(image: Image) -> Callable[[], object]:
    buffer = io.BytesIO()
    PillowImage.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
    data = buffer.getvalue()
    block = np.empty(image.size, np.uint8)
    return lambda: simplejpeg.decode_jpeg(data, "RGB", buffer=block)


def _rivals(image: Image, spec: alseg.HistogramSpec, threads: int) -> list[Rival]:
    with use_backend("reference"):
        expected = spec.compute(image)
    ours = Rival(
        OURS, OUR_ROLE, lambda: our_call(image, spec, threads), lambda row: check(row, expected, spec, ours=True)
    )
    peers = [
        Rival(
            peer.name,
            PEER,
            lambda peer=peer: peer.make(image, spec, threads),  # type: ignore[misc]
            lambda row: check(row, expected, spec, ours=False),
        )
        for peer in peers_of(spec)
    ]
    return [ours, *peers, Rival(DECODE, PART, lambda: _decoder(image))]


def _summarise(name: str, spec: alseg.HistogramSpec, threads: int, rows: list[Row]) -> Row:
    peers = [row for row in rows if row["role"] == PEER and row.get("median_ratio") is not None]
    best = min(peers, key=lambda row: float(row["median_ms"]), default=None)
    decode = find_ratio(rows, DECODE)
    return {
        "id": f"histogram/{name}/{spec}/{threads}t",
        "case": name,
        "spec": str(spec),
        "threads": threads,
        "error": rows[0]["error"],
        "ours_ms": rows[0].get("median_ms"),
        "ours_min_ms": rows[0].get("min_ms"),
        "best_peer": best["backend"] if best else None,
        "best_ratio": best["median_ratio"] if best else None,
        "best_min_ratio": best["min_ratio"] if best else None,
        "of_decode": 1 / decode if decode else None,
    }


def run(
    quick: bool = False,
    threads: tuple[int, ...] = (1, 2),
    save_to: str | Path | None = None,
    *,
    data: str | Path | None = None,
    sizes: Sequence[tuple[int, int]] | None = None,
    specs: Sequence[str] = SPECS,
    allocator: str = "default",
) -> Result:
    """Time every way whose histograms are right.

    Args:
        quick: a small picture and few repetitions; the figures are rough.
        threads: numbers of threads, each a block of its own in which all ways take turns.
        save_to: directory for the JSON file; None writes none.
        data: folder of BSDS500; None takes the usual one if it is there, see `pictures`.
        sizes, specs: (H, W) and histograms other than the usual ones.
        allocator: "default" or "keep", see `machine.set_allocator`.
    Returns: see `tables`.
    Raises: UsageError: no BSDS500 in `data`.
    """
    folder = find_pictures(data)
    facts = machine.describe_machine(threads, machine.set_allocator(allocator))
    quiet = Quiet(0.2, 1.0) if quick else Quiet()
    tables, summaries, goals, wrong, sources = [], [], [], [], []
    for size in sizes or (QUICK_SIZES if quick else SIZES):
        image, source = get_picture(size, folder)
        sources.append(source)
        name = f"{size[1]}x{size[0]}"
        for text, n in ((text, n) for text in specs for n in threads):
            spec = alseg.HistogramSpec.parse(text)
            log.info("bench histogram: %s, %s, %d thread(s)", name, spec, n)
            rows, failed = time_rivals(f"histogram/{name}/{spec}/{n}t", _rivals(image, spec, n), quick, quiet)
            add_ratios(rows, OURS, size[0] * size[1])
            title = f"{name}, {spec}, {n} thread{'s' if n > 1 else ''}"
            tables.append(make_table(title, ROW_COLUMNS, rows))
            summary = _summarise(name, spec, n, rows)
            summaries.append(summary)
            what = f"fastest peer / alseg, {name}, {spec}, {n} thr"
            goals.append(goal(what, summary["best_ratio"], TIMES, at_least=True))
            wrong += failed
    tables.append(make_table("Summary (ratios of medians)", SUMMARY_COLUMNS, summaries))
    return finish_result(
        "histogram",
        quick=quick,
        facts=facts,
        method={"order": "contenders take turns", "quiet": str(quiet), "pictures": "; ".join(sources)},
        tables=tables,
        goals=goals,
        notes=NOTES,
        wrong=wrong,
        save_to=save_to,
    )
