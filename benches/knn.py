"""`alseg bench knn`: nearest histograms under the Jensen-Shannon divergence, beside the strongest peers."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alseg_fast.errors import UsageError
from alseg_fast.kernels.js_knn import js_knn

from . import knn_cost, knn_memory, machine
from .knn_cases import (
    GPU,
    GRAPHS,
    LOG,
    NATIVE,
    POLYNOMIAL,
    SCANS,
    SCIPY,
    SIMSIMD,
    K,
    find_truth,
    our_rivals,
    peer_rivals,
)
from .knn_data import CLUSTERED, FLAT, JOINT, REAL, Data, Maker
from .rivals import add_ratios, find_ratio, time_rivals
from .tables import Result, Row, finish_result, format_table, goal, make_table
from .timing import Quiet, error_text

__all__ = ["PARTS", "format_table", "run"]

log = logging.getLogger("alseg")

PARTS = ("exact", "graphs", "cost", "build", "all")
GOALS = ((SIMSIMD, 15.0), (POLYNOMIAL, 6.0), (LOG, 100.0), (SCIPY, 200.0))  # times our time
BUILD_SECONDS, RESIDENT_SHARE = 60.0, {"float32": 1.5, "float16": 0.75}

ROW_COLUMNS = [
    *[("backend", "way"), ("queries", "queries"), ("median_ms", "ms a query"), ("iqr_ms", "IQR"), ("min_ms", "min")],
    *[("reps", "reps"), ("recall", "recall"), ("certified", "certified"), ("visited", "visited share")],
    *[
        ("reranked", "reranked a query"),
        ("setup_s", "set-up s"),
        ("median_ratio", "x alseg"),
        ("min_ratio", "x (minima)"),
    ],
]
NOTES = (
    "All ways on the same rows and queries; scans that take seconds get fewer of the queries, in the column 'queries', "
    "and their time is divided by that number. A scan's time is proportional to it.",
    "recall: share of the true k nearest, which come from the divergence of every row in float64. Ours must have 1 and "
    "be certified, or it is not timed.",
    "SimSIMD, NumKong and FAISS's metric get a small number in every bin, without which they compare zeros wrongly.",
    "set-up: until the first result, with compiling, building a graph and the first search. Indexes of alseg are built "
    "before; their building is the part 'build'.",
    "m/k: rows with ln 2 * h2 below the k-th distance, over k: what a search by Hellinger distance has to look at.",
)


def _sizes(quick: bool) -> dict[str, Any]:
    if quick:
        return {"exact": (20_000, 64), "graphs": (5_000, 64), "cost": ((2_000, 10_000), 32), "build": 20_000}
    return {"exact": (1_000_000, 1000), "graphs": (100_000, 1000), "cost": ((10_000, 100_000, 1_000_000), 200)} | {
        "build": 1_000_000
    }


def _measure_ways(
    part: str, data: Data, k: int, threads: int, n_truth: int, device: str, quick: bool, quiet: Quiet
) -> tuple[list[Row], list[str]]:
    truth = find_truth(data, k, n_truth, threads)
    rivals = our_rivals(data, k, threads, truth, device)
    rivals += peer_rivals(data, k, threads, truth, SCANS if part == "exact" else GRAPHS)
    rows, wrong = time_rivals(f"knn/{part}/{len(data.rows)}/{threads}t", rivals, quick, quiet)
    return add_ratios(rows, NATIVE if device == "cpu" else GPU, 1), wrong


def _speed_goals(rows: Sequence[Row], ours: str, where: str) -> list[Row]:
    found = [
        goal(f"{name} / alseg, {where}", find_ratio(list(rows), name), times, at_least=True) for name, times in GOALS
    ]
    own = next(row for row in rows if row["backend"] == ours)
    return [*found, goal(f"recall of alseg, {where}", own.get("recall"), 1.0, at_least=True)]


def _measure_build(maker: Maker, n: int) -> tuple[list[Row], list[Row]]:
    """Rows and goals."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="alseg-bench-") as temporary:
        file = Path(temporary) / "rows.npy"
        np.save(file, maker.make(REAL, n, 1).rows)
        for dtype in RESIDENT_SHARE:
            log.info("bench knn: build, %s", dtype)
            rows.append(knn_memory.measure_in_process(file, 3, dtype, Path(temporary) / dtype))
    goals = [goal(f"seconds to build, {n:,} rows", rows[0].get("build_s"), BUILD_SECONDS, at_least=False)]
    goals += [
        goal(f"resident / float32 embedding, {row['dtype']}", row.get("resident_share"), share, at_least=False)
        for row, share in zip(rows, RESIDENT_SHARE.values(), strict=True)
    ]
    return rows, goals


def run(
    quick: bool = False,
    threads: tuple[int, ...] = (1, 2),
    save_to: str | Path | None = None,
    *,
    part: str = "all",
    data: str | Path | None = None,
    device: str = "cpu",
    k: int = K,
    sizes: dict[str, Any] | None = None,
    truths: int | None = None,
    allocator: str = "default",
) -> Result:
    """Time exact searches, and measure what they have to look at.

    Args:
        quick: few rows, queries and repetitions; the figures are rough.
        threads: the largest of them is what all ways get.
        save_to: directory for the JSON file; None writes none.
        part: "exact" (against scans), "graphs" (against approximate indexes, whose building takes minutes), "cost"
            (against the number of rows), "build" (time, memory and files) or "all".
        data: folder of pictures whose crops are searched, see `knn_data`; None takes the usual one if it is there.
        device: "cpu", or "cuda" for FAISS's GPU build.
        k: neighbours a query.
        sizes: rows and queries of each part other than the usual ones, as `_sizes` gives them.
        truths: how many queries are answered by comparing every row in float64, for the recall; None: 200.
        allocator: "default" or "keep", see `machine.set_allocator`.
    Returns: see `tables`.
    Raises: UsageError: there is no such part, or no pictures in `data`. BackendError: no GPU can be used.
    """
    if part not in PARTS:
        raise UsageError(f"bench knn: part must be one of {', '.join(PARTS)}; got {part!r}.")
    if device != "cpu":
        js_knn.resolve("cuda")
    wanted = [p for p in PARTS[:-1] if part in (p, "all") and (device == "cpu" or p != "build")]
    n_threads, sizes = max(threads), {**_sizes(quick), **(sizes or {})}
    maker = Maker(data, n_threads)
    facts = machine.describe_machine(threads, machine.set_allocator(allocator))
    quiet = Quiet(0.2, 1.0) if quick else Quiet()
    tables, goals, wrong = [], [], []
    for name in ("exact", "graphs"):
        if name not in wanted:
            continue
        n, n_queries = sizes[name]
        log.info("bench knn: %s, %d rows", name, n)
        where = f"{n:,} rows of {REAL}, k = {k}, {n_threads} threads"
        try:
            drawn = maker.make(REAL, n, n_queries)
            rows, failed = _measure_ways(name, drawn, k, n_threads, truths or 200, device, quick, quiet)
        except ImportError as exc:  # Numba is an extra
            tables.append(
                make_table(where, ROW_COLUMNS, [{"id": f"knn/{name}", "backend": name, "error": error_text(exc)}])
            )
            continue
        tables.append(make_table(where, ROW_COLUMNS, rows))
        wrong += failed
        if name == "exact" and device == "cpu":
            goals += _speed_goals(rows, NATIVE, where)
    if "cost" in wanted:
        counts, n_queries = sizes["cost"]
        kinds = (REAL, JOINT, CLUSTERED, FLAT)
        rows = knn_cost.measure_cost(maker, kinds, counts, n_queries, k, n_threads, device, quick, quiet)
        tables.append(make_table(f"Cost, k = {k}, {n_queries} queries, {n_threads} threads", knn_cost.COLUMNS, rows))
        goals += knn_cost.list_goals(rows, max(counts)) if device == "cpu" else []
    if "build" in wanted:
        rows, build_goals = _measure_build(maker, sizes["build"])
        tables.append(make_table(f"Index of {sizes['build']:,} rows of {REAL}", knn_memory.COLUMNS, rows))
        goals += build_goals
    return finish_result(
        "knn" if device == "cpu" else "knn-cuda",
        quick=quick,
        facts=facts,
        method={
            "part": part,
            "device": device,
            "data": maker.source,
            "order": "contenders take turns",
            "quiet": str(quiet),
        },
        tables=tables,
        goals=goals,
        notes=NOTES,
        wrong=wrong,
        save_to=save_to,
    )
