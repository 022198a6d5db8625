"""Keeps worker threads on CPUs of their own.

A scheduler may leave two busy threads on one CPU for many milliseconds while another CPU is idle, above all in
virtual machines; with one thread a core, each such moment costs half the throughput. Pinning would cure it and
harm every machine that does other work too. So a thread that finds a colleague on its CPU steps aside, once,
and stays free to be moved.
"""

from __future__ import annotations

import os
from itertools import count

from . import _native


class Seats:
    """Which CPU each worker was last seen on. One object a group of workers; `settle` is thread-safe."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._numbers = count()

    def join(self) -> int:
        """A number for the calling worker."""
        return next(self._numbers)

    def settle(self, me: int) -> None:
        """Move the calling thread to a CPU without a colleague, if it shares its own and there is one."""
        here = _native.current_cpu()
        self._seen[me] = here
        taken = {cpu for worker, cpu in self._seen.copy().items() if worker != me}
        if here < 0 or here not in taken:
            return
        allowed = os.sched_getaffinity(0)
        free = allowed - taken
        if not free:
            return
        target = min(free)
        try:
            os.sched_setaffinity(0, {target})
            os.sched_setaffinity(0, allowed)
        except OSError:
            return  # a sandbox that forbids it: the scheduler keeps the last word
        self._seen[me] = target
