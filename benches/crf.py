"""`alseg bench crf`: the fully connected CRF, its speed, its memory and its accuracy, beside the strongest peers."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from alseg_fast.errors import UsageError

from . import crf_accuracy, machine
from .crf_cases import (
    BILATERAL,
    CASES,
    FRESH,
    GAUSSIAN,
    ITERATIONS,
    LATTICE,
    OURS,
    PYDENSECRF,
    PYDENSECRF_LATTICE,
    QUICK_CASES,
    REUSED,
    SIMPLECRF,
    WAYS,
    Case,
    Image,
    Probs,
    build_lattice,
    check_marginals,
    picture_probs,
)
from .crf_memory import call_in_process, save_inputs
from .pictures import Folder, find_pictures, get_picture
from .rivals import OURS as OUR_ROLE
from .rivals import PART, PEER, Rival, add_ratios, find_ratio, time_rivals
from .tables import Result, Row, finish_result, format_table, goal, make_table, ratio
from .timing import Quiet

__all__ = ["PARTS", "format_table", "run"]

log = logging.getLogger("alseg")

PARTS = ("speed", "accuracy", "all")
TIMES = {1: 4.0, 2: 7.0}  # goals: how many times our time pydensecrf must take, by threads
MEMORY = 0.5  # goal: our share of pydensecrf's memory

ROW_COLUMNS = [
    *[("backend", "way"), ("median_ms", "median ms"), ("iqr_ms", "IQR"), ("min_ms", "min ms"), ("reps", "reps")],
    *[("memory_mib", "MiB beyond inputs"), ("median_ratio", "x alseg"), ("min_ratio", "x (minima)")],
]
SUMMARY_COLUMNS = [
    *[("case", "case"), ("n_iter", "iterations"), ("threads", "thr"), ("ours_ms", "alseg ms"), ("ours_min_ms", "min")],
    *[("lattice_ms", "of it lattice"), ("peer_ratio", "pydensecrf x"), ("peer_min_ratio", "(minima)")],
    *[("kept_ratio", "pydensecrf / lattice kept"), ("memory_share", "memory / pydensecrf's")],
]
NOTES = (
    f"Gaussian: deviation {GAUSSIAN.sigma_xy:g} pixels, weight {GAUSSIAN.weight:g}; bilateral: {BILATERAL.sigma_xy:g} "
    f"pixels, {BILATERAL.sigma_rgb:g} grey levels, weight {BILATERAL.weight:g}; Potts. Times hold unaries from "
    "probabilities, lattice and iterations; 'lattice kept' holds no lattice, 'lattice alone' nothing else. alseg "
    "writes into the same memory at every call, 'fresh outputs' and all peers give a new array.",
    "pydensecrf and SimpleCRF have no setting for threads and use one. SimpleCRF gives labels alone.",
    "MiB beyond inputs: growth of a fresh process during its first call, the result included. "
    "x alseg: time divided by alseg's; below 1 the peer is faster.",
    "Exact: all pairs of pixels in float64, the same terms and normalisation; what differs is the lattice.",
)


def _rivals(image: Image, probs: Probs, n_iter: int, threads: int, problem: str | None) -> list[Rival]:
    """`problem`: what is wrong with our marginals, see `crf_accuracy.check_ours`."""

    def check(q: Any, role: str) -> str | None:
        return (problem if role == OUR_ROLE else None) or check_marginals(q, probs)

    def way(name: str, role: str) -> Rival:
        return Rival(name, role, lambda: WAYS[name](image, probs, n_iter, threads), lambda q: check(q, role))

    def peer_lattice() -> Callable[[], Any]:
        baseline: Any = import_module(".baselines.crf_pydensecrf", __package__)
        call: Callable[[], Any] = baseline.lattice(image, len(probs), GAUSSIAN, BILATERAL)
        return call

    return [
        *(way(name, OUR_ROLE) for name in (OURS, FRESH, REUSED)),
        Rival(LATTICE, PART, lambda: lambda: build_lattice(image, threads)),
        way(PYDENSECRF, PEER),
        Rival(PYDENSECRF_LATTICE, PART, peer_lattice),
        way(SIMPLECRF, PEER),
    ]


def _measure_memory(rows: list[Row], image: Image, probs: Probs, n_iter: int, threads: int) -> None:
    """Adds `memory_mib` to the rows that have a time and a result of their own: kept memory would not count."""
    with tempfile.TemporaryDirectory(prefix="alseg-bench-") as folder:
        save_inputs(Path(folder), image, probs)
        for row in rows:
            if row["backend"] not in (FRESH, PYDENSECRF, SIMPLECRF) or row["error"] is not None:
                continue
            found = call_in_process(row["backend"], Path(folder), n_iter, threads)
            row.update(memory_mib=found.get("memory_mib"), memory_error=found["error"])


def _summarise(case: Case, n_iter: int, threads: int, rows: list[Row]) -> Row:
    def value(name: str, key: str) -> float | None:
        return next((row.get(key) for row in rows if row["backend"] == name), None)

    return {
        "id": f"crf/{case.name}/{n_iter}it/{threads}t",
        "case": case.name,
        "n_iter": n_iter,
        "threads": threads,
        "error": rows[0]["error"],
        "ours_ms": rows[0].get("median_ms"),
        "ours_min_ms": rows[0].get("min_ms"),
        "lattice_ms": value(LATTICE, "median_ms"),
        "peer_ratio": find_ratio(rows, PYDENSECRF),
        "peer_min_ratio": find_ratio(rows, PYDENSECRF, "min_ratio"),
        "kept_ratio": ratio(value(PYDENSECRF, "median_ms"), value(REUSED, "median_ms")),
        "memory_share": ratio(value(FRESH, "memory_mib"), value(PYDENSECRF, "memory_mib")),
    }


def _speed_goals(summaries: Sequence[Row]) -> list[Row]:
    goals = []
    for row in summaries:
        where = f"{row['case']}, {row['n_iter']} iterations, {row['threads']} thr"
        if row["threads"] in TIMES:
            wanted = TIMES[row["threads"]]
            goals.append(goal(f"pydensecrf / alseg, {where}", row["peer_ratio"], wanted, at_least=True))
        goals.append(goal(f"memory, alseg / pydensecrf, {where}", row["memory_share"], MEMORY, at_least=False))
    return goals


def _measure_accuracy(folder: Folder | None, quick: bool) -> tuple[list[Row], list[Row]]:
    """Tables and goals."""
    tables, blocks = [], []
    for case in crf_accuracy.small_cases(folder, quick):
        log.info("bench crf: accuracy, %s", case.name)
        blocks.append(crf_accuracy.compare_with_exact(case))
        title = f"Accuracy, {case.name}, {crf_accuracy.N_ITER} iterations"
        tables.append(make_table(title, crf_accuracy.EXACT_COLUMNS, blocks[-1]))
    whole = crf_accuracy.compare_whole(folder, quick)
    title = f"Beside pydensecrf, {crf_accuracy.N_ITER} iterations"
    return [*tables, make_table(title, crf_accuracy.WHOLE_COLUMNS, whole)], crf_accuracy.list_goals(blocks)


def run(
    quick: bool = False,
    threads: tuple[int, ...] = (1, 2),
    save_to: str | Path | None = None,
    *,
    part: str = "all",
    data: str | Path | None = None,
    cases: Sequence[Case] | None = None,
    iterations: Sequence[int] = ITERATIONS,
    allocator: str = "default",
) -> Result:
    """Time every way, and measure how far its marginals are from the exact mean field.

    Args:
        quick: small pictures and few repetitions; the figures are rough.
        threads: numbers of threads, each a block of its own in which all ways take turns.
        save_to: directory for the JSON file; None writes none.
        part: "speed", "accuracy" or "all".
        data: folder of BSDS500; None takes the usual one if it is there, else drawn pictures.
        cases, iterations: sizes and numbers other than the usual ones.
        allocator: "default" or "keep", see `machine.set_allocator`.
    Returns: see `tables`.
    Raises: UsageError: there is no such part, or no BSDS500 in `data`.
    """
    if part not in PARTS:
        raise UsageError(f"bench crf: part must be one of {', '.join(PARTS)}; got {part!r}.")
    folder = find_pictures(data)
    facts = machine.describe_machine(threads, machine.set_allocator(allocator))
    quiet = Quiet(0.2, 1.0) if quick else Quiet()
    tables, summaries, goals, wrong, sources = [], [], [], [], []
    problem = crf_accuracy.check_ours(folder) if part != "accuracy" else None
    for case in (cases or (QUICK_CASES if quick else CASES)) if part != "accuracy" else ():
        image, source = get_picture(case.size, folder)
        sources.append(source)
        probs = picture_probs(image, case.n_classes)
        for n_iter, n in ((k, n) for k in iterations for n in threads):
            log.info("bench crf: %s, %d iterations, %d thread(s)", case.name, n_iter, n)
            prefix = f"crf/{case.name}/{n_iter}it/{n}t"
            rows, failed = time_rivals(prefix, _rivals(image, probs, n_iter, n, problem), quick, quiet)
            _measure_memory(rows, image, probs, n_iter, n)
            add_ratios(rows, OURS, case.size[0] * case.size[1])
            title = f"{case.name}, {n_iter} iterations, {n} thread{'s' if n > 1 else ''}"
            tables.append(make_table(title, ROW_COLUMNS, rows))
            summaries.append(_summarise(case, n_iter, n, rows))
            wrong += failed
    if summaries:
        tables.append(make_table("Summary (ratios of medians)", SUMMARY_COLUMNS, summaries))
        goals += _speed_goals(summaries)
    method = {"part": part}
    if part != "accuracy":
        method |= {
            "order": "contenders take turns",
            "quiet": str(quiet),
            "pictures": "; ".join(sources),
        }
    if part != "speed":
        found, accuracy_goals = _measure_accuracy(folder, quick)
        tables += found
        goals += accuracy_goals
    return finish_result(
        "crf",
        quick=quick,
        facts=facts,
        method=method,
        tables=tables,
        goals=goals,
        notes=NOTES,
        wrong=wrong,
        save_to=save_to,
    )
