"""The directory of a pseudo-labelling: what it was made with, its tables, and its end.

DIR/pseudo_label.json  model, pool and options
DIR/threshold.json     the threshold of the pool, see `pseudo_threshold`
DIR/masks/, weights/   <image_id>.png; DIR/mask_parts/ what is known of them, see `mask_files`
DIR/manifest.parquet   a pool: a row an image, with its mask
DIR/failures.parquet   images without a mask
DIR/summary.json       counts; DIR/overview.jpg: some of the masks
DIR/_SUCCESS           written last
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ..atomic import remove_file, write_atomic
from ..errors import RunError
from .own_directory import Kind
from .propagate_files import MASK_PARTS
from .propagate_pairs import FAILURES, MANIFEST
from .pseudo_labels import MASKS, WEIGHTS
from .pseudo_threshold import PARTS, RESULT
from .run_identity import check_same_config, clean_json, json_bytes
from .run_layout import SUCCESS, failures_schema

FORMAT = 1
INFO, SUMMARY, OVERVIEW = "pseudo_label.json", "summary.json", "overview.jpg"
_FOLDERS = {
    PARTS: re.compile(r"^part-\d{5,}\.json$"),
    MASK_PARTS: re.compile(r"^part-\d{5,}\.parquet$"),
    MASKS: re.compile(r"\.png$"),
    WEIGHTS: re.compile(r"\.png$"),
}
_FILES = (SUCCESS, MANIFEST, FAILURES, SUMMARY, OVERVIEW, RESULT)
KIND = Kind("pseudo-labelling", INFO, FORMAT, _FILES, _FOLDERS, (MASKS, WEIGHTS))
_TEXTS = pa.list_(pa.string())
# What the row of an image in a part says besides image_id, stage and error.
COLUMNS = (
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("foreground_share", pa.float64()),
    ("ignore_share", pa.float64()),
    ("reliability", pa.float64()),
    ("clipped_share", pa.float64()),
    ("flags", _TEXTS),
    ("missing", _TEXTS),
    ("truth_error", pa.string()),
    ("confusion", pa.list_(pa.int64())),
    ("confusion_free", pa.list_(pa.int64())),
)
_UNITS = {
    "mask_uri": "palette PNG of class ids, 255 = ignore; from the folder of this file",
    "weight_uri": "8-bit PNG, weight = byte * weight_step of the schema metadata",
    "foreground_share": "share of the pixels that have a class",
    "ignore_share": "share of the pixels that are 255",
    "reliability": "mean map value of the pixels that have a class, 0..1",
    "threshold": "of the map values, 0..1",
    "flags": "what is worth a look",
    "missing": "classes of the label that no pixel has",
    "failure": "why there is no mask: stage and error",
}
_PASSED_ON = ("label", "group", "frame", "split")
METADATA = b"alseg.pseudo_label"


def open_directory(root: Path, info: Mapping[str, Any], *, overwrite: bool) -> None:
    """Begin in an existing directory, or check that it is a pseudo-labelling with this model, pool and options.

    Args:
        info: {"config", "model": {"sha256", "spec"}, "classes", "pool": {"digest", ...}}.
        overwrite: delete what an earlier one left; never what is not one.
    Raises: RunError: it is something else, was made with something else, or cannot be written.
    """
    asked: dict[str, Any] = clean_json({"format": FORMAT, "measures": [], **info})
    made = KIND.made_with(root)
    if made is not None and overwrite:
        KIND.wipe(root)
    elif made is not None:
        check_same_config(root, made, asked)
        if made["pool"]["digest"] != asked["pool"]["digest"]:
            raise RunError(
                f"{root} was made from another pool ({made['pool']['images']} images, this one has "
                f"{asked['pool']['images']}); use another --out or --overwrite"
            )
    write_atomic(root / INFO, json_bytes(asked))
    remove_file(root / SUCCESS)


def is_labelling(path: Path) -> bool:
    return (path / INFO).is_file()


def read_labelling(root: Path) -> tuple[dict[str, Any], dict[str, Any] | None, pa.Table]:
    """(pseudo_label.json, summary.json or None where it is not complete, failures).

    Raises: RunError: a file cannot be read.
    """
    try:
        info = json.loads((root / INFO).read_bytes())
        if not (root / SUCCESS).exists():
            return info, None, failures_schema().empty_table()
        return info, json.loads((root / SUMMARY).read_bytes()), pq.read_table(root / FAILURES)
    except (OSError, ValueError, pa.ArrowException) as exc:
        raise RunError(f"cannot read {root}: {exc}; run alseg pseudo-label again") from exc


def manifest_schema(pool: pa.Schema, facts: Mapping[str, Any]) -> pa.Schema:
    """Schema of manifest.parquet: the pool's columns that say what is in a picture, then those of the mask."""
    known = dict(COLUMNS)
    text = pa.string()
    fields = [("image_id", text), ("uri", text)]
    fields += [(name, pool.field(name).type) for name in _PASSED_ON if name in pool.names]
    fields += [("mask_uri", text), ("weight_uri", text)]
    fields += [(name, known[name]) for name in ("width", "height", "foreground_share", "ignore_share", "reliability")]
    fields += [("threshold", pa.float64()), ("flags", _TEXTS), ("missing", _TEXTS), ("failure", text)]
    units = {name: {"unit": unit} for name, unit in _UNITS.items()}
    made = [pa.field(name, kind, metadata=units.get(name)) for name, kind in fields]
    return pa.schema(made, metadata={METADATA: json.dumps(clean_json(facts), sort_keys=True).encode()})


def write_manifest(root: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write manifest.parquet, a block of rows after another."""

    def write(file: BinaryIO) -> None:
        with pq.ParquetWriter(file, schema) as writer:
            for table in tables:
                writer.write_table(table)

    write_atomic(root / MANIFEST, write)


def manifest_rows(
    rows: pa.Table, facts: Sequence[Mapping[str, Any]], schema: pa.Schema, threshold: float, *, weights: bool
) -> pa.Table:
    """A block of manifest.parquet.

    Args:
        rows: of the pool.
        facts: what is known of each.
    """
    names = rows.column("image_id").to_pylist()
    good = [row["error"] is None for row in facts]

    def column(name: str) -> list[Any]:
        if name in ("mask_uri", "weight_uri"):
            folder = MASKS if name == "mask_uri" else WEIGHTS
            there = folder == MASKS or weights
            return [f"{folder}/{i}.png" if ok and there else None for i, ok in zip(names, good, strict=True)]
        if name == "threshold":
            return [threshold if ok else None for ok in good]
        if name == "failure":
            return [None if ok else f"{row['stage']}: {row['error']}" for row, ok in zip(facts, good, strict=True)]
        return [row[name] for row in facts]

    arrays = [
        rows.column(field.name) if field.name in rows.column_names and field.name != "mask_uri"
        else pa.array(column(field.name), field.type)
        for field in schema
    ]  # fmt: skip
    return pa.Table.from_arrays(arrays, schema=schema)


def finish_directory(root: Path, failures: list[dict[str, str]], summary: Mapping[str, Any]) -> None:
    """Write the last files, _SUCCESS at the end; the manifest is there already."""
    table = pa.Table.from_pylist(failures, schema=failures_schema())
    write_atomic(root / FAILURES, lambda file: pq.write_table(table, file))
    write_atomic(root / SUMMARY, json_bytes(summary))
    write_atomic(root / SUCCESS, b"")
