"""Searches one class of a state and names what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..errors import BackendError, DtypeError, RangeError, ShapeError
from ..kernels.js_knn import js_knn
from ..kernels.js_knn.common import NO_KEY, KnnResult
from .ids import INT, STR, Ids, take_ids
from .inputs import Label, check_count
from .rows import Part
from .state import State

_NOTHING = 2.0**-100
"""Weight of a channel that counts as nothing: the search takes positive ones, and adds multiples of 2^-60 only."""
AUTO, CPU, CUDA = DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Asked:
    """The queries of one class and what is asked of it. excluded: ids and which query each belongs to."""

    queries: NDArray[np.float32]
    scale: NDArray[np.float64]
    k: int
    candidates: int
    excluded: tuple[Ids, NDArray[np.int64]] | None
    within: NDArray[np.float64] | None
    num_threads: int

    def only(self, rows: NDArray[np.int64]) -> Asked:
        """Of some queries, ascending."""
        if len(rows) == len(self.queries):
            return self
        excluded = None
        if self.excluded is not None:
            ids, owner = self.excluded
            mine = np.flatnonzero(np.isin(owner, rows))
            excluded = ids.take(mine), np.searchsorted(rows, owner[mine])
        within = None if self.within is None else self.within[rows]
        return replace(self, queries=self.queries[rows], scale=self.scale[rows], excluded=excluded, within=within)


@dataclass(frozen=True)
class Answer:
    """Of one class: ids, distances [Q, k], certified, visited, reranked, rounds, rows [Q]."""

    ids: NDArray[Any]
    distances: NDArray[np.float64]
    certified: NDArray[np.bool_]
    visited: NDArray[np.int64]
    reranked: NDArray[np.int64]
    rounds: NDArray[np.int32]
    rows: NDArray[np.int64]

    def fill(self, at: NDArray[np.int64], part: Answer) -> None:
        """Take over the answer to the queries `at`."""
        for field in fields(self):
            getattr(self, field.name)[at] = getattr(part, field.name)


def empty_answer(kind: str | None, queries: int, k: int) -> Answer:
    """No neighbours, certified."""
    ids = np.full((queries, k), None, object) if kind == STR else np.full((queries, k), -1, np.int64)
    return Answer(
        ids,
        np.full((queries, k), np.inf),
        np.ones(queries, np.bool_),
        np.zeros(queries, np.int64),
        np.zeros(queries, np.int64),
        np.zeros(queries, np.int32),
        np.zeros(queries, np.int64),
    )


def search_class(state: State, label: Label, asked: Asked, weights: NDArray[np.float64], device: str) -> Answer:
    """The neighbours of queries within one class, by sum over channels of weights_c * JSD_c."""
    answer = empty_answer(state.kind, len(asked.queries), asked.k)
    rows = state.classes[label]
    exclude = _exclude_keys(state, label, asked)
    answer.rows[:] = rows.count - (exclude != NO_KEY)
    if rows.count == 0 or len(asked.queries) == 0:
        return answer
    # The search takes weights that sum to 1. A sum of exactly 1 leaves the distances untouched.
    total = float(weights.sum())
    total = 1.0 if abs(total - 1) < 1e-12 else total
    k = min(asked.k, rows.count)
    candidates = max(k, min(asked.candidates, rows.count)) if asked.candidates else 0
    call = (
        asked.queries,
        asked.scale,
        state.blocks(label),
        k,
        np.maximum(weights / total, _NOTHING),
        None if (exclude == NO_KEY).all() else exclude,
        # What counts is the distance as it is reported: one step more here, and the rest is cut off below.
        None if asked.within is None else np.nextafter(asked.within / total, np.inf),
        candidates,
        asked.num_threads,
    )
    found: KnnResult = js_knn(_device_for(device, call), *call)
    keys, distances = found.keys, found.distances * total
    if asked.within is not None:
        beyond = distances >= asked.within[:, None]
        keys, distances = np.where(beyond, NO_KEY, keys), np.where(beyond, np.inf, distances)
    answer.ids[:, :k] = _names(state, rows.parts, keys)
    answer.distances[:, :k] = distances
    for name in ("certified", "visited", "reranked", "rounds"):
        getattr(answer, name)[:] = getattr(found, name)
    return answer


def _device_for(device: str, call: tuple[Any, ...]) -> str:
    """The device of a call: "auto" takes the GPU where an implementation can run it there, else the CPU."""
    if device != AUTO:
        return device
    try:
        js_knn.resolve(CUDA, *call)
    except BackendError:
        return CPU
    return CUDA


def _exclude_keys(state: State, label: Label, asked: Asked) -> NDArray[np.int64]:
    """[Q] key of the row of this class that is no neighbour of the query, NO_KEY where there is none."""
    keys = np.full(len(asked.queries), NO_KEY)
    if asked.excluded is None:
        return keys
    ids, owner = asked.excluded
    for part in state.classes[label].parts:
        rows = part.find(ids)
        here = rows >= 0
        if here.any():
            keys[owner[here]] = state.keys(part)[rows[here]]
    return keys


def _names(state: State, parts: Sequence[Part], keys: NDArray[np.int64]) -> NDArray[Any]:
    """Keys as ids: int keys are the ids; a rank is looked up in the parts of the class."""
    missing = keys == NO_KEY
    if state.kind == INT:
        return np.where(missing, -1, keys)
    names = np.full(keys.shape, None, object)
    wanted = np.unique(keys[~missing])
    texts = np.full(len(wanted), None, object)
    for part in parts:
        if not part.count:
            continue
        order, ranks = part.rows.ids.order, state.keys(part)
        at = np.minimum(np.searchsorted(ranks, wanted, sorter=order), len(ranks) - 1)
        rows = order[at]
        here = ranks[rows] == wanted
        if here.any():
            texts[here] = part.rows.ids.take(rows[here]).to_numpy()
    names[~missing] = texts[np.searchsorted(wanted, keys[~missing])]
    return names


def take_exclude(function: str, exclude: Any, queries: int, kind: str | None) -> tuple[Ids, NDArray[np.int64]] | None:
    """Checked ids to leave out, with the query that each belongs to."""
    if exclude is None:
        return None
    if isinstance(exclude, (pa.Array, pa.ChunkedArray)) and exclude.null_count:
        exclude = exclude.to_pylist()
    if isinstance(exclude, (str, bytes)) or not hasattr(exclude, "__len__"):
        raise DtypeError(f"{function}: exclude must be None or one id a query; got {exclude!r}. Put it into a list.")
    if len(exclude) != queries:
        raise ShapeError(
            f"{function}: exclude must have one id a query, {queries}; got {len(exclude)}. Use None for a query "
            "that leaves out nothing."
        )
    if isinstance(exclude, (list, tuple)) or (isinstance(exclude, np.ndarray) and exclude.dtype == object):
        owner = np.array([i for i, value in enumerate(exclude) if value is not None], np.int64)
        exclude = [value for value in exclude if value is not None]
    else:
        owner = np.arange(queries)
    return take_ids(function, "exclude", exclude, kind), owner


def take_within(function: str, within: Any, queries: int) -> NDArray[np.float64] | None:
    """Checked [Q] float64 limits."""
    if within is None:
        return None
    try:
        limits = np.asarray(within, np.float64)
    except (TypeError, ValueError):
        limits = np.array(np.nan)
    if limits.shape not in ((), (queries,)) or np.isnan(limits).any():
        raise RangeError(
            f"{function}: within must be a number, or one a query ({queries}), in nats; got {within!r}. "
            "Use inf for no limit."
        )
    return np.ascontiguousarray(np.broadcast_to(limits, (queries,)))


def candidates_of(function: str, exact: bool, multiplier: Any, k: int) -> int:
    """0 for an exact search, else how many candidates are looked at."""
    checked = check_count(function, "multiplier", multiplier)
    return 0 if exact else checked * k
