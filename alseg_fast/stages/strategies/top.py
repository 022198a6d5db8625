"""The strategies that rank by one number: the highest scores, or a random draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .base import Candidates, Picks, Request

_SLACK_ROWS = 1 << 17  # how far the shortlist may grow before it is cut again
KEPT = ("image_id", "uri", "region_id", "cost", "tie", "rle")
ORDER = [("score", "descending"), ("tie", "ascending"), ("image_id", "ascending"), ("region_id", "ascending")]


class Shortlist:
    """The best rows seen so far, as many as the budget pays for.

    Order: score falling, then the hash `tie` rising, then image_id and region_id. Rows are taken in this
    order until the first that the budget no longer covers; rows to come can only move that point up, which is why
    the rows below it may be forgotten.

    Args:
        budget: what the rows may cost together.
        among: how many shortlists are kept at the same time, each with its part of the spare memory.
    """

    def __init__(self, budget: float, among: int = 1) -> None:
        self._budget = budget
        self._slack = _SLACK_ROWS // among
        self._tables: list[pa.Table] = []
        self._rows = 0
        self._cut_at = self._slack
        self._threshold = -np.inf

    def add(self, table: pa.Table, scores: npt.NDArray[np.float64]) -> None:
        """Offer [n] candidates (image_id, uri, region_id, cost, tie, optionally rle) with scores, none of them NaN."""
        good = np.flatnonzero(scores >= self._threshold)
        if len(good) == 0:
            return
        keep = table.select([name for name in KEPT if name in table.column_names]).take(good)
        self._tables.append(keep.append_column("score", pa.array(scores[good])))
        self._rows += len(good)
        if self._rows > self._cut_at:
            self._cut()

    def _cut(self) -> None:
        table = pa.concat_tables(self._tables)
        score, tie = table.column("score").to_numpy(), table.column("tie").to_numpy()  # [n]
        order = np.lexsort((tie, -score))
        paid = np.cumsum(table.column("cost").to_numpy()[order])
        # With the first row that is too dear: what ranks below it is never bought, what ranks above it may be.
        count = min(int(np.searchsorted(paid, self._budget, side="right")) + 1, len(order))
        # Equal in score and hash: left to the final sort, which compares the ids.
        while count < len(order) and (score[order[count]], tie[order[count]]) == (
            score[order[count - 1]],
            tie[order[count - 1]],
        ):
            count += 1
        if count < len(order):
            table = table.take(order[:count])
            self._threshold = float(score[order[count - 1]])
        self._tables = [table.combine_chunks()]
        self._rows = table.num_rows
        self._cut_at = 2 * self._rows + self._slack

    def ranked(self) -> pa.Table | None:
        """The rows the budget pays for, best first; None if there are none."""
        return self.ranked_within(self._budget)

    def ranked_within(self, budget: float) -> pa.Table | None:
        """The same for a budget of at most that of the shortlist."""
        if not self._tables:
            return None
        table = pa.concat_tables(self._tables).sort_by(ORDER)
        paid = np.cumsum(table.column("cost").to_numpy())
        return table.slice(0, int(np.searchsorted(paid, budget, side="right")))


class TopScore:
    """The highest values of one score column; equal values are drawn by lot, repeatably."""

    name = "top"

    def columns(self, request: Request) -> Sequence[str]:
        return (request.column,)

    def pick(self, stream: Iterable[Candidates], request: Request) -> Picks:
        shortlist = request.ranking or Shortlist(request.budget)
        considered = 0
        for block in stream:
            scores = block.numbers(request.column)
            usable = ~np.isnan(scores)
            considered += int(usable.sum())
            shortlist.add(block.table.filter(pa.array(usable)), scores[usable])
        table = shortlist.ranked()
        reasons = [
            f"{request.column} {score:.4f}, {standing or _in_pool(rank, considered)}"
            for rank, (score, standing) in enumerate(_scores(table), 1)
        ]
        return Picks(_or_empty(table), reasons, considered)


class RandomDraw:
    """A uniform draw without replacement; the score is the number drawn, 0 to 1, the highest first."""

    name = "random"

    def columns(self, request: Request) -> Sequence[str]:
        return ()

    def pick(self, stream: Iterable[Candidates], request: Request) -> Picks:
        shortlist = request.ranking or Shortlist(request.budget)
        considered = 0
        for block in stream:
            considered += block.table.num_rows
            shortlist.add(block.table, 1.0 - block.numbers("tie") * 2.0**-64)
        table = shortlist.ranked()
        reasons = [
            f"random draw {score:.4f} (seed {request.seed}), {standing or f'rank {rank} of {considered}'}"
            for rank, (score, standing) in enumerate(_scores(table), 1)
        ]
        return Picks(_or_empty(table), reasons, considered)


def _scores(table: pa.Table | None) -> Iterable[tuple[float, str | None]]:
    """(score, standing or None) of each pick."""
    if table is None:
        return []
    scores = table.column("score").to_pylist()
    standings = table.column("standing").to_pylist() if "standing" in table.column_names else [None] * len(scores)
    return zip(scores, standings, strict=True)


def _in_pool(rank: int, considered: int) -> str:
    return f"rank {rank} of {considered}, highest {_percent(rank, considered)}"


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
