"""What the gate found in a class, kept in a file, so that the next run only adds what new labels change.

DIR/state/<digest of the class name>.parquet: one row an image of the class, in order of image_id.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..atomic import write_atomic
from .propagate_gate import Claims, Neighbours

log = logging.getLogger("alseg")

FOLDER = "state"
_META = b"alseg.propagate"
_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("labelled", pa.bool_()),
        ("distance", pa.float64()),
        ("partner", pa.int64()),
        ("rank", pa.int32()),
        ("certified", pa.bool_()),
        ("claimed", pa.list_(pa.int64())),
        ("claimed_distance", pa.list_(pa.float64())),
    ]
)


@dataclass(eq=False)
class ClassState:
    """The gate's result of one class and what it holds for.

    members: digest of ids and histograms (`members_digest`).
    how: what else decides the result: direction, weights, exact.
    channel_weights: [C] as they were used.
    found: Neighbours or Claims, by the direction.
    complete: False: only a part of the class was searched when this was written.
    """

    name: str
    members: str
    how: dict[str, Any]
    channel_weights: NDArray[np.float64]
    labelled: NDArray[np.bool_]
    found: Neighbours | Claims
    complete: bool = True


def members_digest(ids: Sequence[str], hist: NDArray[Any]) -> str:
    """Of the ids in order and of the bytes of their histograms."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update("\0".join(ids).encode("utf-8", "surrogatepass"))
    digest.update(str(hist.shape).encode())
    digest.update(np.ascontiguousarray(hist).data)
    return digest.hexdigest()


def state_path(root: Path, name: str) -> Path:
    return root / FOLDER / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.parquet"


def write_state(root: Path, state: ClassState, ids: Sequence[str]) -> None:
    found, n = state.found, len(ids)
    columns: dict[str, Any] = {"image_id": list(ids), "labelled": state.labelled, "certified": found.certified}
    if isinstance(found, Neighbours):
        columns |= {"distance": found.distance, "partner": found.partner, "rank": found.rank}
        columns |= {"claimed": [None] * n, "claimed_distance": [None] * n}
    else:
        columns |= {"distance": [None] * n, "partner": [None] * n, "rank": [None] * n}
        columns |= {"claimed": found.claimed, "claimed_distance": found.distance}
    facts = {
        "class": state.name,
        "members": state.members,
        "how": state.how,
        "channel_weights": [w.hex() for w in state.channel_weights.tolist()],
        "cap": found.cap,
        "complete": state.complete,
    }
    schema = _SCHEMA.with_metadata({_META: json.dumps(facts, sort_keys=True).encode()})
    table = pa.table([pa.array(columns[f.name], f.type) for f in schema], schema=schema)
    write_atomic(state_path(root, state.name), lambda file: pq.write_table(table, file))


def read_state(root: Path, name: str) -> ClassState | None:
    """The state of a class; None if there is none or it is damaged."""
    path = state_path(root, name)
    try:
        with pq.ParquetFile(path) as file:
            facts = json.loads(file.schema_arrow.metadata[_META])
            table = file.read(use_threads=False)
        if facts["class"] != name:
            return None
        column = {n: table.column(n).to_numpy() for n in ("labelled", "certified")}
        labelled, certified = column["labelled"].astype(np.bool_), column["certified"].astype(np.bool_)
        found: Neighbours | Claims
        if facts["how"]["direction"] == "unlabelled":
            distance, partner, rank = (np.array(table.column(n).to_numpy()) for n in ("distance", "partner", "rank"))
            found = Neighbours(distance, partner, rank, certified, int(facts["cap"]))
        else:
            lists = [table.column(n).to_pylist() for n in ("claimed", "claimed_distance")]
            claimed = [None if a is None else np.array(a, np.int64) for a in lists[0]]
            distances = [None if a is None else np.array(a, np.float64) for a in lists[1]]
            found = Claims(claimed, distances, certified, int(facts["cap"]))
        weights = np.array([float.fromhex(w) for w in facts["channel_weights"]])
        return ClassState(name, facts["members"], facts["how"], weights, labelled, found, bool(facts["complete"]))
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as exc:
        log.warning("%s is damaged and is made again: %s", path, exc)
        return None


def remove_other_states(root: Path, names: Sequence[str]) -> None:
    """Remove the states of classes that the pool no longer has."""
    keep = {state_path(root, name).name for name in names}
    for path in (root / FOLDER).glob("*.parquet"):
        if path.name not in keep:
            path.unlink(missing_ok=True)
