"""One case of `bench uncertainty` on the CPU: every contender goes through the gate, then under the clock in turns."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

import alseg_fast as alseg
from alseg_fast.types import Uncertainty

from . import machine
from .cases import FLOORS, INPUTS, SEED, Case, Form, Peer
from .parity import GAP, LABELS, Expected, check_means, check_outputs
from .tables import Row
from .timing import Contender, Quiet, Spread, error_text, interleave
from .uncertainty_report import FRESH, OURS, REDUCED

log = logging.getLogger("alseg")

Make = Callable[[NDArray[np.float32], tuple[int, int]], Any]


def load(peer: Peer) -> tuple[Make, Callable[[int], None]]:
    """`make` and `set_threads` of a baseline."""
    module, function = peer.target.split(":")
    loaded = import_module(f".baselines.{module}", __package__)
    make: Make = getattr(loaded, function)
    return make, loaded.set_threads


def our_calls(
    form: Form, logits: NDArray[np.float32], size: tuple[int, int], threads: int
) -> dict[str, Callable[[], Uncertainty]]:
    """Into kept memory, into fresh memory, and without maps."""

    def call(out: Uncertainty | None, maps: bool) -> Uncertainty:
        reductions: dict[str, Any] = {"reduce": ()} if maps else {"class_stats": True}
        result: Uncertainty = alseg.uncertainty(
            logits,
            size,
            measures=form.measures,
            maps=maps,
            labels=maps and form.labels,
            num_threads=threads,
            out=out,
            **reductions,
        )
        return result

    kept, sums = call(None, True), call(None, False)
    return {OURS: lambda: call(kept, True), FRESH: lambda: call(None, True), REDUCED: lambda: call(sums, False)}


def check_ours(name: str, u: Uncertainty, expected: Expected) -> str | None:
    """None, or what is wrong."""
    return check_means(u.scores, expected) if name == REDUCED else check_outputs(named_outputs(u), expected)


def named_outputs(u: Uncertainty) -> dict[str, Any]:
    """Our maps under the names of the gate."""
    outputs = {name: values for name, values in u.maps.items() if name != "margin"}
    if "margin" in u.maps:
        outputs[GAP] = 1 - u.maps["margin"]
    if u.labels is not None:
        outputs[LABELS] = u.labels
    return outputs


def hold_contest(
    form: Form,
    case: Case,
    kind: str,
    threads: int,
    peers: Sequence[Peer],
    expected: Expected,
    quick: bool,
    quiet: Quiet,
) -> tuple[list[Row], list[str]]:
    """All contenders of one case, input and number of threads: rows, and what failed the gate."""
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

    def admit(name: str, call: Callable[[], object], problem: str | None) -> None:
        if problem is None:
            rows[name]["call_mib"] = machine.call_memory(call)
            contenders.append(Contender(name, call))
            return
        rows[name]["error"] = f"wrong result: {problem}"
        wrong.append(f"{rows[name]['id']}: {problem}")

    for name, call in our_calls(form, logits, case.high, threads).items():
        enter(name, "ours")
        admit(name, call, check_ours(name, call(), expected))
    for peer in peers:
        row = enter(peer.name, "peer")
        row["error"] = peer.left_out(case)
        if row["error"] is not None:
            continue
        start = time.perf_counter()
        try:
            make, set_threads = load(peer)
            set_threads(threads)
            call = make(logits, case.high)
            problem = check_outputs(call(), expected, peer.gives)
            row["setup_s"] = time.perf_counter() - start
            admit(peer.name, call, problem)
        except Exception as exc:  # a peer that cannot run is a row with its reason
            row["error"] = error_text(exc)
            log.warning("bench: %s cannot run: %s", peer.name, row["error"])
    for floor in FLOORS if kind == "smooth" else ():
        row = enter(floor.name, "floor")
        try:
            make, set_threads = load(floor)
            set_threads(threads)
            contenders.append(Contender(floor.name, *make(logits, case.high)))
        except Exception as exc:
            row["error"] = error_text(exc)
    few = (3, 3, 0.5) if quick else (5, 30, 8.0)
    timed = interleave(contenders, quiet=quiet, fewest=few[0], most=few[1], budget_seconds=few[2])
    for name, result in timed.items():
        if isinstance(result, Spread):
            rows[name].update(result.milliseconds())
        else:
            rows[name]["error"] = result
    return list(rows.values()), wrong
