"""Picks within budgets of their class, so that rare classes are bought, too."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .per_image import image_codes, kept_columns, rank_order
from .top import ORDER, Shortlist

_ROUNDING = 1e-9
_TURN_ORDER = [("turn", "ascending"), *ORDER]


def class_weights(areas: Mapping[int, float], rule: str) -> dict[int, float]:
    """The weight of every class in the split of a budget.

    Args:
        areas: class id -> its pixels, of the classes that occur.
        rule: "equal": 1; "inverse": 1 / s with s = the class's share of all these pixels; "exp": exp(-s).
    """
    total = math.fsum(areas.values())
    weight: dict[str, Callable[[float], float]] = {
        "equal": lambda _: 1.0,
        "inverse": lambda area: total / area,
        "exp": lambda area: math.exp(-area / total),
    }
    return {value: weight[rule](area) for value, area in areas.items()}


class Bought(NamedTuple):
    """What was bought of rows that are sorted by class and rank.

    Attributes:
        rows: [k] indices of the rows.
        turns: [k] what the class had spent before, as a part of its budget, 0 <= turn < 1.
        places: [k] rank within the class, from 1.
    """

    rows: npt.NDArray[np.int64]
    turns: npt.NDArray[np.float64]
    places: npt.NDArray[np.int64]


def buy_by_class(
    classes: npt.NDArray[np.int64],
    costs: npt.NDArray[np.float64],
    budget: float,
    totals: Mapping[int, float],
    weights: Mapping[int, float],
) -> Bought:
    """Split a budget over classes and buy the best of each.

    The classes come in the order in which they would run dry (total / weight rising, then class id). Each gets
    its weight's part of what is left for it and those after it, and buys in rank order until the next row no
    longer fits. So what a class cannot use, because it has no more rows or none that fits, goes to the others.

    Args:
        classes: [n] rising.
        costs: [n]; within a class in rank order.
        budget: for all classes together.
        totals: class id -> cost of all there is of it, also of what is not among the rows.
        weights: class id -> its weight.
    """
    order = sorted(totals, key=lambda value: (totals[value] / weights[value], value))
    everything = budget >= math.fsum(totals.values())
    left = budget
    rows, turns, places = [np.empty(0, np.int64)], [np.empty(0)], [np.empty(0, np.int64)]
    for place, value in enumerate(order):
        part = weights[value] / math.fsum(weights[other] for other in order[place:])
        own = totals[value] if everything else left * part
        start, end = np.searchsorted(classes, [value, value + 1])
        paid = np.cumsum(costs[start:end])
        count = int(np.searchsorted(paid, own, side="right"))
        if count:
            left -= float(paid[count - 1])
            rows.append(np.arange(start, start + count))
            turns.append((paid[:count] - costs[start : start + count]) / own)
            places.append(np.arange(1, count + 1))
    return Bought(np.concatenate(rows), np.concatenate(turns), np.concatenate(places))


class _ByClass:
    """What both forms share: the class of a row, and how a pick is described."""

    def __init__(self, column: str, names: Sequence[str], where: str) -> None:
        self._column = column
        self._names = names
        self._where = where

    def _classes(self, table: pa.Table) -> npt.NDArray[np.int64]:
        return np.asarray(table.column(self._column).to_numpy(), np.int64)

    def _standing(self, value: int, place: int, count: int) -> str:
        name = self._names[value] if 0 <= value < len(self._names) else str(value)
        return f"rank {place} of {count} of class {name}{self._where}"

    def _picked(
        self,
        table: pa.Table,
        scores: npt.NDArray[np.float64],
        rows: npt.NDArray[np.int64],
        turns: npt.NDArray[np.float64],
        standing: Sequence[str],
    ) -> pa.Table:
        picked = kept_columns(table).take(rows).append_column("score", pa.array(scores[rows]))
        picked = picked.append_column("turn", pa.array(turns))
        return picked.append_column("standing", pa.array(standing, pa.large_string()))


class PerClass(_ByClass):
    """Over the whole pool, the best regions of every class within the class's budget.

    Ranks go by turn: what the class had spent before a pick, as a part of its own budget; then by score. So the
    best of every class come first, and any first part of the list spends the classes in proportion.

    Args:
        column: the column with the class.
        names: class names by id, for the reasons.
        budget: for all classes together.
        totals, areas, largest: of each class that occurs: the cost of all its candidates, their pixels, the cost
            of the dearest.
        rule: see `class_weights`.
    """

    def __init__(
        self,
        column: str,
        names: Sequence[str],
        budget: float,
        totals: Mapping[int, float],
        areas: Mapping[int, float],
        largest: Mapping[int, float],
        rule: str,
    ) -> None:
        super().__init__(column, names, "")
        self._budget = budget
        self._totals = totals
        self._weights = class_weights(areas, rule)
        self._counts = dict.fromkeys(totals, 0)
        self._shortlists = {
            value: Shortlist(bound, among=len(totals)) for value, bound in self._bounds(largest).items()
        }

    def _bounds(self, largest: Mapping[int, float]) -> dict[int, float]:
        """The most that each class can get: its part if all before it spend theirs, and what those leave over.

        A class with more rows than it can pay for leaves less than the cost of its dearest row.
        """
        order = sorted(self._totals, key=lambda value: (self._totals[value] / self._weights[value], value))
        left, remainders = self._budget, 0.0
        bounds = {}
        for place, value in enumerate(order):
            own = left * self._weights[value] / math.fsum(self._weights[other] for other in order[place:])
            bounds[value] = (min(own, self._totals[value]) + remainders) * (1 + _ROUNDING)
            left -= min(own, self._totals[value])
            remainders += largest[value]
        return bounds

    def add(self, table: pa.Table, scores: npt.NDArray[np.float64]) -> None:
        classes = self._classes(table)
        kept = kept_columns(table)
        for value in np.unique(classes).tolist():
            own = np.flatnonzero(classes == value)
            self._counts[value] += len(own)
            self._shortlists[value].add(kept.take(own), scores[own])

    def ranked(self) -> pa.Table | None:
        parts = []
        for value, shortlist in sorted(self._shortlists.items()):
            rows = shortlist.ranked()
            if rows is not None:
                parts.append(rows.append_column(self._column, pa.array(np.full(rows.num_rows, value))))
        if not parts:
            return None
        table = pa.concat_tables(parts)  # by class, and by rank within
        classes, costs = self._classes(table), table.column("cost").to_numpy()
        bought = buy_by_class(classes, costs, self._budget, self._totals, self._weights)
        standing = [
            self._standing(value, place, self._counts[value])
            for value, place in zip(classes[bought.rows].tolist(), bought.places.tolist(), strict=True)
        ]
        scores = table.column("score").to_numpy()
        return self._picked(table, scores, bought.rows, bought.turns, standing).sort_by(_TURN_ORDER)


class PerImageAndClass(_ByClass):
    """The same in each image anew: its budget is split over the classes that it has.

    Args:
        column, names, rule: as for `PerClass`.
        amount: the cost of all candidates of an image -> its budget.
    Attributes:
        images, exhausted: as in `PerImage`.
    """

    def __init__(self, column: str, names: Sequence[str], amount: Callable[[float], float], rule: str) -> None:
        super().__init__(column, names, " in its image")
        self._amount = amount
        self._rule = rule
        self._tables: list[pa.Table] = []
        self.images = 0
        self.exhausted = 0

    def add(self, table: pa.Table, scores: npt.NDArray[np.float64]) -> None:
        if table.num_rows == 0:
            return
        codes, classes = image_codes(table), self._classes(table)
        order = rank_order(table, scores, codes, classes)
        costs, areas = (table.column(name).to_numpy()[order] for name in ("cost", "area"))
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1)).tolist()
        picked, turns, standing = [], [], []
        for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
            rows = order[start:end]
            values, first = np.unique(classes[rows], return_index=True)
            ids = values.tolist()
            totals = dict(zip(ids, np.add.reduceat(costs[start:end], first).tolist(), strict=True))
            pixels = dict(zip(ids, np.add.reduceat(areas[start:end], first).tolist(), strict=True))
            counts = dict(zip(ids, np.diff(first, append=end - start).tolist(), strict=True))
            total = math.fsum(totals.values())
            budget = self._amount(total)
            self.images += 1
            self.exhausted += budget > total
            weights = class_weights(pixels, self._rule)
            bought = buy_by_class(classes[rows], costs[start:end], budget, totals, weights)
            picked.append(rows[bought.rows])
            turns.append(bought.turns)
            for value, place in zip(classes[picked[-1]].tolist(), bought.places.tolist(), strict=True):
                standing.append(self._standing(value, place, counts[value]))
        self._tables.append(self._picked(table, scores, np.concatenate(picked), np.concatenate(turns), standing))

    def ranked(self) -> pa.Table | None:
        return pa.concat_tables(self._tables).sort_by(_TURN_ORDER) if self._tables else None
