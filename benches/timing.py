"""The only clock: waits for quiet moments, interleaves what is compared, reports medians and spread."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

log = logging.getLogger("alseg")

_PROC_STAT = Path("/proc/stat")
_WINDOW_SECONDS = 0.06
_WINDOWS = 2
_OTHERS_LIMIT = 0.12  # share of all CPUs that other processes may use in a quiet moment
_REWARM_BELOW_SECONDS = 0.05  # faster calls are run once, unmeasured, after each wait: their data is in the cache
_SHORTEST_SECONDS = 0.004  # a repetition repeats the call until it takes about this long


def others_busy(window_seconds: float = _WINDOW_SECONDS) -> float | None:
    """Share of all CPUs used by other processes (and stolen by the host) in the next moment; None: cannot be told."""

    def jiffies() -> tuple[int, int]:
        with _PROC_STAT.open(encoding="ascii") as file:
            fields = [int(v) for v in file.readline().split()[1:9]]  # guest time is part of user time
        return sum(fields), fields[3] + fields[4]

    try:
        total, idle = jiffies()
        own, start = time.process_time(), time.perf_counter()
        time.sleep(window_seconds)
        total_after, idle_after = jiffies()
    except (OSError, ValueError, IndexError):
        return None  # not Linux
    ticks = total_after - total
    if ticks <= 0:
        return None
    busy = 1.0 - (idle_after - idle) / ticks
    cpus = max(1.0, ticks / (100 * (time.perf_counter() - start)))  # a tick is 1/100 s wherever Linux runs today
    return max(0.0, busy - (time.process_time() - own) / window_seconds / cpus)


@dataclass
class Quiet:
    """Waits for moments in which other processes leave the CPUs alone, as long as its patience lasts.

    Attributes:
        limit_seconds: longest single wait.
        patience_seconds: sum of all waits beyond the first look; afterwards it looks once and goes on.
        looks, disturbed: how often it was asked, and how often it gave up.
    """

    limit_seconds: float = 2.0
    patience_seconds: float = 60.0
    looks: int = 0
    disturbed: int = 0

    def __str__(self) -> str:
        return f"{self.looks - self.disturbed} of {self.looks} repetitions began in a quiet moment"

    def wait(self) -> bool:
        """True once two windows in a row were quiet; False when time ran out."""
        self.looks += 1
        start = time.perf_counter()
        allowed = min(self.limit_seconds, self.patience_seconds)
        in_a_row = 0
        while True:
            busy = others_busy()
            in_a_row = in_a_row + 1 if busy is None or busy < _OTHERS_LIMIT else 0
            if in_a_row >= _WINDOWS:
                return True
            waited = time.perf_counter() - start
            if waited >= max(allowed, _WINDOWS * _WINDOW_SECONDS):
                self.patience_seconds = max(0.0, self.patience_seconds - waited)
                self.disturbed += 1
                return False


@dataclass(frozen=True)
class Spread:
    """Seconds of one call (times the contender's scale) over the repetitions."""

    median: float
    low: float  # first quartile
    high: float  # third quartile
    minimum: float
    reps: int
    calls: int  # calls a repetition
    disturbed: int  # repetitions that did not start in a quiet moment

    @classmethod
    def of(cls, seconds: list[float], calls: int, disturbed: int) -> Spread:
        q = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 3
        return cls(statistics.median(seconds), q[0], q[2], min(seconds), len(seconds), calls, disturbed)

    def milliseconds(self) -> dict[str, Any]:
        """Columns of a result row."""
        return {
            "median_ms": self.median * 1e3,
            "iqr_ms": (self.high - self.low) * 1e3,
            "min_ms": self.minimum * 1e3,
            "reps": self.reps,
            "calls_per_rep": self.calls,
            "disturbed_reps": self.disturbed,
        }


@dataclass
class Contender:
    """One thing to time.

    Attributes:
        call: does the work once; its result is dropped.
        scale: multiplies the measured seconds, e.g. 1 / images for seconds an image.
        clock: perf_counter for wall time, thread_time for CPU seconds of the calling thread.
    """

    name: str
    call: Callable[[], object]
    scale: float = 1.0
    clock: Callable[[], float] = time.perf_counter
    seconds: list[float] = field(default_factory=list)
    calls: int = 1
    reps: int = 1
    disturbed: int = 0
    estimate: float = 0.0

    def warm_up(self, fewest: int, most: int, budget_seconds: float) -> None:
        """Two unmeasured calls, then as many repetitions as the budget holds."""
        lengths = []
        for _ in range(2):
            start = time.perf_counter()
            self.call()
            lengths.append(time.perf_counter() - start)
            if lengths[0] > 1.0:
                break
        self.estimate = min(lengths)
        self.calls = max(1, math.ceil(_SHORTEST_SECONDS / max(self.estimate, 1e-7)))
        self.reps = min(most, max(fewest, int(budget_seconds / (self.estimate * self.calls))))

    def repeat(self, quiet: Quiet) -> None:
        """One repetition in a quiet moment."""
        self.disturbed += not quiet.wait()
        if self.estimate < _REWARM_BELOW_SECONDS:
            self.call()
        start = self.clock()
        for _ in range(self.calls):
            self.call()
        self.seconds.append((self.clock() - start) / self.calls * self.scale)


def interleave(
    contenders: Iterable[Contender],
    *,
    quiet: Quiet,
    fewest: int = 5,
    most: int = 30,
    budget_seconds: float = 6.0,
) -> dict[str, Spread | str]:
    """Time contenders in turns, so that a slow minute of the machine falls on all of them.

    Args:
        fewest, most: repetitions of slow and of fast calls.
        budget_seconds: what the repetitions of one contender may take.
    Returns: name -> spread, or the text of the exception that the call raised.
    """
    results: dict[str, Spread | str] = {}
    running: list[Contender] = []

    def attempt(contender: Contender, step: Callable[[], None]) -> bool:
        try:
            step()
        except Exception as exc:  # a failed peer is a row with its reason, never a missing row
            results[contender.name] = error_text(exc)
            log.warning("bench: %s failed: %s", contender.name, results[contender.name])
            return False
        return True

    for contender in contenders:
        if attempt(contender, lambda c=contender: c.warm_up(fewest, most, budget_seconds)):  # type: ignore[misc]
            running.append(contender)
    rounds = max((c.reps for c in running), default=0)
    for i in range(rounds):
        for contender in list(running):
            # Contenders with fewer repetitions take part in rounds spread evenly over the whole time.
            if (i + 1) * contender.reps // rounds == i * contender.reps // rounds:
                continue
            if not attempt(contender, lambda c=contender: c.repeat(quiet)):  # type: ignore[misc]
                running.remove(contender)
    for contender in running:
        results[contender.name] = Spread.of(contender.seconds, contender.calls, contender.disturbed)
    return results


def error_text(exc: BaseException) -> str:
    """One line that says what went wrong."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return f"{type(exc).__name__}: {lines[0][:300]}" if lines else type(exc).__name__
