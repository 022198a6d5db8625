"""A saved index: a directory of immutable segment files and index.json, whose replacement is the commit.

index.json      format, version, token of this save, settings, id kind, the user's info, classes with their segments
                (files with sizes and CRC-32), file of the removed rows
rows-*.arrow, cells-*.arrow    see segments.py
removed-*.arrow                segment (number in index.json, counted over all classes) and row of each removed row

Files that index.json does not name are left-overs of an interrupted save; the next one removes them.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from .. import __version__
from ..atomic import is_temp_name, make_directory, remove_leftovers, sync_directory, write_atomic
from ..errors import IndexFileError
from .ids import INT, STR
from .inputs import Label
from .rows import Part, Rows
from .segments import File, Segment, damaged, flat, read_segment, read_table, token, write_segment, write_table
from .settings import Settings
from .state import ClassRows, State

FORMAT = "alseg-histogram-index"
VERSION = 1
INDEX_JSON = "index.json"
LOCK = ".lock"
FAILURES = "failures.parquet"  # of the command line: images without a histogram
_SEGMENT_NAME = re.compile(r"^(rows|cells|removed)-[0-9a-f]{16}\.arrow$")
_ATTEMPTS = 5  # a reader that meets a save in between starts again


@dataclass(frozen=True)
class Home:
    """Where an index was saved or loaded last: the token of that save, and the files of each block."""

    path: str
    token: str
    segments: WeakKeyDictionary[Rows, Segment]  # must not keep blocks that were merged into others


def is_index(path: str | os.PathLike[str]) -> bool:
    """Whether a directory holds a saved index, of any version."""
    try:
        return _read_json(Path(path)).get("format") == FORMAT
    except (IndexFileError, OSError):
        return False


def save_index(
    path: str | os.PathLike[str], settings: Settings, state: State, home: Home | None, info: Mapping[str, Any]
) -> Home:
    """Write what is not there yet, then replace index.json, then remove what it no longer names."""
    directory = Path(path)
    real = os.path.realpath(directory)
    make_directory(directory)
    try:
        described = json.dumps(dict(info), allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise IndexFileError(f"info cannot be saved as JSON, {directory}: {exc}; use text, numbers and lists") from exc
    _check_directory(directory)  # before the lock leaves a file in a foreign directory
    with _only_writer(directory):
        before = _check_directory(directory)
        known: Mapping[Rows, Segment] = {}
        if home is not None and home.path == real and before is not None:
            if before.get("token") != home.token:
                raise IndexFileError(
                    f"{directory} was changed by another process since it was loaded; "
                    "load it again and repeat the change"
                )
            known = {rows: s for rows, s in home.segments.items() if all(_is_there(directory, f) for f in s.files())}
        segments: dict[Rows, Segment] = {}
        removed_segment: list[np.ndarray[Any, Any]] = []
        removed_row: list[np.ndarray[Any, Any]] = []
        classes = []
        for label, rows in state.classes.items():
            listed = []
            for part in rows.parts:
                segment = known.get(part.rows) or write_segment(directory, part.rows)
                if part.alive is not None:
                    dead = np.flatnonzero(~part.alive)
                    removed_segment.append(np.full(len(dead), len(segments), np.int64))
                    removed_row.append(dead)
                segments[part.rows] = segment
                listed.append({"rows": len(part.rows), "alive": part.count, **_segment_json(segment)})
            classes.append({"label": label, "segments": listed})
        removed = None
        if removed_row:
            columns = {"segment": flat(np.concatenate(removed_segment)), "row": flat(np.concatenate(removed_row))}
            removed = write_table(directory, f"removed-{token()}.arrow", columns, {})
        mark = token()
        described_index = {
            "format": FORMAT,
            "version": VERSION,
            "token": mark,
            "alseg_fast": __version__,
            "rows": len(state),
            "id_kind": state.kind,
            "settings": settings.to_json(),
            "info": json.loads(described),
            "classes": classes,
            "removed": removed.to_json() if removed else None,
        }
        text = json.dumps(described_index, indent=1, ensure_ascii=False).encode()
        write_atomic(directory / INDEX_JSON, text, advice="make room or fix the access there and save again")
        named = {f.name for s in segments.values() for f in s.files()} | ({removed.name} if removed else set())
        _remove_unnamed(directory, named)
    return Home(real, mark, WeakKeyDictionary(segments))


def load_index(
    path: str | os.PathLike[str], *, mmap: bool, verify: bool
) -> tuple[Settings, State, Home, dict[str, Any]]:
    """What save_index wrote."""
    directory = Path(path)
    for attempt in range(_ATTEMPTS):
        facts = _read_json(directory)
        try:
            return _load(directory, facts, mmap=mmap, verify=verify)
        except FileNotFoundError as exc:
            replaced = _read_json(directory).get("token") != facts.get("token")
            if not replaced or attempt == _ATTEMPTS - 1:
                raise IndexFileError(
                    f"{exc.filename or directory} is missing; copy the index again, or build it again"
                ) from exc
    raise AssertionError("unreachable")


def _load(
    directory: Path, facts: dict[str, Any], *, mmap: bool, verify: bool
) -> tuple[Settings, State, Home, dict[str, Any]]:
    where = directory / INDEX_JSON
    try:
        settings = Settings.from_json(facts["settings"])
        kind = facts["id_kind"]
        classes = [(c["label"], [(int(s["rows"]), _segment_of(s)) for s in c["segments"]]) for c in facts["classes"]]
        removed = _file_of(facts["removed"]) if facts["removed"] else None
        info = dict(facts["info"])
        mark = str(facts["token"])
        if kind not in (INT, STR, None) or not all(_is_label(label) for label, _ in classes):
            raise ValueError("unknown kind of ids or labels")
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise damaged(where, f"{type(exc).__name__}: {exc}") from exc
    loaded: list[tuple[Label, Rows]] = []
    segments: dict[Rows, Segment] = {}
    for label, listed in classes:
        for count, segment in listed:
            rows = read_segment(directory, segment, count, kind, settings, mmap=mmap, verify=verify)
            loaded.append((label, rows))
            segments[rows] = segment
    alive = _read_removed(directory, removed, [len(rows) for _, rows in loaded], verify=verify)
    parts: dict[Label, list[Part]] = {label: [] for label, _ in classes}
    for number, (label, rows) in enumerate(loaded):
        parts[label].append(Part(rows, alive.get(number)))
    state = State(kind, {label: ClassRows(p) for label, p in parts.items()})
    return settings, state, Home(os.path.realpath(directory), mark, WeakKeyDictionary(segments)), info


def _read_removed(directory: Path, file: File | None, sizes: list[int], *, verify: bool) -> dict[int, Any]:
    """Masks of the rows that are alive, by number of the segment."""
    if file is None:
        return {}
    path = directory / file.name
    batch = read_table(directory, file, mmap=False, verify=verify)
    if batch.schema.names != ["segment", "row"]:
        raise damaged(path, "columns segment, row expected")
    segment, row = (np.asarray(batch.column(name)) for name in ("segment", "row"))
    masks: dict[int, Any] = {}
    for number in np.unique(segment).tolist():
        dead = row[segment == number]
        if not 0 <= number < len(sizes) or dead.min() < 0 or dead.max() >= sizes[number]:
            raise damaged(path, "it names rows that do not exist")
        masks[number] = np.ones(sizes[number], np.bool_)
        masks[number][dead] = False
    return masks


@contextmanager
def _only_writer(directory: Path) -> Iterator[None]:
    """Holds the lock of the directory; the system lets go of it when the process ends, however it ends."""
    handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise IndexFileError(f"another process is writing to {directory}; wait for it and try again") from exc
        yield
    finally:
        os.close(handle)


def _check_directory(directory: Path) -> dict[str, Any] | None:
    """index.json of the directory, None where there is none yet.

    Raises: IndexFileError: the directory holds something that is no index.
    """
    if (directory / INDEX_JSON).exists():
        return _read_json(directory)
    strange = [name for name in sorted(os.listdir(directory)) if not _is_ours(name)]
    if strange:
        raise IndexFileError(
            f"{directory} is not empty and no index (it has {', '.join(strange[:3])}); choose a new directory"
        )
    return None


def _is_ours(name: str) -> bool:
    return name in (LOCK, FAILURES) or _SEGMENT_NAME.match(name) is not None or is_temp_name(name)


def _is_there(directory: Path, file: File) -> bool:
    try:
        return (directory / file.name).stat().st_size == file.bytes
    except OSError:
        return False


def _remove_unnamed(directory: Path, named: set[str]) -> None:
    remove_leftovers(directory)
    for name in os.listdir(directory):
        if _SEGMENT_NAME.match(name) and name not in named:
            # Readers that have it open keep it; one that is about to open it starts again.
            with suppress(FileNotFoundError):
                os.unlink(directory / name)
    sync_directory(directory)


def _read_json(directory: Path) -> dict[str, Any]:
    path = directory / INDEX_JSON
    try:
        facts = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as exc:
        what = "is not an index: it has no index.json" if directory.is_dir() else "does not exist or is no directory"
        raise IndexFileError(f"{directory} {what}; give what HistogramIndex.save or alseg index build wrote") from exc
    except (OSError, ValueError, RecursionError) as exc:
        raise damaged(path, " ".join(str(exc).split())) from exc
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise IndexFileError(f"{path} does not describe a histogram index; give the directory of one")
    version = facts.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise IndexFileError(
            f"{path} has version {version}, this alseg-fast reads up to {VERSION}; install a newer alseg-fast"
        )
    return facts


def _segment_json(segment: Segment) -> dict[str, Any]:
    return {"file": segment.rows.to_json(), "cells": segment.cells.to_json() if segment.cells else None}


def _segment_of(facts: Mapping[str, Any]) -> Segment:
    return Segment(_file_of(facts["file"]), _file_of(facts["cells"]) if facts["cells"] else None)


def _file_of(facts: Mapping[str, Any]) -> File:
    name = str(facts["name"])
    if not _SEGMENT_NAME.match(name):  # a name from outside must not lead out of the directory
        raise ValueError(f"file name {name!r}")
    return File(name, int(facts["bytes"]), int(facts["crc32"]))


def _is_label(label: object) -> bool:
    return label is None or (isinstance(label, (int, str)) and not isinstance(label, bool))
