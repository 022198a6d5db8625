"""Ratios, summary lines and goals of `bench uncertainty`."""

from __future__ import annotations

from typing import Any

from .cases import Case, Form
from .tables import Row, goal, ratio

OURS, FRESH, REDUCED = "alseg", "alseg, fresh outputs", "alseg, reductions only"
# Form -> how many times torch eager's time and the best peer's time must be ours, by the case's classes.
GOALS: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "single": ({"C21": 50, "C19": 50, "C2": 50}, {"C19": 7}),
    "mc": ({"C21": 60}, {"C21": 8, "C19": 12}),
}


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


def summarise(form: Form, case: Case, kind: str, threads: int, rows: list[Row]) -> Row:
    """One line a block: our time against the usual form, the best peer and the floors."""
    ours = next(r for r in rows if r["backend"] == OURS)
    eager = next((r for r in rows if r["backend"] == form.usual), {})
    peers = [r for r in rows if r["role"] == "peer" and r.get("median_ms") is not None]
    best = min(peers, key=lambda r: float(r["median_ms"]), default=None)
    floors = [r for r in rows if r["role"] == "floor" and r["backend"].startswith("floor") and r.get("min_ms")]
    # A floor is the best that was seen: its minimum, against our median.
    floor = max(floors, key=lambda r: float(r["min_ms"]), default=None)
    stated = (case.floor_ms or {}).get(threads)
    return {
        "id": f"uncertainty/{case.name}/{kind}/{threads}t",
        "form": form.name,
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
    *[
        ("call_mib", "MiB a call"),
        ("mpix_s", "Mpix/s"),
        ("median_ratio", "x alseg"),
        ("min_ratio", "x (minima)"),
        ("setup_s", "set-up s"),
    ],
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
    "MiB a call: by how much the process grows while a call runs, beyond what it keeps between calls.",
    "T8: eight passes -> entropy, expected entropy, mutual information, variance; torch eager there is the form "
    "batched over the passes.",
    "Stated floor: a throw-away AVX-512 probe on another day's machine of this kind. Measured floor: the larger of "
    "writing 9 bytes a pixel (T8: 16) and of 7 multiply-adds a class and pixel (T8: 9 a pass) at matrix-product speed, "
    "the fastest repetition in this run.",
    "x alseg: time divided by alseg's; below 1 the peer is faster.",
)


def list_goals(summaries: list[Row]) -> list[dict[str, Any]]:
    """The goals on smooth logits, met or not."""
    goals = []
    for row in (r for r in summaries if r["input"] == "smooth"):
        where = f"{row['case']}, {row['threads']} thr"
        usual, best = GOALS[row["form"]]
        classes = next(part for part in row["case"].split("-") if part.startswith("C"))
        if classes in usual:
            goals.append(goal(f"torch eager / alseg, {where}", row["eager_ratio"], usual[classes], at_least=True))
        if classes in best:
            goals.append(goal(f"best peer / alseg, {where}", row["best_ratio"], best[classes], at_least=True))
        if row["form"] == "single" and row["stated_floor_ms"] is not None:
            # The stated floors are minima, so they are held against minima.
            goals.append(goal(f"min / stated floor, {where}", row["min_over_stated_floor"], 1.5, at_least=False))
    return goals
