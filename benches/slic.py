"""`alseg bench slic`: superpixels, their speed and their quality, beside the strongest peers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from alseg_fast.errors import UsageError

from . import machine, slic_quality
from .pictures import Folder, find_pictures, get_picture
from .rivals import OURS as OUR_ROLE
from .rivals import PEER, Rival, add_ratios, find_ratio, time_rivals
from .slic_cases import (
    CASES,
    FAST,
    OURS,
    PEERS,
    QUICK_CASES,
    SKIMAGE,
    Case,
    Image,
    Segments,
    check_peer,
    check_segments,
    our_calls,
)
from .tables import Result, Row, finish_result, format_table, goal, make_table
from .timing import Quiet, error_text

__all__ = ["PARTS", "format_table", "run"]

log = logging.getLogger("alseg")

PARTS = ("speed", "quality", "all")
QUICK_PICTURES = 20
FAST_TIMES, SKIMAGE_TIMES = 1.5, 25.0  # goals: how many times our time these must take

ROW_COLUMNS = [
    *[("backend", "way"), ("segments", "K real"), ("median_ms", "median ms"), ("iqr_ms", "IQR"), ("min_ms", "min ms")],
    *[("reps", "reps"), ("call_mib", "MiB a call"), ("mpix_s", "Mpix/s"), ("median_ratio", "x alseg")],
    ("min_ratio", "x (minima)"),
]
SUMMARY_COLUMNS = [
    *[("case", "case"), ("asked", "K"), ("threads", "thr"), ("ours_ms", "alseg ms"), ("ours_min_ms", "min")],
    *[("fast_ratio", f"{FAST} x"), ("fast_min_ratio", "(minima)"), ("skimage_ratio", "skimage x")],
    *[("best_peer", "best peer"), ("best_ratio", "x")],
]
NOTES = (
    "All ways: colour conversion, iterations (10 unless the name says otherwise), connectivity; compactness 10. "
    "Boundary recall: share of the drawn boundary with a segment's boundary within 2 pixels (Euclidean); "
    "undersegmentation error after Neubert and Protzel; means over the people who drew, then over the pictures.",
    "skimage has no setting for threads and uses one; OpenCV's and fast-slic's are set to the block's number.",
    "alseg writes into the same memory at every call, 'fresh outputs' and all peers give a new array.",
    "x alseg: time divided by alseg's; below 1 the peer is faster.",
)


def _rivals(image: Image, asked: int, threads: int) -> list[Rival]:
    def facts(labels: Segments) -> Row:
        return {"segments": int(labels.max()) + 1}

    ours = [
        Rival(name, OUR_ROLE, lambda call=call: call, lambda labels: check_segments(labels, asked), facts)  # type: ignore[misc]
        for name, call in our_calls(image, asked, threads).items()
    ]
    peers = [
        Rival(
            peer.name,
            PEER,
            lambda peer=peer: peer.make(image, asked, threads),  # type: ignore[misc]
            lambda labels: check_peer(labels, image),
            facts,
        )
        for peer in PEERS
        if peer.in_speed
    ]
    return ours + peers


def _summarise(case: Case, asked: int, threads: int, rows: list[Row]) -> Row:
    peers = [row for row in rows if row["role"] == PEER and row.get("median_ratio") is not None]
    best = min(peers, key=lambda row: float(row["median_ms"]), default=None)
    name = f"{case.size[1]}x{case.size[0]}"
    return {
        "id": f"slic/{name}/K{asked}/{threads}t",
        "case": name,
        "asked": asked,
        "threads": threads,
        "error": rows[0]["error"],
        "ours_ms": rows[0].get("median_ms"),
        "ours_min_ms": rows[0].get("min_ms"),
        "fast_ratio": find_ratio(rows, FAST),
        "fast_min_ratio": find_ratio(rows, FAST, "min_ratio"),
        "skimage_ratio": find_ratio(rows, SKIMAGE),
        "best_peer": best["backend"] if best else None,
        "best_ratio": best["median_ratio"] if best else None,
    }


def _speed_goals(summaries: Sequence[Row]) -> list[Row]:
    goals = []
    for row in summaries:
        where = f"{row['case']}, K = {row['asked']}, {row['threads']} thr"
        goals.append(goal(f"{FAST} / alseg, {where}", row["fast_ratio"], FAST_TIMES, at_least=True))
        goals.append(goal(f"skimage / alseg, {where}", row["skimage_ratio"], SKIMAGE_TIMES, at_least=True))
    return goals


def _measure_quality(
    folder: Folder | None, pictures: int | None, counts: Sequence[int]
) -> tuple[list[Row], list[Row], str]:
    """Tables, goals, and what the pictures were."""
    try:
        if folder is None:
            raise UsageError("no pictures of BSDS500 here; name their folder with --data DIR")
        drawn = slic_quality.read_all(folder, pictures)
    except (UsageError, ImportError) as exc:
        row = {"id": "slic/quality", "backend": "quality", "error": error_text(exc)}
        return [make_table("Quality", slic_quality.COLUMNS, [row])], [], "none"
    tables, goals = [], []
    for asked in counts:
        rows = slic_quality.measure_count(asked, drawn)
        title = f"Quality at K = {asked}, means over {len(drawn)} test pictures of BSDS500"
        tables.append(make_table(title, slic_quality.COLUMNS, rows))
        goals += slic_quality.list_goals(asked, rows)
    return tables, goals, f"{len(drawn)} of {len(folder.pictures)} test pictures of BSDS500"


def run(
    quick: bool = False,
    threads: tuple[int, ...] = (1, 2),
    save_to: str | Path | None = None,
    *,
    part: str = "all",
    data: str | Path | None = None,
    cases: Sequence[Case] | None = None,
    pictures: int | None = None,
    counts: Sequence[int] = slic_quality.COUNTS,
    allocator: str = "default",
) -> Result:
    """Time every way whose segments are sound, and measure how well they follow what people drew.

    Args:
        quick: small pictures, few repetitions, and the quality of 20 pictures; the figures are rough.
        threads: numbers of threads, each a block of its own in which all ways take turns.
        save_to: directory for the JSON file; None writes none.
        part: "speed", "quality" or "all".
        data: folder of BSDS500; None takes the usual one if it is there, see `pictures`.
        cases, pictures, counts: sizes and numbers other than the usual ones: of the speed part, how many pictures
            of the quality part, its numbers of segments.
        allocator: "default" or "keep", see `machine.set_allocator`.
    Returns: see `tables`.
    Raises: UsageError: there is no such part, or no BSDS500 in `data`.
    """
    if part not in PARTS:
        raise UsageError(f"bench slic: part must be one of {', '.join(PARTS)}; got {part!r}.")
    folder = find_pictures(data)
    if part == "quality" and folder is None:
        raise UsageError(
            "bench slic: the quality part needs the pictures of BSDS500. Name their folder with --data DIR."
        )
    facts = machine.describe_machine(threads, machine.set_allocator(allocator))
    quiet = Quiet(0.2, 1.0) if quick else Quiet()
    tables, summaries, goals, wrong, sources = [], [], [], [], []
    for case in (cases or (QUICK_CASES if quick else CASES)) if part != "quality" else ():
        image, source = get_picture(case.size, folder)
        sources.append(source)
        for asked, n in ((k, n) for k in case.counts for n in threads):
            name = f"{case.size[1]}x{case.size[0]}"
            log.info("bench slic: %s, K = %d, %d thread(s)", name, asked, n)
            rows, failed = time_rivals(f"slic/{name}/K{asked}/{n}t", _rivals(image, asked, n), quick, quiet)
            add_ratios(rows, OURS, image.shape[0] * image.shape[1])
            title = f"{name}, K = {asked}, {n} thread{'s' if n > 1 else ''}"
            tables.append(make_table(title, ROW_COLUMNS, rows))
            summaries.append(_summarise(case, asked, n, rows))
            wrong += failed
    if summaries:
        tables.append(make_table("Summary (ratios of medians)", SUMMARY_COLUMNS, summaries))
        goals += _speed_goals(summaries)
    method = {"part": part}
    if part != "quality":
        method |= {
            "order": "contenders take turns",
            "quiet": str(quiet),
            "pictures": "; ".join(sources),
        }
    if part != "speed":
        found, quality_goals, method["quality"] = _measure_quality(
            folder, pictures or (QUICK_PICTURES if quick else None), counts
        )
        tables += found
        goals += quality_goals
    return finish_result(
        "slic",
        quick=quick,
        facts=facts,
        method=method,
        tables=tables,
        goals=goals,
        notes=NOTES,
        wrong=wrong,
        save_to=save_to,
    )
