"""How the weight of a loss changes over the steps of a stage."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...checks import check_choice
from ...errors import RangeError

KINDS = ("constant", "linear", "exponential")


@dataclass(frozen=True)
class LambdaSchedule:
    """Weight at step s, with t = min(s / steps, 1).

    ::

        constant:     start
        linear:       start + t * (end - start)
        exponential:  start * (end / start) ** t

    Args:
        kind: "constant" | "linear" | "exponential".
        start: weight at step 0, at least 0 (exponential: above 0).
        end: weight at step `steps` and later, at least 0 (exponential: above 0); None = `start`, only for constant.
        steps: length of the way from start to end, at least 1.

    Source: Belharbi et al. (2021) used a constant; their code also holds a linear and an exponential schedule, whose
    exact forms are not reported: these are this package's.
    """

    kind: str = "constant"
    start: float = 1.0
    end: float | None = None
    steps: int = 1

    def __post_init__(self) -> None:
        name = "LambdaSchedule"
        check_choice(name, "kind", self.kind, KINDS)
        if self.kind != "constant" and self.end is None:
            raise RangeError(f"{name}: end must be a number with kind={self.kind!r}; got None. State where it goes.")
        for label, value in (("start", self.start), ("end", self.end)):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise RangeError(f"{name}: {label} must be at least 0; got {value!r}. A weight is not negative.")
            if value == 0 and self.kind == "exponential":
                raise RangeError(f"{name}: {label} must be above 0 with kind='exponential'; got 0. Try 1e-3.")
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise RangeError(f"{name}: steps must be an integer >= 1; got {self.steps!r}. Count optimiser steps.")

    def at(self, step: int) -> float:
        """Weight at a step, counted from 0."""
        if step < 0:
            raise RangeError(f"LambdaSchedule.at: step must be at least 0; got {step!r}. Steps count from 0.")
        t = min(step / self.steps, 1.0)
        if self.kind == "constant" or self.end is None:
            return float(self.start)
        if t == 1.0:
            return float(self.end)
        if self.kind == "linear":
            return self.start + t * (self.end - self.start)
        return self.start * math.exp(t * math.log(self.end / self.start))

    __call__ = at
