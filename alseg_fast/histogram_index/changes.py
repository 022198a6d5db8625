"""Adding, removing and merging: from one state to the next."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.js_channel_sums import js_channel_sums
from .cells import CELLS_FROM, cell_count
from .ids import Ids
from .inputs import Label, channel_scale
from .published import inverse
from .rows import Part, Rows, Source, build_rows, merge_parts
from .settings import Settings
from .state import ClassRows, Found, State

TAIL_ROWS = CELLS_FROM
"""A block of fewer rows is the tail of its class, which later rows join."""
MOST_BLOCKS = 64
"""Blocks a class may have; one more, and all but the largest are merged: every block costs a search its own start."""
_WEIGHT_SAMPLE = 512  # rows for the weights that cells are made in; only the speed of a search depends on them


def add_rows(
    state: State, settings: Settings, ids: Ids, hist: NDArray[Any], labels: list[Label], codes: NDArray[np.int64]
) -> State:
    """The state with more rows; ids are new, everything is checked."""
    classes = dict(state.classes)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(labels)))
    for label, members in zip(labels, np.split(order, ends[:-1]), strict=True):
        if not len(members):
            continue
        source = Source([hist], [members], settings.channels, settings.dtype, stored=False)
        before = classes[label].parts if label in classes else ()
        column = ids if len(members) == len(ids) else ids.take(members)
        classes[label] = ClassRows(_appended(before, source, column, settings))
    return State(ids.kind, classes)


def _appended(parts: tuple[Part, ...], source: Source, ids: Ids, settings: Settings) -> list[Part]:
    """The parts of a class with the rows of the source: in a block of their own, or joined to the tail."""
    kept = [p for p in parts if p.count]
    tail = next((p for p in kept if len(p.rows) < TAIL_ROWS), None)
    if tail is None or len(source) >= TAIL_ROWS:
        kept.append(Part(build_rows(source, ids, settings.cells, _cell_weights(source, settings), settings.seed)))
    else:
        fresh = build_rows(source, ids, None, settings.fixed_weights(), settings.seed)
        kept = [p for p in kept if p is not tail]
        kept.append(_merged([tail], settings, fresh))
    if len(kept) > MOST_BLOCKS:
        largest = max(kept, key=lambda p: p.count)
        kept = [largest, _merged([p for p in kept if p is not largest], settings)]
    return kept


def _merged(parts: list[Part], settings: Settings, more: Rows | None = None) -> Part:
    weights = settings.fixed_weights() / settings.fixed_weights().sum()
    count = sum(p.count for p in parts) + (len(more) if more else 0)
    if settings.published and cell_count(count, settings.cells):
        living = [p.living() for p in parts]
        source = Source([p.rows.hist for p in parts], living, settings.channels, settings.dtype, stored=True)
        weights = _cell_weights(source, settings)
    return Part(merge_parts(parts, settings.cells, weights, settings.seed, more))


def _cell_weights(source: Source, settings: Settings) -> NDArray[np.float64]:
    """[C] sum 1: the weights of the embedding that cells are made in, close to those of the searches."""
    weights = settings.fixed_weights()
    if settings.published and cell_count(len(source), settings.cells):
        rng = np.random.default_rng(settings.seed)
        sample = source.take(np.sort(rng.choice(len(source), min(len(source), _WEIGHT_SAMPLE), replace=False)))
        sums = js_channel_sums("cpu", sample, channel_scale(sample, settings.channels), 0)
        if (sums > 0).all():
            weights = inverse(sums)
    return np.asarray(weights / weights.sum())


def remove_rows(state: State, found: Found) -> State:
    """The state without the rows that were found."""
    classes = dict(state.classes)
    for i in np.unique(found.place):
        label, number, part = found.parts[i]
        parts = list(classes[label].parts)
        parts[number] = part.without(found.row[found.place == i])
        classes[label] = ClassRows(parts)
    return State(state.kind, classes, state.ranks())


def merge_class(
    state: State, settings: Settings, label: Label, max_rows: int | None, *, only_sparse: bool = False
) -> State:
    """The state with the blocks of a class merged.

    Args:
        max_rows: neighbouring blocks are merged up to so many rows; None: all into one.
        only_sparse: leave blocks alone of which at least half is alive.
    """
    parts = state.classes[label].parts
    if only_sparse:
        groups = [[p] for p in parts]
        todo = [2 * p.count < len(p.rows) for p in parts]
    else:
        groups = _groups(parts, max_rows)
        todo = [len(g) > 1 or g[0].count < len(g[0].rows) or _lacks_cells(g[0], settings) for g in groups]
    if not any(todo):
        return state
    merged: list[Part] = []
    for group, needed in zip(groups, todo, strict=True):
        living = [p for p in group if p.count]
        if living:
            merged += [_merged(living, settings)] if needed else group
    classes = {**state.classes, label: ClassRows(merged)}
    return State(state.kind, classes)


def _lacks_cells(part: Part, settings: Settings) -> bool:
    return part.rows.cells is None and cell_count(len(part.rows), settings.cells) > 0


def _groups(parts: tuple[Part, ...], max_rows: int | None) -> list[list[Part]]:
    groups: list[list[Part]] = []
    room = 0
    for part in parts:
        if groups and (max_rows is None or part.count <= room):
            groups[-1].append(part)
            room -= part.count
        else:
            groups.append([part])
            room = (max_rows or 0) - part.count
    return groups
