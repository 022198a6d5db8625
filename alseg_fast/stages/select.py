"""Chooses what to annotate next: one pass over the scores of a RUN, memory bounded by the budget.

The driver here reads candidates, leaves out what is excluded, and writes ranks and reasons; how to choose is
the business of a strategy (see `strategies`). Equal scores are drawn by lot with a hash of seed and image_id,
so the same seed gives the same batch whatever the parts or the order of the rows.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import RunError, UsageError
from .atomic import write_atomic
from .exclusions import Exclude, Exclusions, read_exclusions
from .run_reader import Run, open_run
from .strategies import STRATEGIES, Candidates, Picks, Request, Strategy, id_hashes

log = logging.getLogger("alseg")

UNITS = ("images",)
DEFAULT_MEASURE = "entropy_mean"
_BLOCK_ROWS = 1 << 16
_METADATA_KEY = b"alseg.select"

BATCH_SCHEMA = pa.schema(
    [
        pa.field("rank", pa.int32(), nullable=False, metadata={"unit": "1 = first to annotate"}),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("region_id", pa.int64(), metadata={"unit": "null for a whole image"}),
        pa.field("score", pa.float64(), metadata={"unit": "of the score column, see the schema metadata"}),
        pa.field("cost", pa.float64(), nullable=False, metadata={"unit": "of the budget; 1 an image"}),
        pa.field("reason", pa.string(), nullable=False),
    ]
)


def select(
    run: Run | str | os.PathLike[str],
    *,
    budget: int,
    unit: str = "images",
    strategy: str = "top",
    measure: str = DEFAULT_MEASURE,
    exclude: Exclude | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
) -> pa.Table:
    """Choose the images to annotate next.

    Args:
        run: a RUN directory or an opened one; an unfinished one is used as far as it is, with a warning.
        budget: how many images, >= 1; more than there are takes all, with a warning.
        unit: what the budget counts: "images".
        strategy: "top" (highest values of `measure`), "random", or a measure of the RUN ("entropy" is the top
            of entropy_mean, or of `measure` where that is another column of the same measure).
        measure: any numeric column of the scores. Null and NaN are never selected.
        exclude: a file (str or Path: an earlier batch, a manifest, a text list of ids), or an iterable of ids
            (str) and files (Path).
        seed: decides between equal scores, and the random draw.
        out: also write the result to this Parquet file.
    Returns: `BATCH_SCHEMA`, best first: rank from 1, image_id, uri, region_id (null), score, cost, reason.
    Raises:
        UsageError: an impossible budget, unit, strategy or measure.
        RunError: the RUN or an exclude file cannot be read, the result cannot be written.
    """
    _check_request(budget, unit, seed)
    target = _checked_target(out)
    opened = run if isinstance(run, Run) else open_run(run)
    chooser, column = _resolve(opened, strategy, measure)
    excluded = read_exclusions(exclude, seed)
    if not opened.complete:
        done = len(opened.parts_done)
        log.warning("%s is not finished: selecting from %d of %d parts", opened.path, done, opened.parts)
    request = Request(budget=float(budget), column=column, seed=seed, item=unit)
    stream = _image_candidates(opened, chooser.columns(request), excluded, seed)
    picks = chooser.pick(stream, request)
    if len(excluded):
        log.info("exclude: %d ids, %d of them not among the scored images", len(excluded), excluded.unknown)
    if picks.table.num_rows == picks.considered < budget:
        log.warning(
            "the budget of %d %s is more than the %d to choose from; all are selected",
            budget,
            unit,
            picks.considered,
        )
    facts: dict[str, str | int] = {
        "strategy": chooser.name,
        "measure": column,
        "unit": unit,
        "budget": int(budget),
        "seed": int(seed),
        "considered": picks.considered,
        "excluded": len(excluded) - excluded.unknown,
        "config_hash": opened.info["config_hash"],
    }
    batch = _batch_table(picks, facts)
    if target is not None:
        _write_batch(target, batch)
    return batch


def read_batch(path: str | os.PathLike[str]) -> pa.Table:
    """A batch as `select` wrote it; facts of the selection are in its schema metadata, see `batch_facts`.

    Raises: RunError: missing or not a batch.
    """
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except FileNotFoundError as exc:
        raise RunError(f"batch {path} does not exist; make it with alseg select") from exc
    except (OSError, pa.ArrowInvalid) as exc:
        raise RunError(f"cannot read batch {path}: {exc}; make it with alseg select") from exc
    missing = [name for name in BATCH_SCHEMA.names if name not in table.column_names]
    if missing:
        raise RunError(f"{path} is not a batch: it lacks {', '.join(missing)}; make it with alseg select")
    return table


def batch_facts(batch: pa.Table) -> dict[str, str | int]:
    """How a batch was selected; {} if it does not say.

    Keys: strategy, measure, unit, budget, seed, considered, excluded, config_hash (of the RUN).
    """
    text = (batch.schema.metadata or {}).get(_METADATA_KEY)
    return dict(json.loads(text)) if text else {}


def _check_request(budget: int, unit: str, seed: int) -> None:
    if unit not in UNITS:
        raise UsageError(f"select: unit must be one of {', '.join(UNITS)}; got {unit}.")
    if isinstance(budget, bool) or not isinstance(budget, int | np.integer) or budget < 1:
        raise UsageError(f"select: budget must be a whole number >= 1; got {budget}.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise UsageError(f"select: seed must be a whole number; got {seed}.")


def _checked_target(out: str | os.PathLike[str] | None) -> Path | None:
    if out is None:
        return None
    target = Path(out)
    if not target.parent.is_dir():
        raise RunError(f"cannot write {target}: the directory {target.parent} does not exist; make it or change --out")
    if target.is_dir():
        raise RunError(f"cannot write {target}: it is a directory; give a file name such as {target / 'batch.parquet'}")
    return target


def _resolve(run: Run, strategy: str, measure: str) -> tuple[Strategy, str]:
    """The strategy object and the score column it ranks by."""
    if strategy in STRATEGIES:
        chooser, column = STRATEGIES[strategy], measure
        if not chooser.columns(Request(1.0, column, 0, "")):
            return chooser, column
    elif strategy in run.measures:
        chooser = STRATEGIES["top"]
        column = measure if measure.startswith(f"{strategy}_") else f"{strategy}_mean"
        if column != measure and measure != DEFAULT_MEASURE:
            raise UsageError(
                f"select: measure must be a column of {strategy} with strategy {strategy}; got {measure}. "
                "Use strategy top."
            )
    else:
        known = ", ".join([*STRATEGIES, *run.measures])
        raise UsageError(f"select: strategy must be one of {known}; got {strategy}.")
    schema = run.score_schema()
    numeric = [f.name for f in schema if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)]
    if column not in numeric:
        raise UsageError(f"select: measure must be one of {', '.join(numeric)} in {run.path}; got {column}.")
    return chooser, column


def _image_candidates(run: Run, columns: Sequence[str], excluded: Exclusions, seed: int) -> Iterator[Candidates]:
    """Whole images at cost 1, in blocks large enough for vectorised work."""
    names = ["image_id", "uri", *(name for name in columns if name not in ("image_id", "uri"))]
    for table in _blocks(run.score_batches(names)):
        ids = table.column("image_id").combine_chunks()
        ties = id_hashes(ids, seed)
        keep = excluded.keep_mask(ids, ties)
        table = table.append_column("region_id", pa.nulls(len(ids), pa.int64()))
        table = table.append_column("cost", pa.array(np.ones(len(ids))))
        table = table.append_column("tie", pa.array(ties))
        yield Candidates(table if keep.all() else table.filter(pa.array(keep)))


def _blocks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= _BLOCK_ROWS:
            yield pa.Table.from_batches(waiting).combine_chunks()
            waiting, rows = [], 0
    if rows:
        yield pa.Table.from_batches(waiting).combine_chunks()


def _batch_table(picks: Picks, facts: dict[str, str | int]) -> pa.Table:
    columns = {name: picks.table.column(name) for name in picks.table.column_names}
    columns["rank"] = pa.array(np.arange(1, picks.table.num_rows + 1, dtype=np.int32))
    columns["reason"] = pa.array(list(picks.reasons), pa.string())
    arrays = [pc.cast(columns[field.name], field.type) for field in BATCH_SCHEMA]
    metadata = {_METADATA_KEY: json.dumps(facts, sort_keys=True).encode()}
    return pa.Table.from_arrays(arrays, schema=BATCH_SCHEMA.with_metadata(metadata)).combine_chunks()


def _write_batch(path: Path, batch: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(batch, sink, compression="zstd")
    write_atomic(path, sink.getvalue().to_pybytes(), advice="make room or fix the access there, or change --out")
