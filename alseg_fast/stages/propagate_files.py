"""The directory of a propagation: whose it is, what may be deleted in it, and its end.

DIR/propagate.json   format, and where the histograms come from
DIR/histograms/      histograms in parts, see `propagate_histograms`
DIR/state/           what the gate found, a file a class, see `propagate_state`
DIR/masks/           pseudo-masks <image_id>.png; DIR/mask_parts/ what is known of them, see `mask_files`
DIR/threshold.json   the estimated threshold
DIR/pairs.parquet    the pairs; manifest.parquet: a row an image; failures.parquet: images left out
DIR/summary.json     counts by class and over k
DIR/_SUCCESS         written last
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..atomic import make_directory, remove_file, remove_leftovers, write_atomic
from ..errors import RunError
from .own_directory import Kind
from .propagate_pairs import FAILURES, MANIFEST, PAIRS
from .run_identity import json_bytes
from .run_layout import SUCCESS, failures_schema

FORMAT = 1
INFO, SUMMARY, THRESHOLD = "propagate.json", "summary.json", "threshold.json"
MASKS = "masks"
MASK_PARTS = "mask_parts"
_FOLDERS = {
    "histograms": re.compile(r"^part-\d{5,}\.(parquet|npy)$"),
    "state": re.compile(r"^[0-9a-f]{24}\.parquet$"),
    MASK_PARTS: re.compile(r"^part-\d{5,}\.parquet$"),
    MASKS: re.compile(r"\.png$"),
}
_FILES = (SUCCESS, PAIRS, MANIFEST, FAILURES, SUMMARY, THRESHOLD)
KIND = Kind("propagation", INFO, FORMAT, _FILES, _FOLDERS, (MASKS,))


def open_directory(root: Path, source: Mapping[str, Any], *, overwrite: bool) -> None:
    """Begin in an existing directory, or check that it is a propagation with these histograms.

    Args:
        source: where the histograms come from, in JSON types.
        overwrite: delete what an earlier propagation left; never what is not one.
    Raises: RunError: it is something else, was made with other histograms, or cannot be written.
    """
    made = KIND.made_with(root)
    if made is not None and overwrite:
        KIND.wipe(root)
    elif made is not None and made.get("histograms") != dict(source):
        raise RunError(
            f"{root} was made with histograms {_show(made.get('histograms'))}, this command asks for {_show(source)}; "
            "use another --out or --overwrite"
        )
    write_atomic(root / INFO, json_bytes({"format": FORMAT, "histograms": dict(source)}))
    remove_file(root / SUCCESS)
    make_directory(root / "state")
    remove_leftovers(root / "state")


def _show(source: Any) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(source.items())) if isinstance(source, Mapping) else "?"


def write_table(root: Path, name: str, table: pa.Table) -> None:
    write_atomic(root / name, lambda file: pq.write_table(table, file))


def finish_directory(
    root: Path,
    pairs: pa.Table,
    manifest: pa.Table,
    failures: Sequence[Mapping[str, str]],
    summary: Mapping[str, Any],
) -> None:
    """Write the results, _SUCCESS last."""
    write_table(root, PAIRS, pairs)
    write_table(root, MANIFEST, manifest)
    write_table(root, FAILURES, pa.Table.from_pylist(list(failures), schema=failures_schema()))
    write_atomic(root / SUMMARY, json_bytes(summary))
    write_atomic(root / SUCCESS, b"")
