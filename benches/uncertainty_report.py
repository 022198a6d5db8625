"""Ratios, summary lines and goals of `bench uncertainty`."""

from __future__ import annotations

from typing import Any

from .cases import EAGER, Case
from .tables import Row, goal, ratio

OURS = "alseg"


def add_ratios(case: Case, rows: list[Row]) -> list[Row]:
    """Each row's time over ours, and its pixels a second."""
    ours = next(r for r in rows if r["backend"] == OURS)
    pixels = case.high[0] * case.high[1]
    for row in rows:
        for which in ("median", "min"):
            row[f"{which}_ratio"] = ratio(row.get(f"{which}_ms"), ours.get(f"{which}_ms"))
        median = row.get("median_ms")
        row["mpix_s"] = None if median is None or row["role"] == "floor" else pixels / median / 1e3
    return rows


def summarise(case: Case, kind: str, threads: int, rows: list[Row]) -> Row:
    """One line a block: our time against the usual form, the best peer and the floors."""
    ours = next(r for r in rows if r["backend"] == OURS)
    eager = next((r for r in rows if r["backend"] == EAGER.name), {})
    peers = [r for r in rows if r["role"] == "peer" and r.get("median_ms") is not None]
    best = min(peers, key=lambda r: float(r["median_ms"]), default=None)
    floors = [r for r in rows if r["role"] == "floor" and r["backend"].startswith("floor") and r.get("min_ms")]
    # A floor is the best that was seen: its minimum, against our median.
    floor = max(floors, key=lambda r: float(r["min_ms"]), default=None)
    stated = (case.floor_ms or {}).get(threads)
    return {
        "id": f"uncertainty/{case.name}/{kind}/{threads}t",
        "case": case.name,
        "input": kind,
        "threads": threads,
        "error": ours["error"],
        "ours_ms": ours.get("median_ms"),
        "ours_min_ms": ours.get("min_ms"),
        "eager_ratio": eager.get("median_ratio"),
        "eager_min_ratio": eager.get("min_ratio"),
        "best_peer": best["backend"] if best else None,
        "best_ratio": best["median_ratio"] if best else None,
        "best_min_ratio": best["min_ratio"] if best else None,
        "stated_floor_ms": stated,
        "over_stated_floor": ratio(ours.get("median_ms"), stated),
        "min_over_stated_floor": ratio(ours.get("min_ms"), stated),
        "measured_floor_ms": floor["min_ms"] if floor else None,
        "over_measured_floor": ratio(ours.get("median_ms"), floor["min_ms"]) if floor else None,
    }


ROW_COLUMNS = [
    *[("backend", "backend"), ("median_ms", "median ms"), ("iqr_ms", "IQR"), ("min_ms", "min ms"), ("reps", "reps")],
    *[("mpix_s", "Mpix/s"), ("median_ratio", "x alseg"), ("min_ratio", "x (minima)"), ("setup_s", "set-up s")],
]
SUMMARY_COLUMNS = [
    *[("case", "case"), ("input", "input"), ("threads", "thr"), ("ours_ms", "alseg ms"), ("ours_min_ms", "min")],
    *[("eager_ratio", "eager x"), ("best_ratio", "best x"), ("best_peer", "best peer")],
    *[("stated_floor_ms", "stated floor ms"), ("over_stated_floor", "alseg/stated")],
    ("min_over_stated_floor", "min/stated"),
    *[("measured_floor_ms", "measured floor ms"), ("over_measured_floor", "alseg/measured")],
]
NOTES = (
    "Smooth: smooth random fields with confident interiors; noise: independent normal values times 3 (fewer peers).",
    "Peers give p1 - p2, alseg 1 - (p1 - p2). Logits and outputs are warm in the cache; peers marked 'kept' and "
    "alseg write into the same memory at every call, the others allocate as their users' code does.",
    "Stated floor: a throw-away AVX-512 probe on another day's machine of this kind. Measured floor: the larger of "
    "writing 9 bytes a pixel and of 7 multiply-adds a class and pixel at matrix-product speed, the fastest repetition "
    "in this run.",
    "x alseg: time divided by alseg's; below 1 the peer is faster.",
)


def list_goals(summaries: list[Row]) -> list[dict[str, Any]]:
    """The goals on smooth logits, met or not."""
    goals = []
    for row in (r for r in summaries if r["input"] == "smooth"):
        where = f"{row['case']}, {row['threads']} thr"
        goals.append(goal(f"torch eager / alseg, {where}", row["eager_ratio"], 50, at_least=True))
        if row["case"].startswith("C19-"):
            goals.append(goal(f"best peer / alseg, {where}", row["best_ratio"], 7, at_least=True))
        if row["stated_floor_ms"] is not None:
            # The stated floors are minima, so they are held against minima.
            goals.append(goal(f"min / stated floor, {where}", row["min_over_stated_floor"], 1.5, at_least=False))
    return goals
