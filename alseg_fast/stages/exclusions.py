"""What must not be selected: ids from earlier batches, manifests or lists, found again in a stream."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import RunError, UsageError
from .strategies import id_hashes

# A str or Path is a file; in an iterable a Path is a file and a str is an id.
Exclude = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


_WHAT_TO_GIVE = "give a batch, a manifest or a list of ids"


class Exclusions:
    """Image ids that blocks of candidates are compared with; only rows with an equal hash are looked at."""

    def __init__(self, ids: Iterable[str], seed: int) -> None:
        self._ids = set(ids)
        self._hashes = np.sort(id_hashes(pa.array(sorted(self._ids), pa.string()), seed))
        self._met: set[str] = set()

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def unknown(self) -> int:
        """How many ids no block had so far."""
        return len(self._ids) - len(self._met)

    def keep_mask(self, ids: pa.Array, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """[n] True where the id is not excluded; `hashes` are those of `ids` with this object's seed."""
        keep = np.ones(len(hashes), bool)
        if len(self._hashes) == 0:
            return keep
        place = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        for row in np.flatnonzero(self._hashes[place] == hashes):
            name = ids[int(row)].as_py()
            if name in self._ids:
                keep[row] = False
                self._met.add(name)
        return keep


def read_exclusions(exclude: Exclude | None, seed: int) -> Exclusions:
    """The ids that a caller wants left out.

    Args:
        exclude: None; a file (str or Path); or an iterable whose Path entries are files and whose str entries
            are ids. Files: `.parquet` (a batch or a manifest), `.csv`, `.jsonl` with a column `image_id`; any
            other name is a text file with one id a line.
    Raises:
        RunError: a file is missing or cannot be read.
        UsageError: a file has no image_id, or an entry is neither str nor Path.
    """
    if exclude is None:
        return Exclusions((), seed)
    if isinstance(exclude, str | os.PathLike):
        return Exclusions(_ids_of_file(Path(exclude)), seed)
    ids: set[str] = set()
    for entry in exclude:
        if isinstance(entry, str):
            ids.add(entry)
        elif isinstance(entry, os.PathLike):
            ids.update(_ids_of_file(Path(entry)))
        else:
            raise UsageError(f"select: exclude must hold ids (str) or files (Path); got {type(entry).__name__}.")
    return Exclusions(ids, seed)


def _ids_of_file(path: Path) -> Iterator[str]:
    readers = {".parquet": _parquet_ids, ".csv": _csv_ids, ".jsonl": _jsonl_ids}
    try:
        yield from readers.get(path.suffix.lower(), _text_ids)(path)
    except FileNotFoundError as exc:
        raise RunError(f"exclude file {path} does not exist; {_WHAT_TO_GIVE}") from exc
    except (OSError, UnicodeDecodeError, pa.ArrowInvalid, csv.Error) as exc:
        raise RunError(f"cannot read exclude file {path}: {exc}; {_WHAT_TO_GIVE}") from exc


def _no_ids(path: Path, columns: Iterable[str]) -> UsageError:
    return UsageError(f"exclude file {path} has no column image_id (it has {', '.join(columns)}); add it")


def _parquet_ids(path: Path) -> Iterator[str]:
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        if "image_id" not in names:
            raise _no_ids(path, names)
        for batch in file.iter_batches(columns=["image_id"]):
            yield from (name for name in batch.column(0).cast(pa.string()).to_pylist() if name is not None)


def _csv_ids(path: Path) -> Iterator[str]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if "image_id" not in (rows.fieldnames or ()):
            raise _no_ids(path, rows.fieldnames or ("no header",))
        yield from (row["image_id"] for row in rows if row["image_id"])


def _jsonl_ids(path: Path) -> Iterator[str]:
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as exc:
                raise RunError(f"exclude file {path}, line {number} is not JSON: {exc}; correct the line") from exc
            if not isinstance(row, dict) or row.get("image_id") is None:
                raise UsageError(f"exclude file {path}, line {number} has no image_id; add it")
            yield str(row["image_id"])


def _text_ids(path: Path) -> Iterator[str]:
    with open(path, encoding="utf-8-sig") as file:
        for line in file:
            if name := line.strip("\r\n"):
                yield name
