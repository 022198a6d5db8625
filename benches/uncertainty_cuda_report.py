"""Ceilings, ratios, summary lines and goals of `bench uncertainty --device cuda`."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from .cases import MC, SINGLE, Case, Form
from .tables import Row, goal, ratio
from .uncertainty_report import OURS, REDUCED

ITEM_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
_SHORT = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
COPY, EXP = "ceiling: copy memory", "ceiling: exponentials"


@dataclass(frozen=True)
class GpuCase:
    """`n_images` times a case, with logits of a dtype on the device."""

    form: Form
    case: Case
    n_images: int
    dtype: str

    @property
    def name(self) -> str:
        """E.g. N8-C19-64x128-1024x2048-bf16."""
        return f"N{self.n_images}-{self.case.name}-{_SHORT[self.dtype]}"

    def needed_bytes(self, maps: bool = True) -> int:
        """Logits read once, and outputs written once: 4 bytes a measure and pixel, 1 for the label."""
        logits = self.case.passes * self.case.n_classes * prod(self.case.low) * ITEM_BYTES[self.dtype]
        outputs = (4 * len(self.form.measures) + self.form.labels) * prod(self.case.high)
        return self.n_images * (logits + maps * outputs)

    @property
    def needed_exps(self) -> int:
        """One exponential a pass, class and pixel."""
        return self.n_images * self.case.passes * self.case.n_classes * prod(self.case.high)


def rate(row: Row | None) -> float | None:
    """What a ceiling's row moved or computed a second, by its median."""
    if row is None or row.get("median_ms") is None:
        return None
    return float(row["amount"] / (row["median_ms"] / 1e3))


def add_ceilings(case: GpuCase, rows: list[Row]) -> dict[str, float | None]:
    """Each contender's share of the tighter ceiling; returns what the ceilings are for this case."""
    found = {row["backend"]: row for row in rows}
    bandwidth, exps = rate(found.get(COPY)), rate(found.get(EXP))
    exps_ms = _milliseconds(case.needed_exps, exps)

    def tighter(maps: bool) -> float | None:
        bytes_ms = _milliseconds(case.needed_bytes(maps), bandwidth)
        # Without both there is no saying which is tighter.
        return None if bytes_ms is None or exps_ms is None else max(bytes_ms, exps_ms)

    for row in (r for r in rows if r["role"] != "ceiling"):
        row["share"] = ratio(tighter(row["backend"] != REDUCED), row.get("median_ms"))
    return {
        "bandwidth_tb_s": None if bandwidth is None else bandwidth / 1e12,
        "exp_t_s": None if exps is None else exps / 1e12,
        "bytes_ms": _milliseconds(case.needed_bytes(), bandwidth),
        "exps_ms": exps_ms,
        "ceiling_ms": tighter(True),
    }


def _milliseconds(amount: int, speed: float | None) -> float | None:
    return None if speed is None else amount / speed * 1e3


def add_ratios(rows: list[Row]) -> list[Row]:
    """Each contender's time over ours."""
    ours = next(row for row in rows if row["backend"] == OURS)
    for row in (r for r in rows if r["role"] != "ceiling"):
        for which in ("median", "min"):
            row[f"{which}_ratio"] = ratio(row.get(f"{which}_ms"), ours.get(f"{which}_ms"))
        row["wall_ratio"] = ratio(row.get("wall_ms"), ours.get("wall_ms"))
    return rows


def summarise(case: GpuCase, rows: list[Row]) -> Row:
    """One line a case: our time against torch eager, the best torch.compile and the tighter ceiling."""
    ceilings = add_ceilings(case, add_ratios(rows))
    ours = next(row for row in rows if row["backend"] == OURS)
    eager = next((row for row in rows if row["backend"] == case.form.usual), {})
    compiled = [r for r in rows if r["role"] == "peer" and "compile" in r["backend"] and r.get("median_ms") is not None]
    best = min(compiled, key=lambda row: float(row["median_ms"]), default=None)
    return {
        "id": f"uncertainty-cuda/{case.name}",
        "case": case.name,
        "error": ours["error"],
        "ours_ms": ours.get("median_ms"),
        "ours_min_ms": ours.get("min_ms"),
        "ours_wall_ms": ours.get("wall_ms"),
        "eager_ratio": eager.get("median_ratio"),
        "compile_ratio": best["median_ratio"] if best else None,
        "best_compile": best["backend"] if best else None,
        **ceilings,
        "share": ours.get("share"),
    }


ROW_COLUMNS = [
    *[("backend", "backend"), ("median_ms", "median ms"), ("iqr_ms", "IQR"), ("min_ms", "min ms"), ("reps", "reps")],
    *[("wall_ms", "wall ms"), ("call_mib", "MiB a call"), ("median_ratio", "x alseg"), ("min_ratio", "x (minima)")],
    *[("share", "share of ceiling"), ("setup_s", "set-up s")],
]
SUMMARY_COLUMNS = [
    *[("case", "case"), ("ours_ms", "alseg ms"), ("ours_min_ms", "min"), ("ours_wall_ms", "wall")],
    *[("eager_ratio", "eager x"), ("compile_ratio", "compile x"), ("best_compile", "best torch.compile")],
    *[("bandwidth_tb_s", "copy TB/s"), ("exp_t_s", "exp T/s"), ("bytes_ms", "bytes ms"), ("exps_ms", "exps ms")],
    ("share", "share of the tighter"),
]
NOTES = (
    "Median, IQR and min: between CUDA events, cold L2 cache, the host's sending of kernels hidden. Wall: from an idle "
    "GPU to the end of the call, as one caller sees it.",
    "Bytes ms: logits read once and outputs written once at the measured copy bandwidth. Exps ms: one exponential a "
    "pass, class and pixel at the measured rate of exp2 in registers. Share: the larger of the two over the median; "
    "a kernel that needs fewer exponentials can pass 1.",
    "Logits are smooth random fields of the stated dtype; peers turn them into float32 at low resolution, since their "
    "results in 16-bit arithmetic are wrong by more than the gate allows. Outputs are allocated at every call.",
    "MiB a call: device memory beyond what is held between calls, outputs included.",
)
_GOALS = ((SINGLE, 8, "bfloat16"),)  # what the goals are stated for


def list_goals(cases: list[GpuCase], summaries: list[Row]) -> list[dict[str, Any]]:
    """The goals, met or not."""
    goals = []
    for case, row in zip(cases, summaries, strict=True):
        if (case.form, case.n_images, case.dtype) not in _GOALS:
            continue
        goals.append(goal(f"torch eager / alseg, {case.name}", row["eager_ratio"], 10, at_least=True))
        goals.append(goal(f"best torch.compile / alseg, {case.name}", row["compile_ratio"], 3, at_least=True))
        goals.append(goal(f"share of the tighter ceiling, {case.name}", row["share"], 0.7, at_least=True))
    return goals


_STREET = Case(19, (64, 128), (1024, 2048))
_STREET_MC = Case(19, (64, 128), (1024, 2048), passes=8)
CASES = (
    GpuCase(SINGLE, _STREET, 8, "bfloat16"),
    GpuCase(SINGLE, _STREET, 8, "float16"),
    GpuCase(SINGLE, _STREET, 8, "float32"),
    GpuCase(SINGLE, _STREET, 1, "bfloat16"),
    GpuCase(MC, _STREET_MC, 1, "bfloat16"),
)
