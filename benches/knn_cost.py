"""What an exact search costs and has to look at, against the number of rows and on several kinds of data."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from .knn_cases import build_index, our_search
from .knn_data import FLAT, Data, Maker
from .tables import Row, goal
from .timing import Contender, Quiet, Spread, error_text, interleave

log = logging.getLogger("alseg")

_LN2 = float(np.log(2))
CLUSTERED_SHARE = 0.1  # goal: at most so many of the largest size's rows are visited
COLUMNS = [
    *[("data", "data"), ("rows", "rows"), ("median_ms", "ms a query"), ("min_ms", "min"), ("visited", "visited share")],
    *[
        ("full_scans", "full scans"),
        ("reranked", "reranked a query"),
        ("widened", "widened"),
        ("certified", "certified"),
    ],
    *[("one_stage", "certified at 8 k"), ("need_50", "m/k median"), ("need_90", "90 %"), ("need_99", "99 %")],
    ("need_max", "max"),
]


def needed_candidates(data: Data, kth: Any) -> Any:
    """[Q] how many rows have ln 2 * h2 below the k-th distance: what a search by h2 alone must look at."""
    roots = np.sqrt(data.joined("queries"))
    counts = np.zeros(len(roots), np.int64)
    for first in range(0, len(data.rows), 65536):
        h2 = 1 - roots @ np.sqrt(data.rows[first : first + 65536] / np.float32(data.channels)).T
        counts += (_LN2 * h2 < kth[:, None]).sum(axis=1)
    return counts


def measure_size(data: Data, k: int, threads: int, device: str, quick: bool, quiet: Quiet) -> Row:
    """One row of the table."""
    row: Row = {
        "id": f"knn/cost/{data.name}/{len(data.rows)}",
        "data": data.name,
        "rows": len(data.rows),
        "error": None,
    }
    try:
        index = build_index(data, device=device)
        result = our_search(index, data.queries, k, threads)
        summary = result.stats.summary()
        counts = needed_candidates(data, result.distances[:, -1]) / k
        row |= {
            "visited": summary["visited_share"],
            "full_scans": summary["full_scans"],
            "reranked": summary["reranked_per_query"],
            "widened": summary["widened"],
            "certified": summary["certified_share"],
            "one_stage": float(index.search(data.queries, k=k, exact=False, num_threads=threads).certified.mean()),
        }
        row |= {f"need_{p}": float(np.percentile(counts, p)) for p in (50, 90, 99)} | {"need_max": float(counts.max())}
        scale = 1 / len(data.queries)
        call = Contender("search", lambda: our_search(index, data.queries, k, threads), scale)
        timed = interleave([call], quiet=quiet, fewest=3, most=10, budget_seconds=0.5 if quick else 4.0)["search"]
        row |= timed.milliseconds() if isinstance(timed, Spread) else {"error": timed}
    except Exception as exc:  # data that cannot be made or searched is a row with its reason
        row["error"] = error_text(exc)
        log.warning("bench: %s cannot run: %s", row["id"], row["error"])
    return row


def measure_cost(
    maker: Maker,
    kinds: Sequence[str],
    sizes: Sequence[int],
    n_queries: int,
    k: int,
    threads: int,
    device: str,
    quick: bool,
    quiet: Quiet,
) -> list[Row]:
    """A row of every kind of data and size; a smaller size is the beginning of the largest."""
    rows = []
    for kind in kinds:
        try:
            largest = maker.make(kind, max(sizes), n_queries)
        except ImportError as exc:  # Numba is an extra
            rows.append({"id": f"knn/cost/{kind}", "data": kind, "error": error_text(exc)})
            continue
        for size in sizes:
            log.info("bench knn: cost, %s, %d rows", kind, size)
            data = Data(kind, largest.channels, largest.rows[:size], largest.queries)
            rows.append(measure_size(data, k, threads, device, quick, quiet))
    return rows


def list_goals(rows: Sequence[Row], size: int) -> list[Row]:
    """Visited share of the largest size, of data that has clusters."""
    return [
        goal(f"visited share of {size:,} rows, {row['data']}", row.get("visited"), CLUSTERED_SHARE, at_least=False)
        for row in rows
        if row.get("rows") == size and row["data"] != FLAT
    ]
