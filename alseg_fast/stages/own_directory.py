"""A directory that one command owns: held against other processes, told from foreign ones, emptied with care."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..atomic import is_temp_name, make_directory, remove_leftovers
from ..errors import RunError
from .run_wipe import wipe_tree

log = logging.getLogger("alseg")


@contextlib.contextmanager
def locked(root: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the directory, made if absent, against other processes; the lock goes with the process, however it ends.

    Args:
        wait: until the other process is done, in place of an error.
    Raises: RunError: another process holds it, or it cannot be made; with `wait`, the file system has no locks.
    """
    make_directory(root)
    try:
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as exc:
        raise RunError(f"cannot open {root}: {exc.strerror or exc}; choose another --out") from exc
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise RunError(f"another process is writing to {root}; wait for it or choose another --out") from exc
        except OSError as exc:  # file systems without locks
            if wait:
                raise RunError(f"no lock on {root}: {exc.strerror}; use one process, or a local disk") from exc
            log.info("no lock on %s (%s): do not start two commands there at once", root, exc.strerror)
        yield
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Kind:
    """What the directory of one command holds.

    Attributes:
        name: in messages, "propagation".
        info: the JSON file that says what it was made with; its key "format" must be `format`.
        files: names of further files.
        folders: name -> pattern of the file names in it.
        deep: those of the folders that have folders in them.
    """

    name: str
    info: str
    format: int
    files: tuple[str, ...]
    folders: Mapping[str, re.Pattern[str]]
    deep: tuple[str, ...] = ()

    def made_with(self, root: Path) -> dict[str, Any] | None:
        """What an earlier start noted; None in an empty directory. Half-written files of killed processes go.

        Raises: RunError: it is something else, of another version, or cannot be read.
        """
        path = root / self.info
        try:
            names = [name for name in os.listdir(root) if not is_temp_name(name)]
            made = json.loads(path.read_bytes()) if path.exists() else None
        except (OSError, ValueError) as exc:
            raise RunError(f"cannot read {path}: {exc}; choose another --out") from exc
        if made is None and names:
            raise RunError(f"{root} is not empty and no {self.name} (it has no {self.info}); choose another --out")
        if made is not None and (not isinstance(made, dict) or made.get("format") != self.format):
            raise RunError(f"{path} is of another version of alseg-fast; choose another --out")
        remove_leftovers(root)
        return made

    def wipe(self, root: Path) -> None:
        """Delete what an earlier one left and nothing else. Raises: RunError: it cannot be deleted."""
        try:
            for name in self.files:
                (root / name).unlink(missing_ok=True)
            for name, pattern in self.folders.items():
                wipe_tree(root / name, pattern, deep=name in self.deep)
        except OSError as exc:
            raise RunError(f"cannot overwrite {root}: {exc}; choose another --out") from exc
