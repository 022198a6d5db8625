"""Who is told how a training goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Events(Protocol):
    """Called by the loop; nothing that a listener does changes the result."""

    def start(self, stage: str, steps: int, done: int) -> None:
        """A stage starts, or goes on after `done` steps: what was told of later steps is void."""
        ...

    def step(self, stage: str, done: int, rate: float, losses: Mapping[str, float] | None) -> None:
        """`done` steps are made; every `log_every` of them `losses` has the means since the last time."""
        ...

    def figures(self, stage: str, done: int, figures: Mapping[str, float], best: bool) -> None:
        """The method was evaluated after `done` steps; `best`: no earlier score was higher."""
        ...

    def finish(self, stage: str, done: int, why: str) -> None:
        """The stage is over: "steps" (all made), "patience", or "kept" (it was finished before)."""
        ...
