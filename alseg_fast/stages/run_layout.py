"""What a RUN directory looks like: names, schemas, units, and the cheap test whether a part is whole."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import DataError, RunError
from ..types import NO_REGIONS

FORMAT = 1
RUN_JSON = "run.json"
POOL_ARROW = "pool.arrow"
SUCCESS = "_SUCCESS"
SCORES = "scores"
REGIONS = "regions"
FAILURES = "failures"
TIMINGS = "timings"
MAPS = "maps"
LABELS = "labels"
HISTOGRAM = "histogram"  # column of the scores
MAPS_TEMP = ".tmp"  # under maps/: one place to look for left-overs, whatever the size of the pool
PART_KINDS = (SCORES, REGIONS, FAILURES)
FAILURE_STAGES = ("fetch", "decode", "infer", "score", "write")

_BOX = {"x": "left edge of the box", "y": "top edge of the box", "w": "width of the box", "h": "height of the box"}
_PART_NAME = re.compile(r"^part-(\d{5,})\.parquet$")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_BARE_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:/")
_PARQUET_MAGIC = b"PAR1"
_MEASURE_UNITS = {
    "entropy": "nats",
    "expected_entropy": "nats",
    "mutual_information": "nats",
    "variance": "squared probability",
    "margin": "1 (0..1)",
    "least_confidence": "1 (0..1)",
    "variation_ratio": "1 (0..1)",
}


def measure_unit(measure: str) -> str:
    """Unit of a measure as text; ``"1"`` for one this version does not know."""
    return _MEASURE_UNITS.get(measure, "1")


def scores_schema(measures: Sequence[str], extra: Sequence[pa.Field] = ()) -> pa.Schema:
    """Schema of a scores part.

    `class_fraction` and every `class_<measure>` have one entry a class; a `class_<measure>` entry is null
    where no pixel is predicted as the class. Each field carries its unit as metadata.
    """

    def field(name: str, kind: pa.DataType, unit: str, nullable: bool = True) -> pa.Field:
        return pa.field(name, kind, nullable=nullable, metadata={"unit": unit})

    fields = [
        field("image_id", pa.string(), "identifier", nullable=False),
        field("uri", pa.string(), "location", nullable=False),
        field("width", pa.int32(), "pixels"),
        field("height", pa.int32(), "pixels"),
    ]
    for measure in measures:
        unit = measure_unit(measure)
        fields.append(field(f"{measure}_mean", pa.float32(), f"{unit}, mean over the image"))
        fields.append(field(f"{measure}_max", pa.float32(), f"{unit}, maximum over the image"))
        fields.append(field(f"{measure}_top", pa.float32(), f"{unit}, mean of the highest 5 % of pixels"))
    fields.append(field("predicted_label", pa.int32(), "class id with the largest class_fraction"))
    fields.append(field("class_fraction", pa.list_(pa.float32()), "fraction of pixels predicted as each class"))
    for measure in measures:
        unit = f"{measure_unit(measure)}, mean over the pixels predicted as each class"
        fields.append(field(f"class_{measure}", pa.list_(pa.float32()), unit))
    fields.append(field("phash", pa.uint64(), "perceptual hash, 64 bits"))
    return pa.schema([*fields, *extra])


def published_field(name: str) -> pa.Field:
    """A column of scores as a published program computes them."""
    return pa.field(name, pa.float32(), metadata={"unit": "as published, of the image"})


def histogram_field(spec: str, dim: int, dtype: str) -> pa.Field:
    """The column `histogram` of the scores: [dim] "float16" or "float32" an image; see ``alseg.color_histogram``."""
    kind = pa.list_(pa.float16() if dtype == "float16" else pa.float32(), dim)
    unit = f"share of the pixels in each bin, {spec}"
    return pa.field(HISTOGRAM, kind, nullable=False, metadata={"unit": unit})


def regions_schema(measures: Sequence[str], *, crf: bool = False) -> pa.Schema:
    """Schema of a regions part: one row a region, in pool order, then by region_id. Pixels are the image's own.

    `class_fraction` has one entry a class. With `crf`, the class and the entropy of the region's class
    probabilities after the mean field over neighbouring regions.
    """

    def field(name: str, kind: pa.DataType, unit: str) -> pa.Field:
        return pa.field(name, kind, nullable=False, metadata={"unit": unit})

    fields = [
        field("image_id", pa.string(), "identifier"),
        field("region_id", pa.int64(), "0, 1, ... within the image"),
        *(field(name, pa.int32(), f"pixels, {what}") for name, what in _BOX.items()),
        field("area", pa.int64(), "pixels"),
        field("class", pa.int32(), "class id with the largest class_fraction"),
    ]
    for measure in measures:
        unit = measure_unit(measure)
        fields.append(field(f"{measure}_mean", pa.float32(), f"{unit}, mean over the region"))
        fields.append(field(f"{measure}_sum", pa.float64(), f"{unit}, sum over the region"))
    fields.append(field("class_fraction", pa.list_(pa.float32()), "fraction of the region predicted as each class"))
    fields.append(field("cost_clicks", pa.float32(), "clicks to annotate it"))
    fields.append(field("cost_seconds", pa.float32(), "seconds to annotate it"))
    if crf:
        fields.append(field("crf_class", pa.int32(), "class id with the highest probability after the region CRF"))
        fields.append(field("crf_entropy", pa.float32(), "nats, of the class probabilities after the region CRF"))
    fields.append(field("rle", pa.string(), "COCO compressed RLE over the whole image"))
    return pa.schema(fields)


def regions_of(info: Mapping[str, Any]) -> pa.Schema | None:
    """Schema of the regions of the RUN that a run.json describes, or None if it was scored without."""
    config = info["config"]
    if config.get("regions", NO_REGIONS) == NO_REGIONS:
        return None
    return regions_schema(info["measures"], crf=bool(config.get("crf")))


def failures_schema() -> pa.Schema:
    """Schema of a failures part: why an image has no row in `scores`."""
    return pa.schema([pa.field(name, pa.string()) for name in ("image_id", "uri", "stage", "error")])


def units_of(schema: pa.Schema) -> dict[str, str]:
    """{column: unit text} of the fields that carry a unit."""
    return {f.name: f.metadata[b"unit"].decode() for f in schema if f.metadata and b"unit" in f.metadata}


def part_path(run: Path, kind: str, index: int) -> Path:
    """RUN/<kind>/part-NNNNN.parquet."""
    return run / kind / f"part-{index:05d}.parquet"


def list_parts(run: Path, kind: str) -> list[int]:
    """Indices of the parts of one kind that exist, ascending; whole or not."""
    try:
        names = os.listdir(run / kind)
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise RunError(f"cannot list {run / kind}: {exc.strerror or exc}; check the access to the RUN") from exc
    return sorted(int(match[1]) for name in names if (match := _PART_NAME.match(name)))


def is_whole(part: Path) -> bool | None:
    """Whether a Parquet file has its head and its end: None if absent, False if cut or zeroed.

    Two reads of a few bytes; enough to notice what a power cut or a full disk leaves behind.
    """
    try:
        with open(part, "rb") as file:
            head = file.read(4)
            size = file.seek(0, os.SEEK_END)
            if size < 12:
                return False
            file.seek(size - 8)
            tail = file.read(8)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise RunError(f"cannot read {part}: {exc.strerror or exc}; check the access to the RUN") from exc
    footer = int.from_bytes(tail[:4], "little")
    return head == _PARQUET_MAGIC and tail[4:] == _PARQUET_MAGIC and 0 < footer <= size - 12


def map_path(run: Path, measure: str, image_id: str) -> Path:
    """RUN/maps/<measure>/<image_id>.png, see `png_path`."""
    return png_path(run / MAPS / measure, image_id)


def png_path(directory: Path, image_id: str) -> Path:
    """DIR/<image_id>.png; sub-directories of the id become directories.

    An id that is a URL keeps its scheme as a directory name.
    Raises: DataError: the id would leave the directory, or two different ids could share one file.
    """
    rest = _SCHEME.sub("", image_id)
    parts = rest.split("/")
    if (
        any(part in ("", ".", "..") for part in parts)
        or "\0" in image_id
        or (rest == image_id and _BARE_SCHEME.match(image_id))
    ):
        raise DataError(f"image_id {image_id!r} cannot name a map file; use ids without empty, '.' or '..' parts")
    return directory / f"{image_id}.png"
