"""`alseg bench gmm`: the threshold of activation maps, beside scikit-learn's mixtures and NumPy."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

import alseg_fast as alseg

from . import machine
from .gmm_cases import (
    BIN,
    KINDS,
    N_VALUES,
    NUMPY_PEERS,
    OURS,
    QUICK_VALUES,
    READ,
    RELEASED,
    RELEASED_PEER,
    SKLEARN,
    SKLEARN_PEER,
    Kind,
    Values,
    check,
    find_truth,
    our_call,
)
from .rivals import OURS as OUR_ROLE
from .rivals import PART, PEER, Rival, add_ratios, find_ratio, time_rivals
from .tables import Result, Row, finish_result, format_table, goal, make_table
from .timing import Quiet, error_text

__all__ = ["format_table", "run"]

log = logging.getLogger("alseg")

TIMES = 50.0  # goal: how many times our time scikit-learn must take
_STEP = (2, 20, 28, 28)  # maps of a training step
_RELEASED_OURS = "alseg, as released"

ROW_COLUMNS = [
    *[("backend", "way"), ("median_ms", "median ms"), ("iqr_ms", "IQR"), ("min_ms", "min ms"), ("reps", "reps")],
    *[("low", "low"), ("high", "high"), ("tolerance", "tol"), ("median_ratio", "x alseg"), ("min_ratio", "x (minima)")],
]
STEP_COLUMNS = [("backend", "step"), ("median_ms", "median ms"), ("iqr_ms", "IQR"), ("min_ms", "min ms")]
NOTES = (
    "From float32 values in memory to the threshold. All values are above 0.05.",
    "scikit-learn starts by K-means and gets the loosest of the tolerances 1e-6, 1e-7 ... 1e-10 (column tol) at which "
    "its crossing is within 1e-3 of the one it has at 1e-12. Every way must be, or it is not timed.",
    "As released: three components from least, median and largest value with a variance of 1, tolerance 1e-3, at most "
    "100 iterations; ours reads the band from bins, so that it may differ by 1/256.",
    "x alseg: time divided by alseg's; below 1 the peer is faster.",
)


def _band(found: tuple[float, float]) -> dict[str, Any]:
    return {"low": found[0], "high": found[1]}


def _crossing_rivals(values: Values, threads: int) -> list[Rival]:
    truth, tolerance = find_truth(values, threads)

    def gate(found: tuple[float, float]) -> str | None:
        return check(found, truth)

    return [
        Rival(OURS, OUR_ROLE, lambda: our_call(values, threads), gate, _band),
        Rival(
            SKLEARN,
            PEER,
            lambda: SKLEARN_PEER.make(values, threads, tolerance=tolerance),
            gate,
            _band,
            columns={"tolerance": tolerance},
        ),
        *[
            Rival(peer.name, PEER, lambda peer=peer: peer.make(values, threads), gate, _band)  # type: ignore[misc]
            for peer in NUMPY_PEERS
        ],
        Rival(READ, PART, lambda: values.max),
    ]


def _released_rivals(values: Values, threads: int) -> list[Rival]:
    truth = RELEASED_PEER.make(values, threads)()

    def gate(found: tuple[float, float]) -> str | None:
        return check(found, truth, 1.5 * BIN)

    return [
        Rival(OURS, OUR_ROLE, lambda: our_call(values, threads, components=3), facts=_band),
        Rival(_RELEASED_OURS, OUR_ROLE, lambda: our_call(values, threads, components=3, **RELEASED), gate, facts=_band),
        Rival(RELEASED_PEER.name, PEER, lambda: RELEASED_PEER.make(values, threads), gate, _band),
    ]


def _step_rivals(kind: Kind, threads: int) -> list[Rival]:
    """What a training pays: remembering two images, and a fit of 200."""
    maps = kind.make(int(np.prod(_STEP))).reshape(_STEP)
    full = kind.make(200 * 784).reshape(200, 28, 28)

    def remember() -> Any:
        running = alseg.RunningThreshold(period=10**7, num_threads=threads)
        running.update(full)
        for _ in range(2**10):  # beyond the early fits
            running.update(maps[:1])
        return lambda: running.update(maps)

    def fit() -> Any:
        running = alseg.RunningThreshold(period=1, num_threads=threads)
        running.update(full)
        return lambda: running.update(maps)

    return [
        Rival("update, no fit", OUR_ROLE, remember),
        Rival("update with a fit of 200 images", OUR_ROLE, fit),
    ]


def run(
    quick: bool = False,
    threads: tuple[int, ...] = (1, 2),
    save_to: str | Path | None = None,
    *,
    n_values: int | None = None,
    kinds: tuple[Kind, ...] = KINDS,
    allocator: str = "default",
) -> Result:
    """Time every way whose threshold is right.

    Args:
        quick: few values and repetitions; the figures are rough.
        threads: numbers of threads, each a block of its own in which all ways take turns.
        save_to: directory for the JSON file; None writes none.
        n_values: other than the usual 141,000 (quick: 20,000).
        kinds: distributions other than the usual ones.
        allocator: "default" or "keep", see `machine.set_allocator`.
    Returns: see `tables`.
    """
    n = n_values or (QUICK_VALUES if quick else N_VALUES)
    facts = machine.describe_machine(threads, machine.set_allocator(allocator))
    quiet = Quiet(0.2, 1.0) if quick else Quiet()
    tables, goals, wrong = [], [], []

    def block(title: str, prefix: str, make: Any, ours: str, columns: list[tuple[str, str]]) -> list[Row]:
        log.info("bench gmm: %s", title)
        try:
            rivals = make()
        except ImportError as exc:  # scikit-learn decides what is right
            rows: list[Row] = [{"id": prefix, "backend": SKLEARN, "error": error_text(exc)}]
        else:
            rows, failed = time_rivals(prefix, rivals, quick, quiet)
            add_ratios(rows, ours, n)
            wrong.extend(failed)
        tables.append(make_table(title, columns, rows))
        return rows

    for count in threads:
        suffix = f"{count} thread{'s' if count > 1 else ''}"
        for kind in kinds:
            values = kind.make(n)
            title = f"{kind.name}, {n:,} values, {suffix}"
            rows = block(
                title,
                f"gmm/{kind.name}/{count}t",
                lambda values=values, count=count: _crossing_rivals(values, count),
                OURS,
                ROW_COLUMNS,
            )
            goals.append(goal(f"scikit-learn / alseg, {title}", find_ratio(rows, SKLEARN), TIMES, at_least=True))
        values = kinds[0].make(n)
        block(
            f"Three components, {n:,} values, {suffix}",
            f"gmm/three/{count}t",
            lambda values=values, count=count: _released_rivals(values, count),
            _RELEASED_OURS,
            ROW_COLUMNS,
        )
        block(
            f"A training step of {_STEP[0]} images, {suffix}",
            f"gmm/step/{count}t",
            lambda count=count: _step_rivals(kinds[0], count),
            "update, no fit",
            STEP_COLUMNS,
        )
    return finish_result(
        "gmm",
        quick=quick,
        facts=facts,
        method={"order": "contenders take turns", "quiet": str(quiet), "goal": f"{TIMES:g}x scikit-learn"},
        tables=tables,
        goals=goals,
        notes=NOTES,
        wrong=wrong,
        save_to=save_to,
    )
