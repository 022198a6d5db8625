"""`alseg bench uncertainty`: logits -> entropy, margin and arg-max at full resolution, beside the strongest peers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import alseg_fast as alseg
from alseg_fast.types import Uncertainty

from . import machine
from .parity import Expected, check_outputs, reference_outputs
from .tables import Result, Row, format_table, goal, make_table, ratio, save_result
from .timing import Contender, Quiet, Spread, error_text, interleave

__all__ = ["CASES", "PEERS", "Case", "Peer", "format_table", "run"]

log = logging.getLogger("alseg")

_MEASURES = ("entropy", "margin")
_SEED = 20240607


@dataclass(frozen=True)
class Case:
    """Logits [1, n_classes, *low] -> maps of `high`. floor_ms: threads -> the stated floor, where there is one."""

    n_classes: int
    low: tuple[int, int]
    high: tuple[int, int]
    floor_ms: dict[int, float] | None = None

    @property
    def name(self) -> str:
        """E.g. C21-32x32-512x512."""
        return f"C{self.n_classes}-{self.low[0]}x{self.low[1]}-{self.high[0]}x{self.high[1]}"


# The floors are those of a throw-away AVX-512 probe, stated for another day's machine of this kind.
CASES = (
    Case(21, (32, 32), (512, 512), {1: 0.94, 2: 0.51}),
    Case(19, (64, 128), (1024, 2048), {1: 7.1, 2: 3.7}),
    Case(2, (28, 28), (224, 224), {1: 0.06, 2: 0.04}),
)


@dataclass(frozen=True)
class Peer:
    """A baseline by where its function lives; heavy libraries load when it is used.

    in_noise: also timed on noise, where most peers cost the same as on smooth logits.
    """

    name: str
    target: str  # "module:function" in baselines/
    in_noise: bool = False


EAGER = Peer("torch eager", "torch_eager:naive", in_noise=True)
PEERS = (
    EAGER,
    Peer("torch eager, tuned", "torch_eager:tuned"),
    Peer("torch eager, planes, kept memory", "torch_eager:planes"),
    Peer("torch.compile, whole", "torch_compiled:whole"),
    Peer("torch.compile, whole, unrolled", "torch_compiled:whole_unrolled"),
    Peer("torch interpolate + torch.compile", "torch_compiled:interpolate_then_compiled"),
    Peer("torch interpolate + torch.compile, kept outputs", "torch_compiled:interpolate_then_compiled_out", in_noise=True),
    Peer("onnxruntime graph, rewritten", "onnx_graph:rewritten"),
    Peer("NumPy + cv2.resize", "numpy_cv2:planes"),
)
FLOORS = (
    Peer("floor: write the outputs", "floors:write_outputs"),
    Peer("floor: multiply-adds", "floors:multiply_add"),
    Peer("yardstick: exponentials of torch", "floors:library_exp"),
)
OURS, FRESH, REDUCED = "alseg", "alseg, fresh outputs", "alseg, reductions only"

Make = Callable[[NDArray[np.float32], tuple[int, int]], Any]


def smooth_logits(case: Case, seed: int) -> NDArray[np.float32]:
    """Smooth random fields: one class leads by several nats inside its region, regions meet in narrow bands."""
    rng = np.random.default_rng(seed)
    h, w = case.low
    noise = rng.standard_normal((case.n_classes, h, w))
    fy, fx = np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None, :]
    field = np.fft.ifft2(np.fft.fft2(noise) * np.exp(-(fy**2 + fx**2) * (2 * np.pi * 3.0) ** 2 / 2)).real
    field *= 4.0 / field.std()
    return (field + 0.1 * rng.standard_normal(field.shape)).astype(np.float32)[None]


def noise_logits(case: Case, seed: int) -> NDArray[np.float32]:
    """Independent normal values times 3."""
    rng = np.random.default_rng(seed)
    return (3.0 * rng.standard_normal((1, case.n_classes, *case.low))).astype(np.float32)


INPUTS = {"smooth": smooth_logits, "noise": noise_logits}


def _load(peer: Peer) -> tuple[Make, Callable[[int], None]]:
    module, function = peer.target.split(":")
    loaded = import_module(f".baselines.{module}", __package__)
    make: Make = getattr(loaded, function)
    return make, loaded.set_threads


def _ours(
    logits: NDArray[np.float32], size: tuple[int, int], threads: int
) -> dict[str, Callable[[], Uncertainty]]:
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
    logits = INPUTS[kind](case, _SEED)
    log.info("bench uncertainty: %s, %s logits, %d thread(s)", case.name, kind, threads)
    rows: dict[str, Row] = {}
    wrong: list[str] = []
    contenders: list[Contender] = []

    def enter(name: str, role: str) -> Row:
        rows[name] = {
            "id": f"uncertainty/{case.name}/{kind}/{threads}t/{name}", "backend": name, "role": role,
            "case": case.name, "input": kind, "threads": threads, "error": None,
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
            problem = check_outputs(*call(), expected)
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
    return _with_ratios(case, list(rows.values())), wrong


def _floor_call(made: tuple[Callable[[], object], float]) -> tuple[Callable[[], object], str | None, float]:
    call, scale = made
    return call, None, scale


def _with_ratios(case: Case, rows: list[Row]) -> list[Row]:
    ours = next(r for r in rows if r["backend"] == OURS)
    pixels = case.high[0] * case.high[1]
    for row in rows:
        for which in ("median", "min"):
            row[f"{which}_ratio"] = ratio(row.get(f"{which}_ms"), ours.get(f"{which}_ms"))
        median = row.get("median_ms")
        row["mpix_s"] = None if median is None or row["role"] == "floor" else pixels / median / 1e3
    return rows


def _summary(case: Case, kind: str, threads: int, rows: list[Row]) -> Row:
    """One line a block: our time against the usual form, the best peer and the floors."""
    ours = next(r for r in rows if r["backend"] == OURS)
    eager = next((r for r in rows if r["backend"] == EAGER.name), {})
    peers = [r for r in rows if r["role"] == "peer" and r.get("median_ms") is not None]
    best = min(peers, key=lambda r: float(r["median_ms"]), default=None)
    floors = [r for r in rows if r["role"] == "floor" and r["backend"].startswith("floor") and r.get("median_ms")]
    floor = max(floors, key=lambda r: float(r["median_ms"]), default=None)
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
        "measured_floor_ms": floor["median_ms"] if floor else None,
        "over_measured_floor": ratio(ours.get("median_ms"), floor["median_ms"]) if floor else None,
    }


_ROW_COLUMNS = [
    *[("backend", "backend"), ("median_ms", "median ms"), ("iqr_ms", "IQR"), ("min_ms", "min ms"), ("reps", "reps")],
    *[("mpix_s", "Mpix/s"), ("median_ratio", "x alseg"), ("min_ratio", "x (minima)"), ("setup_s", "set-up s")],
]
_SUMMARY_COLUMNS = [
    *[("case", "case"), ("input", "input"), ("threads", "thr"), ("ours_ms", "alseg ms"), ("ours_min_ms", "min")],
    *[("eager_ratio", "eager x"), ("best_ratio", "best x"), ("best_peer", "best peer")],
    *[("stated_floor_ms", "stated floor ms"), ("over_stated_floor", "alseg/stated")],
    *[("measured_floor_ms", "measured floor ms"), ("over_measured_floor", "alseg/measured")],
]
_NOTES = (
    "Smooth: smooth random fields with confident interiors; noise: independent normal values times 3 (fewer peers).",
    "Peers give p1 - p2, alseg 1 - (p1 - p2). Logits and outputs are warm in the cache; peers marked 'kept' and "
    "alseg write into the same memory at every call, the others allocate as their users' code does.",
    "Stated floor: a throw-away AVX-512 probe on another day's machine of this kind. Measured floor: the larger of "
    "writing 9 bytes a pixel and of 7 multiply-adds a class and pixel at matrix-product speed, in this run.",
    "x alseg: time divided by alseg's; below 1 the peer is faster.",
)


def _goals(summaries: list[Row]) -> list[dict[str, Any]]:
    goals = []
    for row in (r for r in summaries if r["input"] == "smooth"):
        where = f"{row['case']}, {row['threads']} thr"
        goals.append(goal(f"torch eager / alseg, {where}", row["eager_ratio"], 50, at_least=True))
        if row["case"].startswith("C19-"):
            goals.append(goal(f"best peer / alseg, {where}", row["best_ratio"], 7, at_least=True))
        if row["stated_floor_ms"] is not None:
            goals.append(goal(f"alseg / stated floor, {where}", row["over_stated_floor"], 1.5, at_least=False))
    return goals


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
            expected = reference_outputs(make(case, _SEED), case.high)
            chosen = peers if kind == "smooth" else [p for p in peers if p.in_noise]
            for n in threads:
                quiet = Quiet(0.2, 1.0) if quick else Quiet()
                rows, failed = _block(case, kind, n, chosen, expected, quick, quiet)
                title = f"{case.name}, {kind} logits, {n} thread{'s' if n > 1 else ''}"
                tables.append(make_table(title, _ROW_COLUMNS, rows))
                summaries.append(_summary(case, kind, n, rows))
                wrong += failed
                looks, disturbed = looks + quiet.looks, disturbed + quiet.disturbed
    result: Result = {
        "bench": "uncertainty",
        "quick": quick,
        "metadata": facts,
        "method": {
            "seed": _SEED,
            "order": "contenders take turns",
            "quiet": f"{looks - disturbed} of {looks} repetitions began in a quiet moment",
            "cache": "warm",
        },
        "parity": {"ok": not wrong, "failed": wrong},
        "tables": [*tables, make_table("Summary (ratios of medians)", _SUMMARY_COLUMNS, summaries)],
        "goals": _goals(summaries),
        "notes": list(_NOTES),
    }
    if save_to is not None:
        result["saved_as"] = str(save_result(result, save_to))
    return result
