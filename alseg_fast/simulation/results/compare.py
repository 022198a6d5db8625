"""Which differences between strategies are more than noise, and which published orderings come out; in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from .auc import Spread, spread
from .published import Published, same_strategy
from .summary import Curve

INSIDE, NEAR, CLEAR, UNKNOWN = "inside the noise", "barely outside the noise", "clear", "cannot be told"
_ROUNDING = 1e-12  # a spread below this is none: what is left of equal values
RULE = (
    "The noise of a difference is the pooled spread over seeds: the root of the mean of both population variances. "
    "A difference up to that is inside the noise, up to twice that barely outside it, and clear above it. "
    "With fewer than two seeds on either side, or when the spread is zero, it cannot be told. "
    "Strategies share the start of each seed, so the number of seeds in which one is ahead is given beside it. "
    "With three seeds the pooled spread is about one standard error of the difference, with two about 0.7 of one: "
    "a reading aid, not a test."
)


@dataclass(frozen=True)
class Difference:
    """First minus second, in the unit of the values.

    Attributes:
        noise: pooled population standard deviation; None with fewer than two seeds on a side.
        ahead, paired: seeds that both have, and in how many of them the first is ahead.
        verdict: INSIDE, NEAR, CLEAR or UNKNOWN; see RULE.
    """

    first: str
    second: str
    mean: float
    noise: float | None
    ahead: int
    paired: int
    verdict: str


def verdict_of(difference: float, noise: float | None) -> str:
    """The rule of RULE."""
    if noise is None or noise < _ROUNDING:
        return UNKNOWN
    return INSIDE if abs(difference) <= noise else NEAR if abs(difference) <= 2 * noise else CLEAR


def pooled(a: Spread, b: Spread) -> float | None:
    """Root of the mean of both population variances; None with fewer than two values on a side."""
    return math.sqrt((a.std**2 + b.std**2) / 2) if min(a.n, b.n) > 1 else None


def difference(first: str, a: Mapping[int, float], second: str, b: Mapping[int, float]) -> Difference | None:
    """The difference of two strategies from their values by seed; None where one has none."""
    if not a or not b:
        return None
    of_a, of_b = spread(list(a.values())), spread(list(b.values()))
    mean, noise = of_a.mean - of_b.mean, pooled(of_a, of_b)
    both = [seed for seed in a if seed in b]
    return Difference(first, second, mean, noise, sum(a[s] > b[s] for s in both), len(both), verdict_of(mean, noise))


def differences(curves: Sequence[Curve], kind: str = "auc") -> list[Difference]:
    """Every pair, the one with the higher mean first; largest differences first."""
    found = []
    for one, other in combinations(curves, 2):
        between = difference(one.name, one.headline(kind), other.name, other.headline(kind))
        if between is not None and between.mean < 0:
            between = difference(other.name, other.headline(kind), one.name, one.headline(kind))
        if between is not None:
            found.append(between)
    return sorted(found, key=lambda d: -d.mean)


def within_strategies(curves: Sequence[Curve], kind: str = "auc") -> list[Difference]:
    """The pairs of settings of one strategy, strategy by strategy."""
    names = dict.fromkeys(curve.strategy for curve in curves)
    groups = [[curve for curve in curves if curve.strategy == name] for name in names]
    return [found for group in groups for found in differences(group, kind)]


@dataclass(frozen=True)
class Ordering:
    """A published ordering and what came of it here; the first is ahead in the paper.

    Attributes:
        published: difference in percent points as printed; its verdict where spreads are printed.
        here: the same difference here, as a fraction. outcome: "comes out", "does not come out" or "undecided".
        words: a sentence.
    """

    first: str
    second: str
    published: float
    published_verdict: str
    here: Difference
    outcome: str
    words: str


def published_headline(source: Published, name: str) -> Spread | None:
    """What the paper ranks a strategy by, in percent; n = 1 where no spread is printed.

    Args:
        name: of the strategy in `Published.labels`.
    """
    if source.headline == "auc":
        return source.auc.get(name)
    curve = source.curves.get(name)
    return Spread(curve[-1], 0.0, 1) if curve else None


def stand_ins(curves: Sequence[Curve], source: Published) -> dict[str, Curve]:
    """Name in `Published.labels` -> the curve that is compared with it.

    Where a strategy was run in its published and in a corrected form, such as "entropy_published" and "entropy", the
    published form stands for it, else the first.
    Args:
        curves: one a strategy; see `main_curves`.
    """
    found: dict[str, Curve] = {}
    for name in source.labels:
        same = [curve for curve in curves if same_strategy(curve.strategy) == same_strategy(name)]
        if same:
            found[name] = next((c for c in same if c.strategy.endswith("published")), same[0])
    return found


def main_curves(curves: Sequence[Curve], main: Mapping[str, str] | None = None) -> list[Curve]:
    """One curve a strategy: of several settings the one that `main` names for it, else the first."""
    found: dict[str, Curve] = {}
    for curve in curves:
        if main is not None and main.get(curve.strategy) == curve.setting:
            found[curve.strategy] = curve
        else:
            found.setdefault(curve.strategy, curve)
    return list(found.values())


def orderings(curves: Sequence[Curve], source: Published) -> list[Ordering]:
    """Every published pair that was run here too; pairs that tie in print are left out.

    Args:
        curves: one a strategy; see `main_curves`.
    """
    pairs = stand_ins(curves, source).items()
    known = [(curve, head) for name, curve in pairs if (head := published_headline(source, name))]
    found = []
    for (one, head_one), (other, head_other) in combinations(known, 2):
        if head_one.mean == head_other.mean:
            continue
        swap = head_one.mean < head_other.mean
        (first, a), (second, b) = (
            ((other, head_other), (one, head_one)) if swap else ((one, head_one), (other, head_other))
        )
        here = difference(first.name, first.headline(source.headline), second.name, second.headline(source.headline))
        if here is None:
            continue
        in_print = verdict_of(a.mean - b.mean, pooled(a, b))
        outcome, words = _outcome(first.name, second.name, a.mean - b.mean, in_print, here)
        found.append(Ordering(first.name, second.name, a.mean - b.mean, in_print, here, outcome, words))
    return sorted(found, key=lambda o: -o.published)


def _outcome(first: str, second: str, printed: float, in_print: str, here: Difference) -> tuple[str, str]:
    points = f"{100 * abs(here.mean):.2f} points"
    seeds = f", ahead in {here.ahead} of {here.paired} shared seeds" if here.paired > 1 else ""
    paper = f"{first} is {printed:.2f} points ahead of {second} in the paper"
    if in_print == INSIDE:
        paper += " (inside the paper's own noise)"
    side = "ahead" if here.mean > 0 else "behind"
    if here.mean == 0:
        return "undecided", f"{paper}; here both are equal."
    if here.verdict == UNKNOWN:
        return "undecided", f"{paper}; here it is {points} {side}, and the seeds do not tell whether that is noise."
    if here.verdict == INSIDE:
        return "undecided", f"{paper}; here it is {points} {side}{seeds}, which is inside the noise."
    how = "clearly" if here.verdict == CLEAR else "barely outside the noise"
    outcome = "comes out" if here.mean > 0 else "does not come out"
    return outcome, f"{paper}; here it is {points} {side}{seeds}, {how}."
