"""Where a stage stands, as it is kept in checkpoints, and what is told of it when it is over."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ... import atomic
from ...errors import AlsegError, RunError


@dataclass(frozen=True)
class StageResult:
    """A finished stage.

    Attributes:
        steps: made in all; fewer than the stage's where patience ended it.
        best_step: after how many steps the best figures were measured; None: there was no validation.
        figures: the best ones; {} without validation.
        kept_step: the step whose weights the method has now.
        history: every evaluation: {"step": n, figures...}.
        seconds: spent in all, over every start.
        why: "steps" or "patience".
    """

    name: str
    steps: int
    best_step: int | None
    figures: dict[str, float]
    kept_step: int
    history: list[dict[str, float]]
    seconds: float
    why: str


@dataclass
class Progress:
    """Mutable state of the loop beside method, optimiser and random numbers.

    `waits` counts evaluations since the score last rose; sums and n are of losses since the last line of metrics.
    """

    best_step: int | None = None
    best_score: float = -math.inf
    best_figures: dict[str, float] = field(default_factory=dict)
    waits: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    n: int = 0
    seconds: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Progress:
        return cls(**state)

    def add_losses(self, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self.sums[key] = self.sums.get(key, 0.0) + value
        self.n += 1

    def take_means(self) -> dict[str, float]:
        """Means since the last call; a part that was not there in every step counts as 0 in the others."""
        means = {key: value / self.n for key, value in self.sums.items()}
        self.sums, self.n = {}, 0
        return means

    def add_figures(self, step: int, figures: Mapping[str, float]) -> bool:
        """Note an evaluation; True if no earlier score was higher (the later one of equal scores is kept)."""
        self.history.append({"step": step, **figures})
        score = figures["score"]
        self.waits = 0 if score > self.best_score else self.waits + 1
        if score < self.best_score:
            return False
        self.best_step, self.best_score, self.best_figures = step, score, dict(figures)
        return True


def write_result(path: Path, result: StageResult, facts: Mapping[str, Any]) -> None:
    """Mark the stage as finished: its result with the facts it depends on."""
    text = json.dumps({"result": asdict(result), "facts": dict(facts)}, indent=2, allow_nan=False)
    atomic.write_atomic(path, (text + "\n").encode())


def read_result(path: Path) -> tuple[StageResult, dict[str, Any]] | None:
    """What `write_result` wrote; None: the stage is not finished. Raises: RunError: the file is damaged."""
    try:
        content = json.loads(path.read_bytes())
        return StageResult(**content["result"]), dict(content["facts"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"{path} is damaged; delete {path.parent} to train this stage again") from error


def check_figures(name: str, step: int, figures: Mapping[str, float]) -> dict[str, float]:
    """An evaluation's figures as floats. Raises: AlsegError: there is no score, or a score that is no number."""
    clean = {str(key): float(value) for key, value in figures.items()}
    score = clean.get("score")
    if score is None or not math.isfinite(score):
        raise AlsegError(
            f"{name}: evaluate must give a finite score; got {score!r} after step {step}. Check the validation images."
        )
    return {key: value for key, value in clean.items() if math.isfinite(value)}
