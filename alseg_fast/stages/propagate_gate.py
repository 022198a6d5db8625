"""The gate within one class: which unlabelled images a label reaches, and from which labelled one.

Published form (Belharbi et al.), direction "unlabelled": sort the other images of the class by their distance to u,
look at the first k, take the first labelled one. Equal distances are sorted labelled before unlabelled, then by
image_id. So with d* the distance of the nearest labelled image, u passes if and only if fewer than k images are
strictly closer than d*; all of these are unlabelled. That needs one search for the nearest labelled row and one for at
most k unlabelled rows within d*, no sort of the class. How many are closer, the rank, answers for every k at once.

Direction "labelled": each labelled image lists its nearest unlabelled ones, by (distance, image_id); place 0 is the
nearest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..histogram_index import HistogramIndex

LABELLED, UNLABELLED = "labelled", "unlabelled"
_CELL_QUERIES = 4096  # below, a partition of the rows costs more than it saves
_LEAST_BLOCK, _MOST_BLOCK = 16, 1 << 14

Rows = NDArray[np.int64]
Advance = Callable[[int], None]
Save = Callable[["Neighbours"], None]


@dataclass(eq=False)
class Neighbours:
    """What the gate knows of each of the n images of a class, direction "unlabelled".

    distance: [n] float64, d* in nats; inf where there is no labelled image, and for labelled images.
    partner: [n] int64, row of the labelled image at d*, of equally near ones the first; -1: none.
    rank: [n] int32, unlabelled images strictly closer than d*, at most `cap`; -1: not counted.
    certified: [n] bool, both searches are proven exact.
    """

    distance: NDArray[np.float64]
    partner: Rows
    rank: NDArray[np.int32]
    certified: NDArray[np.bool_]
    cap: int


@dataclass(eq=False)
class Claims:
    """What each labelled image lists, direction "labelled": claimed[i] and distance[i] of row i, None for others."""

    claimed: list[Rows | None]
    distance: list[NDArray[np.float64] | None]
    certified: NDArray[np.bool_]
    cap: int


class ClassSearch:
    """Searches among groups of the rows of one class. Ties are broken by the row, and rows are in order of image_id.

    Args:
        hist: [n, D] float32 histograms.
        channels: parts of a histogram that sum to 1 each.
        weights: [C] of the channels; those with weight 0 are left out.
        block_bytes: memory for one block of queries and what is found for it.
    """

    def __init__(
        self,
        hist: NDArray[Any],
        channels: int,
        weights: NDArray[np.float64],
        *,
        exact: bool = True,
        device: str = "auto",
        num_threads: int | None = None,
        block_bytes: int = 1 << 28,
        advance: Advance = lambda n: None,
    ) -> None:
        used = weights > 0
        if not used.all() and used.any():
            n, dim = hist.shape
            hist = np.ascontiguousarray(hist.reshape(n, channels, dim // channels)[:, used].reshape(n, -1))
            weights, channels = weights[used], int(used.sum())
        self.n, self._dim = hist.shape
        self._hist, self._exact, self._threads = hist, exact, num_threads
        self._block_bytes, self._advance = block_bytes, advance
        self._device, self._channels = device, channels
        self._weights = None if (weights == weights[0]).all() else weights.tolist()
        self._groups: dict[str, HistogramIndex] = {}

    def add(self, group: str, rows: Rows, queries: int) -> None:
        """Make rows searchable; `queries`: how many will be searched for, which decides whether cells pay."""
        cells = "auto" if queries >= _CELL_QUERIES else None
        index = HistogramIndex(
            self._dim, device=self._device, channels=self._channels, weights=self._weights, cells=cells
        )
        index.add(rows, self._hist[rows])
        self._groups[group] = index

    def blocks(self, rows: Rows, k: int) -> list[Rows]:
        """Consecutive rows, as many at once as fit into the memory for a block."""
        size = self._block_bytes // (16 * self._dim + 48 * k + 256)
        size = min(max(size, _LEAST_BLOCK), _MOST_BLOCK)
        return [rows[i : i + size] for i in range(0, len(rows), size)]

    def search(self, rows: Rows, group: str, k: int, within: Any = None) -> tuple[Rows, Any, Any]:
        """ids [q, k], distances [q, k] (inf behind the last), certified [q] of the rows' neighbours in a group."""
        index = self._groups[group]
        found = index.search(
            self._hist[rows],
            k=min(k, len(index)),
            exact=self._exact,
            exclude=rows,
            within=within,
            num_threads=self._threads,
        )
        self._advance(len(rows))
        return found.ids, found.distances, found.certified


def published_weights(
    hist: NDArray[Any], channels: int, *, device: str = "auto", num_threads: int | None = None
) -> NDArray[np.float64]:
    """[C] float64 sum 1: 1 / Z_c of one class; a channel with Z_c = 0 has weight 0 unless all have, then all are equal.

    Source: Belharbi et al., deep active learning for joint classification and segmentation with weak annotator; Z_c
    is the sum of the channel's divergence over all ordered pairs of the class.
    """
    index = HistogramIndex(hist.shape[1], device=device, channels=channels, weights="published", cells=None)
    index.add(np.arange(len(hist)), hist, labels="class")
    weights = np.asarray(index.channel_weights("class"), np.float64)
    return weights / weights.sum() if weights.sum() > 0 else np.full(channels, 1 / channels)


def equal_weights(channels: int) -> NDArray[np.float64]:
    return np.full(channels, 1 / channels)


def find_neighbours(
    search: ClassSearch,
    labelled: NDArray[np.bool_],
    cap: int,
    begun: Neighbours | None = None,
    save: Save = lambda state: None,
) -> Neighbours:
    """The gate of a class, direction "unlabelled".

    Args:
        begun: what `save` was given in an earlier call with the same arguments, which did not come to its end.
        save: called between blocks of queries, with the result so far.
    """
    n = search.n
    state = begun or Neighbours(np.full(n, np.inf), np.full(n, -1), np.full(n, -1, np.int32), np.ones(n, np.bool_), cap)
    todo = np.flatnonzero(~labelled)
    if labelled.any() and len(todo):
        unknown = todo[state.partner[todo] < 0]
        if len(unknown):
            search.add(LABELLED, np.flatnonzero(labelled), len(unknown))
            _nearest(search, LABELLED, unknown, state, save)
        _count(search, todo[state.rank[todo] < 0], ~labelled, state, save)
    return state


def add_labels(
    search: ClassSearch, old: Neighbours, before: NDArray[np.bool_], now: NDArray[np.bool_], cap: int
) -> Neighbours:
    """The same as `find_neighbours` of `now`, from what it gave for `before`, a subset; for exact searches.

    Only the new labelled images are searched for d*. A rank is counted again only where d* shrank and the rank was
    not 0 already, or where it stood at an old `cap` below the new one.
    """
    state = Neighbours(old.distance.copy(), old.partner.copy(), old.rank.copy(), old.certified.copy(), cap)
    todo = np.flatnonzero(~now)
    for array, value in ((state.distance, np.inf), (state.partner, -1), (state.rank, -1), (state.certified, True)):
        array[now] = value
    new = np.flatnonzero(now & ~before)
    if len(new) and len(todo):
        search.add(LABELLED, new, len(todo))
        _nearest(search, LABELLED, todo, state)
    if not now.any():
        return state
    again = (state.distance < old.distance) & (old.rank != 0) | (old.rank < 0)
    if cap > old.cap:
        again |= old.rank >= old.cap
    again = np.flatnonzero(again & ~now)
    if cap == 0:
        state.rank[todo] = -1
    else:
        state.rank[todo] = np.minimum(state.rank[todo], cap)
        if len(again):
            _count(search, again, ~now, state)
    return state


def _nearest(search: ClassSearch, group: str, rows: Rows, state: Neighbours, save: Save = lambda state: None) -> None:
    """Lowers distance and partner of the rows to the nearest of a group; of equally near ones the first row counts."""
    for block in search.blocks(rows, 1):
        ids, distances, certified = search.search(block, group, 1)
        d, partner = distances[:, 0], np.where(np.isfinite(distances[:, 0]), ids[:, 0], -1)
        nearer = (d < state.distance[block]) | ((d == state.distance[block]) & (partner < state.partner[block]))
        nearer &= partner >= 0
        state.distance[block[nearer]], state.partner[block[nearer]] = d[nearer], partner[nearer]
        state.certified[block] &= certified
        save(state)


def _count(
    search: ClassSearch,
    rows: Rows,
    unlabelled: NDArray[np.bool_],
    state: Neighbours,
    save: Save = lambda state: None,
) -> None:
    """Fills the ranks of the rows."""
    if state.cap == 0:
        return
    state.rank[rows[state.distance[rows] == 0]] = 0  # nothing is closer than 0
    rows = rows[state.distance[rows] > 0]
    if len(rows):
        search.add(UNLABELLED, np.flatnonzero(unlabelled), len(rows))
    for block in search.blocks(rows, state.cap):
        _, distances, certified = search.search(block, UNLABELLED, state.cap, within=state.distance[block])
        state.rank[block] = np.isfinite(distances).sum(axis=1)
        state.certified[block] &= certified
        save(state)


def find_claims(
    search: ClassSearch,
    labelled: NDArray[np.bool_],
    cap: int,
    old: Claims | None = None,
    before: NDArray[np.bool_] | None = None,
) -> Claims:
    """The lists of a class, direction "labelled".

    Args:
        old, before: what this gave for fewer labels, with exact searches. A list is made again only where it has an
            image that is labelled now.
    """
    n = search.n
    claims = Claims([None] * n, [None] * n, np.ones(n, np.bool_), cap)
    todo = np.flatnonzero(labelled)
    if old is not None and before is not None and cap <= old.cap:
        again = []
        for row in todo:
            rows, distances = old.claimed[row], old.distance[row]
            if rows is None or distances is None or labelled[rows].any():
                again.append(row)
                continue
            claims.claimed[row], claims.distance[row] = rows[:cap], distances[:cap]
            claims.certified[row] = old.certified[row]
        todo = np.array(again, np.int64)
    unlabelled = np.flatnonzero(~labelled)
    if not len(unlabelled):
        for row in todo:
            claims.claimed[row], claims.distance[row] = np.empty(0, np.int64), np.empty(0)
        return claims
    if len(todo):
        search.add(UNLABELLED, unlabelled, len(todo))
    for block in search.blocks(todo, min(cap, len(unlabelled))):
        ids, distances, certified = search.search(block, UNLABELLED, cap)
        for row, i, d in zip(block, ids, distances, strict=True):
            found = np.isfinite(d)
            claims.claimed[row], claims.distance[row] = i[found], d[found]
        claims.certified[block] = certified
    return claims
