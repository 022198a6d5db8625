"""The clock of a GPU: CUDA events, a cold L2 cache, contenders in turns.

Before each repetition a buffer larger than the L2 cache is written; that also keeps the GPU busy while the host sends
the call's kernels, so that the time between the events is the device's. Where a call waits for the GPU, its waiting is
part of the time. The wall time, from an idle GPU to the end of the call, is measured in repetitions of its own.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from .timing import Spread, error_text

log = logging.getLogger("alseg")

_FLUSH_BYTES = 256 << 20  # at least; four times the L2 cache where that is more
_MOST_FLUSHES = 200  # how often a slow host may be covered
_WARM_UP = 3
REPS, QUICK_REPS = 50, 5


@dataclass
class GpuTimes:
    """Seconds of one call: between CUDA events, and on the wall clock of the host."""

    device: Spread
    wall: Spread

    def milliseconds(self) -> dict[str, Any]:
        """Columns of a result row."""
        wall = self.wall.milliseconds()
        return {**self.device.milliseconds(), "wall_ms": wall["median_ms"], "wall_min_ms": wall["min_ms"]}


@dataclass
class _Runner:
    call: Callable[[], object]
    flushes: int = 1
    device_seconds: list[float] = field(default_factory=list)
    wall_seconds: list[float] = field(default_factory=list)


def time_in_turns(
    calls: Mapping[str, Callable[[], object]], device: torch.device, *, quick: bool = False
) -> dict[str, GpuTimes | str]:
    """Time calls that work on `device`, one repetition each in turn.

    Returns: name -> times, or the text of the exception that the call raised.
    """
    results: dict[str, GpuTimes | str] = {}
    running: dict[str, _Runner] = {}
    cache = torch.cuda.get_device_properties(device).L2_cache_size
    buffer = torch.empty(max(_FLUSH_BYTES, 4 * cache), dtype=torch.uint8, device=device)

    def between_events(call: Callable[[], object]) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    def on_the_wall(call: Callable[[], object]) -> float:
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        call()
        torch.cuda.synchronize(device)
        return time.perf_counter() - start

    def warm_up(runner: _Runner, flush_seconds: float) -> None:
        for _ in range(_WARM_UP):
            on_the_wall(runner.call)
        # The time to send the kernels is at most that of the call on an idle GPU; a call that is long on the device
        # needs no more cover than the limit gives.
        start = time.perf_counter()
        runner.call()
        sending = time.perf_counter() - start
        runner.flushes = flushes_to_cover(sending, flush_seconds)
        torch.cuda.synchronize(device)

    def repeat(runner: _Runner) -> None:
        for _ in range(runner.flushes):
            buffer.zero_()
        runner.device_seconds.append(between_events(runner.call))
        buffer.zero_()
        runner.wall_seconds.append(on_the_wall(runner.call))

    def attempt(name: str, step: Callable[[], object]) -> bool:
        try:
            step()
        except Exception as exc:  # a failed peer is a row with its reason
            results[name] = error_text(exc)
            log.warning("bench: %s failed: %s", name, results[name])
            return False
        return True

    with torch.cuda.device(device):
        for _ in range(_WARM_UP):
            flush_seconds = between_events(buffer.zero_)
        for name, call in calls.items():
            runner = _Runner(call)
            if attempt(name, lambda r=runner: warm_up(r, flush_seconds)):  # type: ignore[misc]
                running[name] = runner
        for _ in range(QUICK_REPS if quick else REPS):
            for name, runner in list(running.items()):
                if not attempt(name, lambda r=runner: repeat(r)):  # type: ignore[misc]
                    del running[name]
    for name, runner in running.items():
        results[name] = GpuTimes(Spread.of(runner.device_seconds, 1, 0), Spread.of(runner.wall_seconds, 1, 0))
    return results


def flushes_to_cover(sending_seconds: float, flush_seconds: float) -> int:
    """How many flushes keep the GPU busy for twice the time that the host needs to send a call."""
    return min(_MOST_FLUSHES, max(1, math.ceil(2 * sending_seconds / max(flush_seconds, 1e-7))))


def call_memory(call: Callable[[], object], device: torch.device) -> float:
    """MiB of device memory that a call needs beyond what is held between calls; its outputs are part of it."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    return float(torch.cuda.max_memory_allocated(device) - before) / 2**20
