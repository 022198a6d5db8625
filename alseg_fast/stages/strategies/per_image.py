"""Picks within a budget that holds in each image anew."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .top import KEPT, ORDER


def image_codes(table: pa.Table) -> npt.NDArray[np.int64]:
    """[n] a number for each row's image, by first appearance."""
    codes = table.column("image_id").combine_chunks().dictionary_encode()
    codes = codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes
    return np.asarray(codes.indices.to_numpy(), np.int64)


def rank_order(
    table: pa.Table, scores: npt.NDArray[np.float64], *groups: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """[n] rows sorted by `groups` (the first one counts most), then as everywhere: score falling, tie, region_id."""
    region, tie = table.column("region_id").to_numpy(), table.column("tie").to_numpy()
    return np.lexsort((region, tie, -scores, *reversed(groups)))


def kept_columns(table: pa.Table) -> pa.Table:
    """The columns that a pick keeps."""
    return table.select([name for name in KEPT if name in table.column_names])


class PerImage:
    """In every image the best regions, as many as the image's own budget pays for.

    A block holds all regions of its images, so each is settled as it comes; memory is what was picked. The list
    of picks is in the order of the scores over the whole pool.

    Args:
        amount: the cost of all candidates of an image -> its budget.
    Attributes:
        images: how many images had candidates.
        exhausted: in how many of them the budget was more than there was to buy.
    """

    def __init__(self, amount: Callable[[float], float]) -> None:
        self._amount = amount
        self._picked: list[pa.Table] = []
        self.images = 0
        self.exhausted = 0

    def add(self, table: pa.Table, scores: npt.NDArray[np.float64]) -> None:
        if table.num_rows == 0:
            return
        codes = image_codes(table)
        order = rank_order(table, scores, codes)
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1))  # [images]
        sizes = np.diff(starts, append=len(order))
        image = np.repeat(np.arange(len(starts)), sizes)
        costs = table.column("cost").to_numpy()[order]
        # Costs are multiples of 2^-16, so sums are exact and the subtraction loses nothing.
        paid = np.cumsum(costs)
        paid -= (paid[starts] - costs[starts])[image]
        totals = paid[starts + sizes - 1]
        budgets = np.array([self._amount(total) for total in totals.tolist()])
        self.images += len(starts)
        self.exhausted += int((budgets > totals).sum())
        keep = np.flatnonzero(paid <= budgets[image])
        places = (keep - starts[image[keep]] + 1).tolist()
        standing = [f"rank {i} of {n} in its image" for i, n in zip(places, sizes[image[keep]].tolist(), strict=True)]
        rows = order[keep]
        picked = kept_columns(table).take(rows).append_column("score", pa.array(scores[rows]))
        self._picked.append(picked.append_column("standing", pa.array(standing, pa.large_string())))

    def ranked(self) -> pa.Table | None:
        return pa.concat_tables(self._picked).sort_by(ORDER) if self._picked else None
