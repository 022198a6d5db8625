"""What every reader needs: folders and lists that are there, readable and free of duplicates, or an error."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ....checks import check_choice
from ....errors import PoolError, UsageError
from ..dataset import Dataset, Sample

log = logging.getLogger("alseg")

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
BROKEN = ("error", "skip")
_DIGITS = re.compile(r"(\d+)")


def need_folder(path: Path, what: str, remedy: str) -> Path:
    """The folder itself. Raises: PoolError if there is none."""
    if not path.is_dir():
        raise PoolError(f"{what} is missing, {path}; {remedy}")
    return path


def read_text(path: Path, what: str, remedy: str) -> str:
    """A text file as UTF-8 (a byte order mark is dropped). Raises: PoolError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as exc:
        raise PoolError(f"{what} is missing, {path}; {remedy}") from exc
    except (OSError, UnicodeError) as exc:
        raise PoolError(f"{what} cannot be read, {path}: {exc}; {remedy}") from exc


def read_fields(path: Path, what: str, n: int, remedy: str) -> list[list[str]]:
    """Rows of blank-separated text, empty lines dropped; the last of n fields keeps its blanks. Raises: PoolError."""
    rows = [line.split(maxsplit=n - 1) for line in read_text(path, what, remedy).splitlines() if line.strip()]
    for number, row in enumerate(rows, 1):
        if len(row) != n:
            raise PoolError(f"{what} needs {n} fields a line, line {number} has {len(row)}, {path}; {remedy}")
    return rows


def read_csv(path: Path, what: str, remedy: str) -> list[dict[str, str]]:
    """Rows of a table with a header; blanks around names and values are dropped. Raises: PoolError."""
    lines = list(csv.reader(io.StringIO(read_text(path, what, remedy), newline="")))
    lines = [[cell.strip() for cell in line] for line in lines if any(cell.strip() for cell in line)]
    if not lines:
        raise PoolError(f"{what} is empty, {path}; {remedy}")
    header, *rows = lines
    for number, row in enumerate(rows, 2):
        if len(row) < len(header):
            raise PoolError(f"{what}: row {number} has {len(row)} of {len(header)} columns, {path}; {remedy}")
    return [dict(zip(header, row, strict=False)) for row in rows]


def pictures_in(folder: Path, suffixes: Sequence[str] = PICTURES) -> list[Path]:
    """Picture files of a folder by their names, numbers in them counted (2 before 10)."""
    found = (p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
    return sorted(found, key=lambda p: natural_key(p.name))


def pictures_below(folder: Path, suffixes: Sequence[str] = PICTURES) -> list[Path]:
    """Picture files of a folder and the folders below it."""
    found = [
        Path(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(tuple(suffixes)) and not name.startswith(".")
    ]
    return sorted(found, key=lambda p: natural_key(p.relative_to(folder).as_posix()))


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts numbers inside names by their value."""
    return tuple((0, int(p), p) if p.isdigit() and p.isascii() else (1, 0, p) for p in _DIGITS.split(name))


def checked(dataset: Dataset, root: Path, remedy: str) -> Dataset:
    """The data set itself. Raises: PoolError: no sample, an id twice."""
    if not dataset.samples:
        raise PoolError(f"no images of {dataset.name} found, {root}; {remedy}")
    seen: set[str] = set()
    for sample in dataset.samples:
        if sample.image_id in seen:
            raise PoolError(f"image_id {sample.image_id!r} occurs twice in {dataset.name}, {root}; remove one")
        seen.add(sample.image_id)
    return dataset


def keep_found(samples: Iterable[Sample], root: Path, broken: str, remedy: str) -> tuple[Sample, ...]:
    """Samples whose picture and mask exist; the others are an error, or left out and counted in the log.

    Args:
        broken: "error" or "skip".
    Raises: PoolError: a listed file is missing.
    """
    check_choice("read_dataset", "broken", broken, BROKEN)
    kept, missing = [], []
    for sample in samples:
        lost = [p for p in (sample.image, sample.mask) if p is not None and not p.is_file()]
        if lost:
            missing.append(lost[0])
        else:
            kept.append(sample)
    if missing and broken == "error":
        raise PoolError(
            f"{len(missing):,} listed files are missing, the first is {missing[0]}; {remedy}, or pass broken=skip to "
            "leave these images out"
        )
    if missing:
        log.warning("%s: %d images left out, their files are missing, the first is %s", root, len(missing), missing[0])
    return tuple(kept)


def index_of(name: str, names: Sequence[str], what: str) -> int:
    """Position of a name. Raises: PoolError."""
    try:
        return list(names).index(name)
    except ValueError:
        raise PoolError(f"{what} {name!r} is unknown; known are {', '.join(names)}") from None


def check_share(name: str, value: float) -> float:
    """A share of the images, 0 <= value < 1. Raises: UsageError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise UsageError(f"read_dataset: {name} must be in 0 <= {name} < 1; got {value!r}. Give the share of images.")
    return float(value)
