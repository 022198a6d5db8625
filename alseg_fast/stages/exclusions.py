"""What must not be selected: ids from earlier batches, manifests or lists, found again in a stream.

An earlier batch may hold regions or pixels of images. Where regions or pixels are selected, only these parts are
left out; where whole images are, the whole image is: it would buy them again.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import RunError, UsageError
from .batch import batch_facts
from .strategies import id_hashes

# A str or Path is a file; in an iterable a Path is a file and a str is an id.
Exclude = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@dataclass
class Parts:
    """Parts of images that are left out while the rest of the image is not.

    Attributes:
        regions: image_id -> ids of regions.
        pixels: image_id -> COCO RLE strings.
        met: (image_id, region id) of those that a block of candidates had.
        met_pixels: the images of `pixels` that were among the candidates.
    """

    regions: dict[str, list[int]] = field(default_factory=dict)
    pixels: dict[str, list[str]] = field(default_factory=dict)
    met: set[tuple[str, int]] = field(default_factory=set)
    met_pixels: set[str] = field(default_factory=set)

    def keep_regions(self, image_id: str, regions: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
        """[n] True where a region of the image is not excluded; None if none is."""
        if image_id not in self.regions:
            return None
        out = np.isin(regions, np.array(self.regions[image_id], np.int64))
        self.met.update((image_id, number) for number in regions[out].tolist())
        return ~out

    def __len__(self) -> int:
        return sum(map(len, self.regions.values())) + len(self.pixels)

    @property
    def found(self) -> int:
        """How many regions, and images with pixels left out, were among the candidates."""
        return len(self.met) + len(self.met_pixels)


_WHAT_TO_GIVE = "give a batch, a manifest or a list of ids"


class Exclusions:
    """Image ids that blocks of candidates are compared with; only rows with an equal hash are looked at."""

    def __init__(self, ids: Iterable[str], seed: int, parts: Parts | None = None) -> None:
        self.parts = parts or Parts()
        self._ids = set(ids)
        self._hashes = np.sort(id_hashes(pa.array(sorted(self._ids), pa.string()), seed))
        self._met: set[str] = set()

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def met(self) -> int:
        """How many ids, regions and pixel masks were among the candidates."""
        return len(self._met) + self.parts.found

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


def read_exclusions(exclude: Exclude | None, seed: int, *, unit: str = "images", regions: object = None) -> Exclusions:
    """The ids that a caller wants left out.

    Args:
        exclude: None; a file (str or Path); or an iterable whose Path entries are files and whose str entries
            are ids. Files: `.parquet` (a batch or a manifest), `.csv`, `.jsonl` with a column `image_id`; any
            other name is a text file with one id a line.
        unit: what is selected. "images": every image that a file names is left out. "regions": of a batch's rows
            with a region_id just the region, of those with only an rle these pixels. "pixels": of both the pixels.
        regions: how the regions of the RUN were made. Region ids of a batch that says it was made from others
            mean nothing here, so the pixels of its rle are left out.
    Raises:
        RunError: a file is missing or cannot be read.
        UsageError: a file has no image_id, or an entry is neither str nor Path.
    """
    ids: set[str] = set()
    parts = Parts()
    if exclude is None:
        entries: Iterable[str | os.PathLike[str]] = ()
    elif isinstance(exclude, str | os.PathLike):
        entries = (Path(exclude),)
    else:
        entries = exclude
    for entry in entries:
        if isinstance(entry, str):
            ids.add(entry)
        elif not isinstance(entry, os.PathLike):
            raise UsageError(f"select: exclude must hold ids (str) or files (Path); got {type(entry).__name__}.")
        elif unit == "images" or Path(entry).suffix.lower() != ".parquet":
            ids.update(_ids_of_file(Path(entry)))
        else:
            with _readable(Path(entry)):
                ids.update(_parquet_parts(Path(entry), parts, unit, regions))
    return Exclusions(ids, seed, parts)


def _ids_of_file(path: Path) -> Iterator[str]:
    readers = {".parquet": _parquet_ids, ".csv": _csv_ids, ".jsonl": _jsonl_ids}
    with _readable(path):
        yield from readers.get(path.suffix.lower(), _text_ids)(path)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
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


def _parquet_parts(path: Path, parts: Parts, unit: str, regions: object) -> Iterator[str]:
    """The ids of whole images in a batch or a manifest; its regions and pixels are added to `parts`."""
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        if "image_id" not in schema.names:
            raise _no_ids(path, schema.names)
        made_from = batch_facts(schema.empty_table()).get("regions", regions)
        by_id = unit == "regions" and made_from == regions
        names = [name for name in ("image_id", "region_id", "rle") if name in schema.names]
        for batch in file.iter_batches(columns=names):
            for row in batch.to_pylist():
                image_id, region_id, rle = (row.get(name) for name in ("image_id", "region_id", "rle"))
                if image_id is None:
                    continue
                if region_id is not None and by_id:
                    parts.regions.setdefault(str(image_id), []).append(int(region_id))
                elif rle is not None:
                    parts.pixels.setdefault(str(image_id), []).append(rle)
                elif region_id is not None:
                    raise UsageError(
                        f"exclude file {path} has region {region_id} of {image_id} without an rle, so its pixels are "
                        "not known; select that batch again"
                    )
                else:
                    yield str(image_id)


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
