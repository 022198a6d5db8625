"""results.parquet: one row a round of a run, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...atomic import write_atomic
from ...errors import RunError
from ..rows import RoundRow

ADVICE = "make room or fix the access there and run the same command again"
_FIGURES = pa.map_(pa.string(), pa.float64())
SCHEMA = pa.schema(
    [
        pa.field("strategy", pa.string(), nullable=False),
        pa.field("setting", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("round", pa.int64(), nullable=False),
        pa.field("images", pa.int64(), nullable=False),
        pa.field("labelled_share", pa.float64()),
        pa.field("pixels", pa.int64(), nullable=False),
        pa.field("pixel_share", pa.float64(), nullable=False),
        pa.field("clicks", pa.float64(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("figures", _FIGURES, nullable=False),
        pa.field("pseudo_score", pa.float64()),
        pa.field("pseudo_images", pa.int64(), nullable=False),
        pa.field("error_auroc", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("step_seconds", _FIGURES, nullable=False),
    ]
)
_MAPS = ("figures", "step_seconds")


def write_rows(path: str | os.PathLike[str], rows: Iterable[RoundRow]) -> None:
    """Write results; strategies and settings keep the order they first come in, seeds and rounds ascend.

    The same rows in any order of seeds and rounds give the same bytes.

    Args:
        path: the file; its directory must exist. What stood there is replaced.
        rows: one a round of a run.
    Raises: RunError: two rows of one strategy, setting, seed and round, or the file cannot be written.
    """
    ordered = in_order(rows)
    columns = {
        name: [sorted(getattr(row, name).items()) if name in _MAPS else getattr(row, name) for row in ordered]
        for name in SCHEMA.names
    }
    table = pa.table(columns, schema=SCHEMA)
    write_atomic(Path(path), lambda file: pq.write_table(table, file, compression="zstd"), advice=ADVICE)


def read_rows(path: str | os.PathLike[str]) -> list[RoundRow]:
    """Read what `write_rows` wrote.

    Raises: RunError: there is no such file, or it is not one of results.
    """
    place = Path(path)
    if not place.is_file():
        raise RunError(f"there are no results in {place}; give the results.parquet of a simulation")
    try:
        table = pq.read_table(place)
        missing = [name for name in SCHEMA.names if name not in table.column_names]
        if missing:
            raise RunError(f"{place} is not a file of results: no column {missing[0]}; give a simulation's file")
        rows: list[dict[str, Any]] = table.select(SCHEMA.names).cast(SCHEMA).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise RunError(f"cannot read the results {place}: {error}; give the results.parquet of a simulation") from error
    return in_order(RoundRow(**{**row, **{name: dict(row[name]) for name in _MAPS}}) for row in rows)


def in_order(rows: Iterable[RoundRow]) -> list[RoundRow]:
    """Strategies and their settings in the order they first come in, seeds and rounds ascending.

    Raises: RunError: two rows are of the same strategy, setting, seed and round.
    """
    found = list(rows)
    strategies = {name: i for i, name in enumerate(dict.fromkeys(row.strategy for row in found))}
    settings = {name: i for i, name in enumerate(dict.fromkeys((row.strategy, row.setting) for row in found))}
    ordered = sorted(
        found, key=lambda row: (strategies[row.strategy], settings[row.strategy, row.setting], row.seed, row.round)
    )
    for a, b in pairwise(ordered):
        if (a.strategy, a.setting, a.seed, a.round) == (b.strategy, b.setting, b.seed, b.round):
            name = " ".join(filter(None, (a.strategy, a.setting)))
            raise RunError(
                f"results have two rows of {name}, seed {a.seed}, round {a.round}; keep one of them, each round "
                "counts once"
            )
    return ordered
