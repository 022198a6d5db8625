"""How much may be bought: a number or a share, over the whole pool or in each image, and what there is to buy."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from ..errors import UsageError
from .strategies import Candidates

UNITS = ("images", "regions", "pixels", "clicks", "seconds")
SCOPES = ("pool", "image")
WHOLE_UNITS = ("images", "regions", "pixels")

_SHARE = re.compile(r"^\s*(\d+(?:\.\d*)?|\.\d+)\s*%\s*$")


@dataclass(frozen=True)
class Budget:
    """A budget as it was asked for.

    Attributes:
        given: the number, or the text of the share ("10%").
        unit: one of UNITS.
        scope: "pool": over everything; "image": in each image anew.
    """

    given: int | float | str
    unit: str
    scope: str

    @property
    def is_share(self) -> bool:
        return isinstance(self.given, str)

    def amount(self, total: float) -> float:
        """What may be spent where `total` could be bought; a share is exact, whole units are rounded down."""
        if not isinstance(self.given, str):
            return float(self.given)
        spend = _share(self.given) * Fraction(total)
        return float(spend.numerator // spend.denominator if self.unit in WHOLE_UNITS else spend)

    def __str__(self) -> str:
        where = " in each image" if self.scope == "image" else ""
        return f"{self.given} of the {self.unit}{where}" if self.is_share else f"{self.given} {self.unit}{where}"


def parse_budget(budget: object, unit: str, scope: str) -> Budget:
    """The budget, checked.

    Args:
        budget: a number > 0, whole for images, regions and pixels; or a share > 0 as text such as "10%".
        unit: one of UNITS.
        scope: one of SCOPES; "image" is for everything but whole images.
    Raises: UsageError.
    """
    if unit not in UNITS:
        raise UsageError(f"select: unit must be one of {', '.join(UNITS)}; got {unit}.")
    if scope not in SCOPES:
        raise UsageError(f"select: budget_scope must be one of {', '.join(SCOPES)}; got {scope}.")
    if scope == "image" and unit == "images":
        raise UsageError(
            "select: budget_scope image must have a unit of regions, pixels, clicks or seconds; got images. "
            "Whole images are counted over the pool."
        )
    if isinstance(budget, str) and "%" in budget:
        match = _SHARE.match(budget)
        if match is None or _share(budget) <= 0:
            raise UsageError(f"select: budget must be a share above 0 % such as 10%; got {budget}.")
        return Budget(budget.strip(), unit, scope)
    if unit in WHOLE_UNITS:
        if isinstance(budget, bool) or not isinstance(budget, int | np.integer) or budget < 1:
            raise UsageError(f"select: budget must be a whole number >= 1; got {budget}.")
        return Budget(int(budget), unit, scope)
    number = isinstance(budget, int | float | np.integer | np.floating) and not isinstance(budget, bool)
    if not number or not math.isfinite(budget) or budget <= 0:  # type: ignore[arg-type,operator]
        raise UsageError(f"select: budget must be a number > 0, or a share such as 10%; got {budget}.")
    return Budget(budget if isinstance(budget, int) else float(budget), unit, scope)  # type: ignore[arg-type]


def _share(text: str) -> Fraction:
    return Fraction(text.replace("%", "").strip()) / 100


@dataclass
class Tally:
    """What there is to choose from, counted as a stream of candidates goes by.

    Attributes:
        count: candidates that can be ranked.
        total: their costs together.
        smallest, largest: cost of the cheapest and the dearest of them.
        images, exhausted: with a budget in each image: images that had candidates, and those of them that had less
            than the budget.
        class_costs, class_areas: class id -> the same by class, where the stream has classes.
        class_largest: class id -> cost of its dearest candidate.
    """

    count: int = 0
    total: float = 0.0
    smallest: float = math.inf
    largest: float = 0.0
    images: int = 0
    exhausted: int = 0
    class_costs: dict[int, float] = field(default_factory=dict)
    class_areas: dict[int, float] = field(default_factory=dict)
    class_largest: dict[int, float] = field(default_factory=dict)

    def watch(self, stream: Iterable[Candidates], column: str | None, by: str | None = None) -> Iterator[Candidates]:
        """The stream as it is, counted.

        Args:
            column: null and NaN of this column cannot be ranked and do not count; None: everything counts.
            by: the column with the class, which also needs `area`; None: not by class.
        """
        for block in stream:
            costs = block.numbers("cost")  # [n]
            good = np.ones(len(costs), bool) if column is None else ~np.isnan(block.numbers(column))
            if good.any():
                self.count += int(good.sum())
                self.total += float(costs[good].sum())
                self.smallest = min(self.smallest, float(costs[good].min()))
                self.largest = max(self.largest, float(costs[good].max()))
                if by is not None:
                    self._add_classes(block, good, costs, by)
            yield block

    def _add_classes(self, block: Candidates, good: np.ndarray, costs: np.ndarray, by: str) -> None:
        classes = block.numbers(by)[good].astype(np.int64)
        areas = block.numbers("area")[good]
        for value in np.unique(classes).tolist():
            own = classes == value
            spent = costs[good][own]
            self.class_costs[value] = self.class_costs.get(value, 0.0) + float(spent.sum())
            self.class_areas[value] = self.class_areas.get(value, 0.0) + float(areas[own].sum())
            self.class_largest[value] = max(self.class_largest.get(value, 0.0), float(spent.max()))
