"""Writes map files: whole or absent at once, durable at the commit of their shard."""

from __future__ import annotations

import collections
import contextlib
import errno
import os
from pathlib import Path

from ..atomic import KEEPS_PARTS, make_directory, remove_leftovers, sync_directory, temp_name
from ..errors import DataError, RunError
from . import run_layout as layout

# What a strange image_id can cause: too long, or "a" and "a.png/b" in one pool.
_ONE_IMAGE_ERRORS = frozenset({errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL})


class PngFiles:
    """PNG files somewhere below one directory. `write` may be called from any thread, also during `sync`.

    Args:
        root: directories from here down to the files are made durable with them.
        folder: below `root`; its .tmp, on the same file system, has the files while they are written.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._temporary = folder / layout.MAPS_TEMP
        self._ready = False
        self._unsynced: collections.deque[Path] = collections.deque()

    def clean(self) -> None:
        """Remove what dead writers left in .tmp."""
        remove_leftovers(self._temporary)

    def write(self, final: Path, image_id: str, png: bytes) -> None:
        """Write the file of an image.

        Raises:
            DataError: this image_id cannot be a file name.
            RunError: the disk is full or cannot be written.
        """
        if not self._ready:
            make_directory(self._temporary)
            self._ready = True
        temporary = self._temporary / temp_name()
        try:
            try:
                with open(temporary, "xb") as file:
                    file.write(png)
                try:
                    os.replace(temporary, final)
                except FileNotFoundError:
                    final.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(temporary, final)
            except BaseException:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
                raise
        except OSError as exc:
            if exc.errno in _ONE_IMAGE_ERRORS:
                why = f"cannot name a map file after image_id {image_id!r}: {exc.strerror}"
                raise DataError(f"{why}; use shorter ids, none of which is a directory of another") from exc
            raise RunError(f"cannot write {final}: {exc.strerror or exc}; {KEEPS_PARTS}") from exc
        self._unsynced.append(final)

    def sync(self) -> None:
        """Make everything written so far survive a power cut; by now the kernel has written most of it."""
        paths = [self._unsynced.popleft() for _ in range(len(self._unsynced))]
        try:
            for path in paths:
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
            for directory in self._directories(paths):
                sync_directory(directory)
        except OSError as exc:
            self._unsynced.extend(paths)
            why = exc.strerror or exc
            raise RunError(f"cannot write {self._temporary.parent}: {why}; {KEEPS_PARTS}") from exc

    def _directories(self, paths: list[Path]) -> set[Path]:
        """The directories from RUN down to the files: each may be a new name in the one above."""
        found: set[Path] = set()
        for path in paths:
            folder = path.parent
            while folder not in found:
                found.add(folder)
                if folder != self._root:
                    folder = folder.parent
        return found


class MapFiles(PngFiles):
    """The maps of one RUN."""

    def __init__(self, run: Path) -> None:
        super().__init__(run, run / layout.MAPS)

    def write_map(self, measure: str, image_id: str, png: bytes) -> None:
        """Write RUN/maps/<measure>/<image_id>.png; raises as `write`."""
        self.write(layout.map_path(self._root, measure, image_id), image_id, png)
