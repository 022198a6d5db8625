"""Pseudo-masks on disk: DIR/masks/<image_id>.png, and DIR/mask_parts with what is known of them.

A mask is done when a part of the same `identity` has its row and its file is there. Parts are only added.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..atomic import make_directory, remove_leftovers, write_atomic
from .propagate_files import MASK_PARTS, MASKS
from .run_layout import png_path
from .run_maps import PngFiles

log = logging.getLogger("alseg")

PART_MASKS = 64
_META = b"alseg.masks"
_PART = re.compile(r"^part-(\d{5,})\.parquet$")
_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("reliability", pa.float64()),
        ("named_share", pa.float64()),
        ("stage", pa.string()),
        ("error", pa.string()),
    ]
)

Facts = dict[str, Any]  # a row of a part


class MaskFiles:
    """The masks of one directory.

    Args:
        root: the directory of the propagation.
        identity: text that decides the masks: model, options, threshold. Masks of another one are made again.
    """

    def __init__(self, root: Path, identity: str) -> None:
        self._root, self._identity = root, identity
        self._parts = root / MASK_PARTS
        make_directory(self._parts)
        make_directory(root / MASKS)
        remove_leftovers(self._parts)
        self._files = PngFiles(root, root / MASKS)
        self._files.clean()
        self._next = 0
        self._known: dict[str, Facts] = {}
        for path in sorted(p for p in self._parts.iterdir() if _PART.match(p.name)):
            self._next = max(self._next, int(_PART.match(path.name)[1]) + 1)  # type: ignore[index]
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            table = pq.read_table(path)
            rows = table.to_pylist() if (table.schema.metadata or {}).get(_META) == self._identity.encode() else None
        except (OSError, pa.ArrowException) as exc:
            log.warning("%s is damaged, its masks are made again: %s", path, exc)
            rows = None
        if rows is None:
            path.unlink(missing_ok=True)
            return
        self._known.update((row["image_id"], row) for row in rows)

    def facts(self, image_id: str) -> Facts | None:
        """The row of an image whose mask is done or has failed; None: still to do."""
        row = self._known.get(image_id)
        if row is None or row["error"] is not None:
            return row
        return row if png_path(self._root / MASKS, image_id).is_file() else None

    def write(self, image_id: str, png: bytes) -> None:
        """Raises: DataError: the id cannot be a file name. RunError: the disk is full or cannot be written."""
        self._files.write(png_path(self._root / MASKS, image_id), image_id, png)

    def commit(self, rows: Sequence[Facts]) -> None:
        """Make the masks written so far, and these rows about them, count as done."""
        self._files.sync()
        schema = _SCHEMA.with_metadata({_META: self._identity.encode()})
        table = pa.Table.from_pylist(list(rows), schema=schema)
        write_atomic(self._parts / f"part-{self._next:05d}.parquet", lambda file: pq.write_table(table, file))
        self._next += 1
        self._known.update((row["image_id"], row) for row in rows)

    def keep_only(self, image_ids: Iterable[str]) -> None:
        """Remove every other mask, so that nobody trains on one that is out of date."""
        folder = self._root / MASKS
        keep = {os.fspath(png_path(folder, name)) for name in image_ids}
        for directory, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(directory, name)
                if name.endswith(".png") and path not in keep:
                    os.unlink(path)


def mask_columns(rows: Mapping[str, Facts]) -> dict[str, tuple[str, float | None, float]]:
    """{image_id: (mask_uri, reliability, named_share)} of the masks that are there; uris relative to DIR."""
    return {
        name: (f"{MASKS}/{name}.png", row["reliability"], row["named_share"])
        for name, row in rows.items()
        if row["error"] is None
    }
