"""`alseg bench uncertainty`: logits -> entropy, margin and arg-max at full resolution, beside the strongest peers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import alseg_fast as alseg
from alseg_fast.types import Uncertainty

from . import machine
from .cases import CASES, FLOORS, INPUTS, PEERS, SEED, Case, Peer
from .parity import Expected, check_outputs, reference_outputs
from .tables import Result, Row, format_table, make_table, save_result
from .timing import Contender, Quiet, Spread, error_text, interleave
from .uncertainty_report import NOTES, OURS, ROW_COLUMNS, SUMMARY_COLUMNS, add_ratios, list_goals, summarise

__all__ = ["CASES", "PEERS", "Case", "Peer", "format_table", "run"]

log = logging.getLogger("alseg")

_MEASURES = ("entropy", "margin")


FRESH, REDUCED = "alseg, fresh outputs", "alseg, reductions only"

Make = Callable[[NDArray[np.float32], tuple[int, int]], Any]


def _load(peer: Peer) -> tuple[Make, Callable[[int], None]]:
    module, function = peer.target.split(":")
    loaded = import_module(f".baselines.{module}", __package__)
    make: Make = getattr(loaded, function)
    return make, loaded.set_threads


def _ours(logits: NDArray[np.float32], size: tuple[int, int], threads: int) -> dict[str, Callable[[], Uncertainty]]:
    kept: Uncertainty = alseg.uncertainty(logits, size, measures=_MEASURES, reduce=(), num_threads=threads)
    sums: Uncertainty = alseg.uncertainty(
        logits, size, measures=_MEASURES, maps=False, class_stats=True, num_threads=threads
    )

    def reuse() -> Uncertainty:
        result: Uncertainty = alseg.uncertainty(
            logits, size, measures=_MEASURES, reduce=(), num_threads=threads, out=kept
        )
        return result

    def fresh() -> Uncertainty:
        result: Uncertainty = alseg.uncertainty(logits, size, measures=_MEASURES, reduce=(), num_threads=threads)
        return result

    def reduced() -> Uncertainty:
        result: Uncertainty = alseg.uncertainty(
            logits, size, measures=_MEASURES, maps=False, class_stats=True, num_threads=threads, out=sums
        )
        return result

    return {OURS: reuse, FRESH: fresh, REDUCED: reduced}


def _check_ours(name: str, u: Uncertainty, expected: Expected) -> str | None:
    if name != REDUCED:
        assert u.labels is not None
        return check_outputs(u.maps["entropy"], 1 - u.maps["margin"], u.labels, expected)
    means = {"entropy": expected.entropy.mean(), "margin": 1 - expected.gap.mean()}
    for measure, mean in means.items():
        off = abs(float(u.scores[f"{measure}_mean"][0]) - float(mean))
        if not off <= 1e-5:
            return f"{measure}_mean is off by {off:.2e} from the float64 reference, 1e-05 allowed"
    return None


def _block(
    case: Case,
    kind: str,
    threads: int,
    peers: Sequence[Peer],
    expected: Expected,
    quick: bool,
    quiet: Quiet,
) -> tuple[list[Row], list[str]]:
    """All contenders of one case, input and number of threads: rows, and what failed the parity gate."""
    logits = INPUTS[kind](case, SEED)
    log.info("bench uncertainty: %s, %s logits, %d thread(s)", case.name, kind, threads)
    rows: dict[str, Row] = {}
    wrong: list[str] = []
    contenders: list[Contender] = []

    def enter(name: str, role: str) -> Row:
        rows[name] = {
            "id": f"uncertainty/{case.name}/{kind}/{threads}t/{name}",
            "backend": name,
            "role": role,
            "case": case.name,
            "input": kind,
            "threads": threads,
            "error": None,
        }
        return rows[name]

    def admit(name: str, call: Callable[[], object], problem: str | None, scale: float = 1.0) -> None:
        if problem is None:
            contenders.append(Contender(name, call, scale))
            return
        rows[name]["error"] = f"wrong result: {problem}"
        wrong.append(f"{rows[name]['id']}: {problem}")

    for name, reuse in _ours(logits, case.high, threads).items():
        enter(name, "ours")
        admit(name, reuse, _check_ours(name, reuse(), expected))
    for peer in (*peers, *(FLOORS if kind == "smooth" else ())):
        floor = peer in FLOORS
        row = enter(peer.name, "floor" if floor else "peer")
        start = time.perf_counter()
        try:
            make, set_threads = _load(peer)
            set_threads(threads)
            if floor:
                admit(peer.name, *_floor_call(make(logits, case.high)))
                continue
            call = make(logits, case.high)
            entropy, gap, labels = call()
            problem = check_outputs(entropy, gap, labels, expected)
        except Exception as exc:  # a peer that cannot run is a row with its reason
            row["error"] = error_text(exc)
            log.warning("bench: %s cannot run: %s", peer.name, row["error"])
            continue
        row["setup_s"] = time.perf_counter() - start
        admit(peer.name, call, problem)
    few = (3, 3, 0.5) if quick else (5, 30, 8.0)
    timed = interleave(contenders, quiet=quiet, fewest=few[0], most=few[1], budget_seconds=few[2])
    for name, result in timed.items():
        if isinstance(result, Spread):
            rows[name].update(result.milliseconds())
        else:
            rows[name]["error"] = result
    return add_ratios(case, list(rows.values())), wrong


def _floor_call(made: tuple[Callable[[], object], float]) -> tuple[Callable[[], object], str | None, float]:
    call, scale = made
    return call, None, scale


def run(
    quick: bool = False,
    threads: tuple[int, ...] = (1, 2),
    save_to: str | Path | None = None,
    *,
    cases: Sequence[Case] = CASES,
    peers: Sequence[Peer] = PEERS,
    allocator: str = "default",
) -> Result:
    """Time every contender that gives right results.

    Args:
        quick: few repetitions and little waiting for quiet; the figures are rough.
        threads: numbers of threads, each a block of its own in which all contenders take turns.
        save_to: directory for the JSON file; None writes none.
        allocator: "default" or "keep", see `machine.set_allocator`.
    Returns: see `tables`.
    """
    sentence = machine.set_allocator(allocator)
    facts = machine.describe_machine(threads, sentence)
    tables, summaries, wrong = [], [], []
    looks = disturbed = 0
    for case in cases:
        for kind, make in INPUTS.items():
            expected = reference_outputs(make(case, SEED), case.high)
            chosen = [p for p in peers if kind == "smooth" or p.in_noise]
            chosen = [p for p in chosen if p.most_classes is None or case.n_classes <= p.most_classes]
            for n in threads:
                quiet = Quiet(0.2, 1.0) if quick else Quiet()
                rows, failed = _block(case, kind, n, chosen, expected, quick, quiet)
                title = f"{case.name}, {kind} logits, {n} thread{'s' if n > 1 else ''}"
                tables.append(make_table(title, ROW_COLUMNS, rows))
                summaries.append(summarise(case, kind, n, rows))
                wrong += failed
                looks, disturbed = looks + quiet.looks, disturbed + quiet.disturbed
    result: Result = {
        "bench": "uncertainty",
        "quick": quick,
        "metadata": facts,
        "method": {
            "seed": SEED,
            "order": "contenders take turns",
            "quiet": f"{looks - disturbed} of {looks} repetitions began in a quiet moment",
            "cache": "warm",
        },
        "parity": {"ok": not wrong, "failed": wrong},
        "tables": [*tables, make_table("Summary (ratios of medians)", SUMMARY_COLUMNS, summaries)],
        "goals": list_goals(summaries),
        "notes": list(NOTES),
    }
    if save_to is not None:
        result["saved_as"] = str(save_result(result, save_to))
    return result
