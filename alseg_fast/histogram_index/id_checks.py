"""Whether ids may be added or are there to be removed and read."""

from __future__ import annotations

import numpy as np

from ..errors import RangeError
from .ids import INT, Ids
from .state import Found, State


def name_id(column: Ids, row: int) -> str:
    """The id of a row for a message."""
    value = column.to_numpy()[row]
    return repr(int(value) if column.kind == INT else value)


def check_new(name: str, column: Ids, state: State) -> None:
    """Raises: RangeError: an id is given twice or is in the index."""
    repeated = column.first_repeated()
    if repeated is not None:
        again = name_id(column, repeated)
        raise RangeError(f"{name}: ids must be distinct; got {again} again in row {repeated}. Name each row once.")
    present = np.flatnonzero(state.find(column).place >= 0)
    if len(present):
        there = name_id(column, int(present[0]))
        raise RangeError(
            f"{name}: ids must be new; got {there} in row {present[0]}, which is in the index. "
            "Remove it first, or leave the row out."
        )


def check_found(name: str, column: Ids, found: Found) -> None:
    """Raises: RangeError: an id is not in the index."""
    missing = found.missing()
    if len(missing):
        raise RangeError(
            f"{name}: ids must be in the index; got {name_id(column, int(missing[0]))} in row {missing[0]}. "
            "Leave out what was never added or is removed already."
        )
