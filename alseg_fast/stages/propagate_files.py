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

import contextlib
import fcntl
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..atomic import is_temp_name, make_directory, remove_file, remove_leftovers, write_atomic
from ..errors import RunError
from .propagate_pairs import FAILURES, MANIFEST, PAIRS
from .run_identity import json_bytes
from .run_layout import SUCCESS, failures_schema
from .run_wipe import wipe_tree

log = logging.getLogger("alseg")

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


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the directory, made if absent, against other processes; the lock goes with the process, however it ends.

    Raises: RunError: another process holds it, or it cannot be made.
    """
    make_directory(root)
    try:
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as exc:
        raise RunError(f"cannot open {root}: {exc.strerror or exc}; choose another --out") from exc
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise RunError(f"another process is writing to {root}; wait for it or choose another --out") from exc
        except OSError as exc:  # file systems without locks
            log.info("no lock on %s (%s): do not start two commands there at once", root, exc.strerror)
        yield
    finally:
        os.close(handle)


def open_directory(root: Path, source: Mapping[str, Any], *, overwrite: bool) -> None:
    """Begin in an existing directory, or check that it is a propagation with these histograms.

    Args:
        source: where the histograms come from, in JSON types.
        overwrite: delete what an earlier propagation left; never what is not one.
    Raises: RunError: it is something else, was made with other histograms, or cannot be written.
    """
    path = root / INFO
    try:
        names = [name for name in os.listdir(root) if not is_temp_name(name)]
        made = json.loads(path.read_bytes()) if path.exists() else None
    except (OSError, ValueError) as exc:
        raise RunError(f"cannot read {path}: {exc}; choose another --out") from exc
    if made is None and names:
        raise RunError(f"{root} is not empty and no propagation (it has no {INFO}); choose another --out")
    if made is not None and (not isinstance(made, dict) or made.get("format") != FORMAT):
        raise RunError(f"{path} is of another version of alseg-fast; choose another --out")
    remove_leftovers(root)
    if made is not None and overwrite:
        _wipe(root)
    elif made is not None and made.get("histograms") != dict(source):
        raise RunError(
            f"{root} was made with histograms {_show(made.get('histograms'))}, this command asks for {_show(source)}; "
            "use another --out or --overwrite"
        )
    write_atomic(path, json_bytes({"format": FORMAT, "histograms": dict(source)}))
    remove_file(root / SUCCESS)
    make_directory(root / "state")
    remove_leftovers(root / "state")


def _show(source: Any) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(source.items())) if isinstance(source, Mapping) else "?"


def _wipe(root: Path) -> None:
    try:
        for name in _FILES:
            (root / name).unlink(missing_ok=True)
        for name, pattern in _FOLDERS.items():
            wipe_tree(root / name, pattern, deep=name == MASKS)
    except OSError as exc:
        raise RunError(f"cannot overwrite {root}: {exc}; choose another --out") from exc


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
