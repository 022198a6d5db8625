"""`alseg bench uncertainty --device cuda`, also ``python -m alseg_fast.benches.uncertainty_cuda``: CUDA logits ->
measures at full resolution, beside torch eager, torch.compile and what the GPU can do at most.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import alseg_fast as alseg
from alseg_fast.errors import AlsegError, UsageError

from . import gpu, machine
from .cases import EAGER, MC, MC_EAGER, SEED, SINGLE, Peer, smooth_logits
from .contest import check_ours
from .parity import check_outputs, reference_outputs
from .tables import Result, Row, format_rows, format_table, make_table, save_result
from .timing import error_text
from .uncertainty import PARTS
from .uncertainty_cuda_report import (
    CASES,
    COPY,
    EXP,
    NOTES,
    ROW_COLUMNS,
    SUMMARY_COLUMNS,
    GpuCase,
    list_goals,
    summarise,
)
from .uncertainty_report import OURS, REDUCED

__all__ = ["format_table", "main", "run"]

log = logging.getLogger("alseg")

PEERS = {
    SINGLE.name: (
        Peer(EAGER.name, "cuda_torch:eager"),
        Peer("torch eager, tuned", "cuda_torch:eager_tuned"),
        Peer("torch.compile, whole", "cuda_torch:compiled"),
        Peer("torch.compile, whole, unrolled", "cuda_torch:compiled_unrolled"),
        Peer("torch interpolate + torch.compile", "cuda_torch:interpolate_then_compiled"),
    ),
    MC.name: (
        Peer(MC_EAGER.name, "cuda_torch:mc_eager"),
        Peer("torch.compile, batched", "cuda_torch:mc_compiled"),
        Peer("torch interpolate + torch.compile, streamed, kept", "cuda_torch:mc_streamed"),
    ),
}
CEILINGS = (Peer(COPY, "cuda_ceilings:copy_memory"), Peer(EXP, "cuda_ceilings:registers_exp"))


def _load(target: str) -> Callable[..., Any]:
    module, function = target.split(":")
    loaded: Callable[..., Any] = getattr(import_module(f".baselines.{module}", __package__), function)
    return loaded


def make_logits(case: GpuCase, device: Any) -> Any:
    """Another smooth field for every image, as a tensor of the case's dtype on the device."""
    import torch

    images = [smooth_logits(case.case, SEED + i) for i in range(case.n_images)]
    return torch.from_numpy(np.concatenate(images)).to(device=device, dtype=getattr(torch, case.dtype))


def our_calls(case: GpuCase, z: Any) -> dict[str, Callable[[], Any]]:
    """With maps, and reduced on the device."""
    form, size = case.form, case.case.high

    def maps() -> Any:
        return alseg.uncertainty(z, size, measures=form.measures, labels=form.labels, reduce=())

    def reduced() -> Any:
        return alseg.uncertainty(z, size, measures=form.measures, maps=False, class_stats=True)

    return {OURS: maps, REDUCED: reduced}


def _hold_contest(case: GpuCase, device: Any, quick: bool) -> tuple[list[Row], list[str]]:
    """All contenders and both ceilings of one case: rows, and what failed the gate."""
    from . import cuda_timing

    z = make_logits(case, device)
    expected = reference_outputs(z.float().cpu().numpy(), case.case.high)
    rows: dict[str, Row] = {}
    wrong: list[str] = []
    calls: dict[str, Callable[[], object]] = {}

    def enter(name: str, role: str, step: Callable[[Row], tuple[Callable[[], object], str | None]]) -> None:
        row: Row = {"id": f"uncertainty-cuda/{case.name}/{name}", "backend": name, "role": role, "error": None}
        rows[name] = row
        start = time.perf_counter()
        try:
            call, problem = step(row)
            row["setup_s"] = time.perf_counter() - start
            row["call_mib"] = cuda_timing.call_memory(call, device) if role != "ceiling" else None
        except Exception as exc:  # one that cannot run is a row with its reason
            row["error"] = error_text(exc)
            log.warning("bench: %s cannot run: %s", name, row["error"])
            return
        if problem is None:
            calls[name] = call
            return
        row["error"] = f"wrong result: {problem}"
        wrong.append(f"{row['id']}: {problem}")

    def peer(found: Peer) -> Callable[[Row], tuple[Callable[[], object], str | None]]:
        def step(row: Row) -> tuple[Callable[[], object], str | None]:
            call = _load(found.target)(z, case.case.high)
            return call, check_outputs(call(), expected)

        return step

    def ceiling(found: Peer) -> Callable[[Row], tuple[Callable[[], object], str | None]]:
        def step(row: Row) -> tuple[Callable[[], object], str | None]:
            call, row["amount"] = _load(found.target)(device)
            return call, None

        return step

    for name, call in our_calls(case, z).items():
        enter(name, "ours", lambda row, n=name, c=call: (c, check_ours(n, c(), expected)))  # type: ignore[misc]
    for found in PEERS[case.form.name]:
        enter(found.name, "peer", peer(found))
    for found in CEILINGS:
        enter(found.name, "ceiling", ceiling(found))
    for name, times in cuda_timing.time_in_turns(calls, device, quick=quick).items():
        if isinstance(times, str):
            rows[name]["error"] = times
        else:
            rows[name].update(times.milliseconds())
    return list(rows.values()), wrong


def run(
    quick: bool = False,
    save_to: str | Path | None = None,
    *,
    device: str = "cuda",
    part: str = "all",
    cases: Sequence[GpuCase] = CASES,
) -> Result:
    """Time every contender that gives right results, and the ceilings, on one GPU.

    Args:
        quick: few repetitions; the figures are rough.
        save_to: directory for the JSON file; None writes none.
        device: "cuda" or "cuda:NUMBER".
        part: "single" (one pass), "mc" (T passes of MC dropout) or "all".
    Returns: see `tables`.
    Raises:
        UsageError: there is no such part or GPU.
        BackendError: torch is not installed or sees no GPU.
    """
    if part not in PARTS:
        raise UsageError(f"bench uncertainty: part must be one of {', '.join(PARTS)}; got {part!r}.")
    gpu_device = gpu.require_gpu(device)
    facts = {**machine.describe_machine((), "torch's caching allocator"), **gpu.describe_gpu(gpu_device)}
    tables, summaries, wrong = [], [], []
    chosen = [case for case in cases if part in (case.form.name, "all")]
    for case in chosen:
        log.info("bench uncertainty: %s on %s", case.name, facts["gpu"])
        _load("cuda_torch:forget_compiled")()
        rows, failed = _hold_contest(case, gpu_device, quick)
        summaries.append(summarise(case, rows))
        tables.append(make_table(case.name, ROW_COLUMNS, rows))
        # A run that is cut short has shown what it had.
        log.info("%s\n%s", case.name, format_rows(tables[-1]["columns"], rows))
        wrong += failed
    facts["nvidia_smi_after"] = gpu.ask_nvidia_smi(gpu_device)
    result: Result = {
        "bench": "uncertainty",
        "device": "cuda",
        "quick": quick,
        "metadata": facts,
        "method": {"part": part, "seed": SEED, "order": "contenders take turns", "cache": "cold L2"},
        "parity": {"ok": not wrong, "failed": wrong},
        "tables": [*tables, make_table("Summary (ratios of medians)", SUMMARY_COLUMNS, summaries)],
        "goals": list_goals(chosen, summaries),
        "notes": list(NOTES),
    }
    if save_to is not None:
        result["saved_as"] = str(save_result(result, save_to))
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 1 (2 for wrong usage) with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m alseg_fast.benches.uncertainty_cuda", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repetitions; figures are rough")
    parser.add_argument("--device", default="cuda", help="cuda or cuda:NUMBER")
    parser.add_argument("--part", default="all", choices=PARTS, help="one pass, MC dropout, or both")
    parser.add_argument("--save-to", metavar="DIR", default=None, help="also write the result as JSON here")
    parser.add_argument("--json", action="store_true", help="machine-readable result on stdout")
    parsed = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        result = run(parsed.quick, parsed.save_to, device=parsed.device, part=parsed.part)
    except AlsegError as exc:
        sys.stderr.write(f"alseg: error: {exc}\n")
        return 2 if isinstance(exc, UsageError) else 1
    text = json.dumps(result, indent=1, sort_keys=True, allow_nan=False) if parsed.json else format_table(result)
    sys.stdout.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
