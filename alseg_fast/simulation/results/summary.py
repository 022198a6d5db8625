"""Rows of rounds -> learning curves: means and population spread over seeds, areas, shares of the whole."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...errors import RangeError
from ..rows import RoundRow
from .auc import Spread, auc, spread
from .published import same_strategy
from .store import in_order

# What a round's summary holds beside its score; "pseudo_foreground" comes from the figures of that name.
FIELDS = (
    "score",
    "images",
    "pixels",
    "clicks",
    "seconds",
    "labelled_share",
    "pixel_share",
    "pseudo_score",
    "pseudo_images",
    "pseudo_foreground",
    "error_auroc",
    "threshold",
)
CHEAP_STEPS = ("score", "select", "propagate")  # what the engine does in a round, beside training and testing


@dataclass(frozen=True)
class RoundSummary:
    """One round over its seeds: mean, population standard deviation and count of each field that is known."""

    round: int
    values: Mapping[str, Spread]


@dataclass(frozen=True)
class Curve:
    """A strategy in one setting, over its seeds.

    Attributes:
        rounds: ascending. seeds: all that have a row.
        auc_by_seed: area of each complete run: every round of the curve, from 0 without a gap, has a finite score.
        last_by_seed: score after the last round of each complete run.
        incomplete: seeds whose run is not complete; they count in the rounds they have, not in areas.
    """

    strategy: str
    setting: str
    rounds: tuple[RoundSummary, ...]
    seeds: tuple[int, ...]
    auc_by_seed: Mapping[int, float]
    last_by_seed: Mapping[int, float]
    incomplete: tuple[int, ...]

    @property
    def name(self) -> str:
        """Strategy and setting, as tables and legends say it."""
        return f"{self.strategy} {self.setting}".strip()

    @property
    def auc(self) -> Spread | None:
        """Area over seeds; None without a complete run."""
        return spread(list(self.auc_by_seed.values())) if self.auc_by_seed else None

    @property
    def last(self) -> Spread | None:
        """Score after the last round over seeds; None without a complete run."""
        return spread(list(self.last_by_seed.values())) if self.last_by_seed else None

    def headline(self, kind: str) -> Mapping[int, float]:
        """By seed: "auc" the area, "last" the score after the last round."""
        if kind not in ("auc", "last"):
            raise RangeError(f"Curve.headline: kind must be 'auc' or 'last'; got {kind!r}. Choose one of them.")
        return self.auc_by_seed if kind == "auc" else self.last_by_seed


def summarise(rows: Iterable[RoundRow]) -> list[Curve]:
    """One curve a strategy and setting, in the order they first come in.

    Scores that are not finite count as missing. The rounds of a curve are those of its longest run.
    Raises: RunError: two rows of one strategy, setting, seed and round.
    """
    groups: dict[tuple[str, str], list[RoundRow]] = {}
    for row in in_order(rows):
        groups.setdefault((row.strategy, row.setting), []).append(row)
    return [_curve(strategy, setting, found) for (strategy, setting), found in groups.items()]


def _curve(strategy: str, setting: str, rows: Sequence[RoundRow]) -> Curve:
    by_round: dict[int, list[RoundRow]] = {}
    runs: dict[int, dict[int, float]] = {}
    for row in rows:
        by_round.setdefault(row.round, []).append(row)
        runs.setdefault(row.seed, {})[row.round] = row.score
    wanted = range(max(by_round) + 1)
    complete = {
        seed: [scores[i] for i in wanted]
        for seed, scores in runs.items()
        if all(math.isfinite(scores.get(i, math.nan)) for i in wanted)
    }
    return Curve(
        strategy,
        setting,
        tuple(RoundSummary(number, _values(found)) for number, found in sorted(by_round.items())),
        tuple(runs),
        {seed: auc(scores) for seed, scores in complete.items()},
        {seed: scores[-1] for seed, scores in complete.items()},
        tuple(seed for seed in runs if seed not in complete),
    )


def _values(rows: Sequence[RoundRow]) -> dict[str, Spread]:
    known = {name: [v for row in rows if (v := field_of(row, name)) is not None] for name in FIELDS}
    return {name: spread(values) for name, values in known.items() if values}


def field_of(row: RoundRow, name: str) -> float | None:
    """A field of FIELDS as a finite number, or None."""
    value = row.figures.get(name) if name == "pseudo_foreground" else getattr(row, name)
    return float(value) if value is not None and math.isfinite(value) else None


def find_full(curves: Sequence[Curve], name: str | None = None) -> Curve | None:
    """The fully supervised reference.

    Args:
        name: its strategy; None takes "full", "full_sup" or "baseline", if one is there.
    Raises: RangeError: there is none of the given name.
    """
    for curve in curves:
        if curve.strategy == name or (name is None and same_strategy(curve.strategy) == "full"):
            return curve
    if name is None:
        return None
    names = ", ".join(dict.fromkeys(curve.strategy for curve in curves)) or "nothing"
    raise RangeError(f"find_full: name must be a strategy of the results, {names}; got {name!r}. Correct the name.")


def shares_of_full(curve: Curve, full: Curve | None) -> dict[int, float]:
    """Round -> mean score over the mean score of full supervision, where both are known.

    A reference with rounds is compared with round by round (the same pictures, fully labelled); one that was trained
    once stands for every round.
    """
    if full is None:
        return {}
    base = {r.round: r.values["score"].mean for r in full.rounds if "score" in r.values}
    once = next(iter(base.values())) if len(full.rounds) == 1 and base else None
    shares = {}
    for summary in curve.rounds:
        whole = once if once is not None else base.get(summary.round)
        if whole and "score" in summary.values:
            shares[summary.round] = summary.values["score"].mean / whole
    return shares


@dataclass(frozen=True)
class StepTimes:
    """Wall seconds of each step over all rounds and seeds of a strategy in one setting, and the rounds they cover."""

    name: str
    seconds: Mapping[str, float]
    rounds: int

    @property
    def total(self) -> float:
        """All steps together."""
        return sum(self.seconds.values())

    def share(self, steps: Sequence[str] = CHEAP_STEPS) -> float | None:
        """Part of the time that went into these steps; None where no time was taken."""
        total = self.total
        return sum(self.seconds.get(step, 0.0) for step in steps) / total if total > 0 else None


def step_times(rows: Iterable[RoundRow]) -> list[StepTimes]:
    """Times of each strategy and setting that has any; steps in the order they first come in.

    A round that all strategies share is counted wherever its row stands.
    """
    found: dict[str, dict[str, float]] = {}
    rounds: dict[str, int] = {}
    for row in in_order(rows):
        timed = {step: s for step, s in row.step_seconds.items() if math.isfinite(s)}
        if timed:
            name = f"{row.strategy} {row.setting}".strip()
            rounds[name] = rounds.get(name, 0) + 1
            into = found.setdefault(name, {})
            for step, seconds in timed.items():
                into[step] = into.get(step, 0.0) + seconds
    return [StepTimes(name, seconds, rounds[name]) for name, seconds in found.items()]
