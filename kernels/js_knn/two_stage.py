"""The certified search in two stages, whatever finds the candidates.

1. A form (flat, cells, GPU) gives each query rows with a small computed h2, and a bound on the h2 of all other rows.
2. The divergence decides among them. A row whose h2 is above T / ln 2 cannot be among the k nearest, T being the k-th
   best distance so far: so the first k candidates are reranked, then others within that T, and the answer is proven
   where no other row can be at a distance <= T. (Not < T: a row at T with a smaller key would take its place.)
3. Of queries that are not proven, a form that can only give the nearest is asked for four times as many, as long as
   it can. All rows within T / ln 2 of what then is left are reranked, which proves the rest: one widening, however
   many candidates that takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .common import LN2, NO_KEY, Block, KnnResult

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]
Rerank = Callable[..., Floats]
Keep = Callable[[Indices, Indices], "Pairs"]

MULTIPLIER = 8  # candidates of the first round over k
WIDENING = 4
QUERIES_A_BATCH = 1024


@dataclass(frozen=True, eq=False)
class Queries:
    """hist [Q, D] float32 with scale [Q, C], the weights [C] of the search, and the embedding [Q, D] float32."""

    hist: NDArray[np.float32]
    scale: Floats
    weights: Floats
    embedded: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.hist)

    def take(self, chosen: Indices) -> Queries:
        return Queries(self.hist[chosen], self.scale[chosen], self.weights, self.embedded[chosen])


@dataclass(frozen=True, eq=False)
class Found:
    """rows [Q, m] of a block (-1: none) with their computed h2 [Q, m] (inf there); unseen [Q]: the true h2 of every
    living row that is not among them is at least this (inf: there is none); visited [Q]: rows that were compared.
    """

    rows: Indices
    h2: Floats
    unseen: Floats
    visited: Indices


@dataclass(frozen=True, eq=False)
class Pairs:
    """A query, a row of one block, and their distance, P times."""

    query: Indices
    row: Indices
    distance: Floats
    key: Indices


class Form(Protocol):
    """How one block is searched by h2."""

    block: Block
    error: float  # bound on |computed h2 - true h2|
    widest: int  # candidates it can give a query; 0: it finds all rows of a radius at once

    def nearest(self, queries: Queries, m: int, exactly: bool) -> Found:
        """About m candidates of each query; `exactly` m, those with the smallest computed h2."""

    def closer(self, queries: Queries, limit: Floats, keep: Keep) -> tuple[list[Pairs], Indices]:
        """What `keep` gives of (queries, rows) for all living rows with a true h2 <= limit[query], in pieces, from
        several threads; and the rows visited [Q].
        """


@dataclass(frozen=True, eq=False)
class Task:
    """One batch of queries, what they may not be answered with, and how many rows each wants."""

    queries: Queries
    k: int
    exclude: Indices | None
    within: Floats | None
    rerank: Rerank  # (queries, query_scale, hist, scale, weights, query [P], row [P], num_threads) -> [P]
    num_threads: int

    def take(self, chosen: Indices) -> Task:
        return Task(
            self.queries.take(chosen),
            self.k,
            None if self.exclude is None else self.exclude[chosen],
            None if self.within is None else self.within[chosen],
            self.rerank,
            self.num_threads,
        )

    def allowed(self, block: Block, query: Indices, row: Indices) -> NDArray[np.bool_]:
        """Whether each row exists, lives, and is not its query's own."""
        good = row >= 0
        if block.alive is not None:
            good = good & block.alive[row]
        return good if self.exclude is None else good & (block.key[row] != self.exclude[query])

    def measure(self, block: Block, query: Indices, row: Indices, num_threads: int) -> Pairs:
        q, b = self.queries, block
        distance = self.rerank(q.hist, q.scale, b.hist, b.scale, q.weights, query, row, num_threads)
        return Pairs(query, row, distance, np.asarray(block.key[row], np.int64))

    def limit(self) -> Floats:
        return np.full(len(self.queries), np.inf) if self.within is None else self.within


def empty_result(n_queries: int, k: int) -> KnnResult:
    counts = (np.zeros(n_queries, np.int64), np.zeros(n_queries, np.int64), np.zeros(n_queries, np.int32))
    keys, distances = np.full((n_queries, k), NO_KEY), np.full((n_queries, k), np.inf)
    return KnnResult(keys, distances, np.zeros(n_queries, np.bool_), *counts)


def best_pairs(pairs: Sequence[Pairs], k: int, limit: Floats) -> Pairs:
    """Of each query the k with the smallest (distance, key) below its limit, sorted by query."""
    query, row = (np.concatenate([getattr(p, name) for p in pairs]) for name in ("query", "row"))
    distance, key = (np.concatenate([getattr(p, name) for p in pairs]) for name in ("distance", "key"))
    good = np.flatnonzero(distance < limit[query])
    good = good[np.lexsort((key[good], distance[good], query[good]))]
    starts = np.searchsorted(query[good], query[good])  # where the query of each pair begins
    good = good[np.arange(len(good)) - starts < k]
    return Pairs(query[good], row[good], distance[good], key[good])


def worst_distance(pairs: Pairs, k: int, limit: Floats) -> Floats:
    """The k-th distance of each query, its limit where it has fewer."""
    counts = np.bincount(pairs.query, minlength=len(limit))
    worst = limit.copy()
    full = np.flatnonzero(counts >= k)
    worst[full] = pairs.distance[(np.cumsum(counts) - counts)[full] + k - 1]
    return worst


def write_pairs(result: KnnResult, chosen: Indices, pairs: Pairs) -> None:
    """Pairs of `best_pairs` as the answers of the queries `chosen`."""
    place = np.arange(len(pairs.query)) - np.searchsorted(pairs.query, pairs.query)
    result.keys[chosen], result.distances[chosen] = NO_KEY, np.inf
    result.keys[chosen[pairs.query], place] = pairs.key
    result.distances[chosen[pairs.query], place] = pairs.distance


def search_nearest(
    task: Task, forms: Sequence[Form], m: int, exactly: bool, result: KnnResult, chosen: Indices
) -> Floats:
    """First stage with m candidates: writes the answers of `chosen`, returns the k-th distance of each query."""
    n_queries = len(task.queries)
    asked = m + (task.exclude is not None)
    found = [form.nearest(task.queries, asked, exactly) for form in forms]
    every = np.arange(n_queries)[:, None]
    h2s = []
    for form, f in zip(forms, found, strict=True):
        h2s.append(np.where(task.allowed(form.block, np.broadcast_to(every, f.rows.shape), f.rows), f.h2, np.inf))
    h2, rows = np.concatenate(h2s, axis=1), np.concatenate([f.rows for f in found], axis=1)
    of_form = np.repeat(np.arange(len(forms)), [f.rows.shape[1] for f in found])
    low = np.concatenate([h - form.error for h, form in zip(h2s, forms, strict=True)], axis=1)
    unseen: Floats = np.minimum.reduce([f.unseen for f in found])
    order = np.argsort(h2, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
    usable = np.isfinite(h2)
    if exactly:
        unseen = np.minimum(unseen, np.where(usable & (rank >= m), low, np.inf).min(axis=1, initial=np.inf))
        usable &= rank < m
    pairs: list[Pairs] = []

    def measure(wanted: NDArray[np.bool_], limit: Floats) -> Floats:
        for i, form in enumerate(forms):
            query, column = np.nonzero(wanted & (of_form == i))
            pairs.append(task.measure(form.block, query, rows[query, column], task.num_threads))
        pairs[:] = [best_pairs(pairs, task.k, limit)]
        result.reranked[chosen] += wanted.sum(axis=1)
        return worst_distance(pairs[0], task.k, task.limit())

    worst = measure(usable & (rank < task.k), task.limit())
    for first, last in ((task.k, 2 * task.k), (2 * task.k, rank.shape[1])):  # what the next ones tell spares others
        others = usable & (rank >= first) & (rank < last) & (LN2 * low <= worst[:, None])
        worst = measure(others, np.minimum(task.limit(), np.nextafter(worst, np.inf)))
    write_pairs(result, chosen, pairs[0])
    result.certified[chosen] = (LN2 * unseen > worst) | np.isinf(unseen)
    visited = np.sum([f.visited for f in found], axis=0)
    result.visited[chosen] = np.maximum(result.visited[chosen], visited)
    return worst


def search_closer(task: Task, forms: Sequence[Form], worst: Floats, result: KnnResult, chosen: Indices) -> None:
    """Second stage: all rows that can be at a distance <= worst."""
    limit = np.minimum(task.limit(), np.nextafter(worst, np.inf))
    reranked, visited = np.zeros(len(limit), np.int64), np.zeros(len(limit), np.int64)
    lock = Lock()
    best: list[Pairs] = []
    for form in forms:

        def keep(query: Indices, row: Indices, block: Block = form.block) -> Pairs:
            good = task.allowed(block, query, row)
            query, row = query[good], row[good]
            with lock:
                reranked[:] += np.bincount(query, minlength=len(limit))
            return best_pairs([task.measure(block, query, row, 1)], task.k, limit)

        kept, seen = form.closer(task.queries, worst * (1 + 1e-12) / LN2, keep)
        best += kept
        visited += seen
    write_pairs(result, chosen, best_pairs(best, task.k, limit))
    result.reranked[chosen] += reranked
    result.visited[chosen] = np.maximum(result.visited[chosen], visited)
    result.certified[chosen] = True


def search_batch(task: Task, forms: Sequence[Form], candidates: int, result: KnnResult, chosen: Indices) -> None:
    """All stages for the queries `chosen`, which are those of the task."""
    m = candidates or MULTIPLIER * task.k
    worst = search_nearest(task, forms, m, candidates > 0, result, chosen)
    if candidates:
        return
    widest = min(form.widest for form in forms)
    while True:
        left = np.flatnonzero(~result.certified[chosen])
        if len(left) == 0:
            return
        task, chosen, worst = task.take(left), chosen[left], worst[left]
        result.rounds[chosen] += 1
        m *= WIDENING
        if m > widest:
            search_closer(task, forms, worst, result, chosen)
            return
        worst = search_nearest(task, forms, m, False, result, chosen)


def search(task: Task, forms: Sequence[Form], candidates: int) -> KnnResult:
    """The whole of `js_knn`, in batches of queries that bound the memory."""
    n_queries = len(task.queries)
    result = empty_result(n_queries, task.k)
    if not forms:
        result.certified[:] = True
        return result
    for first in range(0, n_queries, QUERIES_A_BATCH):
        chosen = np.arange(first, min(first + QUERIES_A_BATCH, n_queries))
        search_batch(task.take(chosen), forms, candidates, result, chosen)
    return result
