"""Pseudo-masks on disk: DIR/masks/<image_id>.png, perhaps beside further folders of such files, and DIR/mask_parts with
what is known of them.

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
PROPAGATED = (("reliability", pa.float64()), ("named_share", pa.float64()))

Facts = dict[str, Any]  # a row of a part


class MaskFiles:
    """The masks of one directory.

    Args:
        root: the directory of the propagation.
        identity: text that decides the masks: model, options, threshold. Masks of another one are made again.
        columns: what is known of a mask besides its image and why it failed.
        folders: of the files that an image has.
    """

    def __init__(
        self,
        root: Path,
        identity: str,
        columns: Sequence[tuple[str, pa.DataType]] = PROPAGATED,
        folders: Sequence[str] = (MASKS,),
    ) -> None:
        self._root, self._identity = root, identity
        text = pa.string()
        self._schema = pa.schema([("image_id", text), *columns, ("stage", text), ("error", text)])
        self._parts = root / MASK_PARTS
        make_directory(self._parts)
        remove_leftovers(self._parts)
        self._files = {name: PngFiles(root, root / name) for name in folders}
        for name, files in self._files.items():
            make_directory(root / name)
            files.clean()
        self._next = 0
        self._known: dict[str, tuple[Any, ...]] = {}  # rows of the parts
        for path in sorted(p for p in self._parts.iterdir() if _PART.match(p.name)):
            self._next = max(self._next, int(_PART.match(path.name)[1]) + 1)  # type: ignore[index]
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            table = pq.read_table(path)
            same = (table.schema.metadata or {}).get(_META) == self._identity.encode()
            rows = table.to_pylist() if same and table.schema.names == self._schema.names else None
        except (OSError, pa.ArrowException) as exc:
            log.warning("%s is damaged, its masks are made again: %s", path, exc)
            rows = None
        if rows is None:
            path.unlink(missing_ok=True)
            return
        self._remember(rows)

    def _remember(self, rows: Sequence[Facts]) -> None:
        self._known.update((row["image_id"], tuple(row.get(name) for name in self._schema.names)) for row in rows)

    def facts(self, image_id: str) -> Facts | None:
        """The row of an image whose mask is done or has failed; None: still to do."""
        known = self._known.get(image_id)
        if known is None:
            return None
        row = dict(zip(self._schema.names, known, strict=True))
        if row["error"] is not None:
            return row
        return row if all(png_path(self._root / name, image_id).is_file() for name in self._files) else None

    def write(self, image_id: str, pngs: Mapping[str, bytes]) -> None:
        """Write the files of an image, by folder.

        Raises: DataError: the id cannot be a file name. RunError: the disk is full or cannot be written.
        """
        for folder, png in pngs.items():
            self._files[folder].write(png_path(self._root / folder, image_id), image_id, png)

    def commit(self, rows: Sequence[Facts]) -> None:
        """Make the masks written so far, and these rows about them, count as done."""
        for files in self._files.values():
            files.sync()
        schema = self._schema.with_metadata({_META: self._identity.encode()})
        table = pa.Table.from_pylist(list(rows), schema=schema)
        write_atomic(self._parts / f"part-{self._next:05d}.parquet", lambda file: pq.write_table(table, file))
        self._next += 1
        self._remember(rows)

    def keep_only(self, image_ids: Iterable[str]) -> None:
        """Remove every other mask, so that nobody trains on one that is out of date."""
        ids = list(image_ids)
        for folder in (self._root / name for name in self._files):
            keep = {os.fspath(png_path(folder, name)) for name in ids}
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
