"""The strategies that rank by one number: the highest scores, or a random draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .base import Candidates, Picks, Request

_SLACK_ROWS = 1 << 17  # how far the shortlist may grow before it is cut again


class Shortlist:
    """The best rows seen so far, as many as the budget pays for.

    Order: score falling, then the hash `tie` rising, then image_id and region_id. Rows are taken in this
    order until the first that the budget no longer covers; no later row can bring back one beyond that point,
    which is why the rest may be forgotten.
    """

    def __init__(self, budget: float) -> None:
        self._budget = budget
        self._tables: list[pa.Table] = []
        self._rows = 0
        self._cut_at = _SLACK_ROWS
        self._threshold = -np.inf

    def add(self, table: pa.Table, scores: npt.NDArray[np.float64]) -> None:
        """Offer [n] candidates (image_id, uri, region_id, cost, tie) with their scores, none of them NaN."""
        good = np.flatnonzero(scores >= self._threshold)
        if len(good) == 0:
            return
        keep = table.select(["image_id", "uri", "region_id", "cost", "tie"]).take(good)
        self._tables.append(keep.append_column("score", pa.array(scores[good])))
        self._rows += len(good)
        if self._rows > self._cut_at:
            self._cut()

    def _cut(self) -> None:
        table = pa.concat_tables(self._tables)
        score, tie = table.column("score").to_numpy(), table.column("tie").to_numpy()  # [n]
        order = np.lexsort((tie, -score))
        paid = np.cumsum(table.column("cost").to_numpy()[order])
        count = int(np.searchsorted(paid, self._budget, side="right"))
        # Equal in score and hash: left to the final sort, which compares the ids.
        while 0 < count < len(order) and (score[order[count]], tie[order[count]]) == (
            score[order[count - 1]],
            tie[order[count - 1]],
        ):
            count += 1
        if 0 < count < len(order):
            table = table.take(order[:count])
            self._threshold = float(score[order[count - 1]])
        self._tables = [table.combine_chunks()]
        self._rows = table.num_rows
        self._cut_at = 2 * self._rows + _SLACK_ROWS

    def ranked(self) -> pa.Table | None:
        """The rows the budget pays for, best first, without `tie`; None if there are none."""
        if not self._tables:
            return None
        table = pa.concat_tables(self._tables)
        keys = [
            ("score", "descending"),
            ("tie", "ascending"),
            ("image_id", "ascending"),
            ("region_id", "ascending"),
        ]
        table = table.sort_by(keys)
        paid = np.cumsum(table.column("cost").to_numpy())
        count = int(np.searchsorted(paid, self._budget, side="right"))
        return table.slice(0, count).select(["image_id", "uri", "region_id", "score", "cost"])


class TopScore:
    """The highest values of one score column; equal values are drawn by lot, repeatably."""

    name = "top"

    def columns(self, request: Request) -> Sequence[str]:
        return (request.column,)

    def pick(self, stream: Iterable[Candidates], request: Request) -> Picks:
        shortlist = Shortlist(request.budget)
        considered = 0
        for block in stream:
            scores = block.numbers(request.column)
            usable = ~np.isnan(scores)
            considered += int(usable.sum())
            shortlist.add(block.table.filter(pa.array(usable)), scores[usable])
        table = shortlist.ranked()
        reasons = [
            f"{request.column} {score:.4f}, rank {rank} of {considered}, highest {_percent(rank, considered)}"
            for rank, score in enumerate(_scores(table), 1)
        ]
        return Picks(_or_empty(table), reasons, considered)


class RandomDraw:
    """A uniform draw without replacement; the score is the number drawn, 0 to 1, the highest first."""

    name = "random"

    def columns(self, request: Request) -> Sequence[str]:
        return ()

    def pick(self, stream: Iterable[Candidates], request: Request) -> Picks:
        shortlist = Shortlist(request.budget)
        considered = 0
        for block in stream:
            considered += block.table.num_rows
            shortlist.add(block.table, 1.0 - block.numbers("tie") * 2.0**-64)
        table = shortlist.ranked()
        reasons = [
            f"random draw {score:.4f} (seed {request.seed}), rank {rank} of {considered}"
            for rank, score in enumerate(_scores(table), 1)
        ]
        return Picks(_or_empty(table), reasons, considered)


def _scores(table: pa.Table | None) -> list[float]:
    return [] if table is None else list(table.column("score").to_pylist())


def _percent(rank: int, total: int) -> str:
    percent = 100.0 * rank / total
    if percent >= 0.1:
        return f"{percent:.1f} %"
    return np.format_float_positional(percent, precision=1, fractional=False, trim="-") + " %"


def _or_empty(table: pa.Table | None) -> pa.Table:
    if table is not None:
        return table
    fields = {"image_id": pa.string(), "uri": pa.string(), "region_id": pa.int64()}
    return pa.schema({**fields, "score": pa.float64(), "cost": pa.float64()}).empty_table()
