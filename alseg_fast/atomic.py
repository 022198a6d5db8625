"""Files that are either whole or absent: temporary name, write, fsync, rename, fsync of the directory.

Temporary files are called ``.<n>.<pid>.<pid namespace>.<host>.alseg-tmp``, so that several machines (and
several containers with one host name) can share a directory and every left-over can be traced to its writer.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from .errors import RunError

log = logging.getLogger("alseg")

_TEMP_NAME = re.compile(r"^\.\d+\.(?P<pid>\d+)\.(?P<namespace>\d+)\.(?P<host>.+)\.alseg-tmp$")
_STALE_SECONDS = 3600.0
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_NO_DIRECTORY_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF})
_counter = itertools.count()

KEEPS_PARTS = "make room or fix the access there and run the same command again: finished parts are kept"


def host_name() -> str:
    """This machine's name, reduced to what is safe in a file name."""
    return re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())[:64] or "unknown"


def _pid_namespace() -> int:
    # A pid means nothing outside its namespace; containers often share the host name but not the pids.
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def temp_name() -> str:
    """A file name no other thread, process, container or machine uses."""
    return f".{next(_counter)}.{os.getpid()}.{_pid_namespace()}.{host_name()}.alseg-tmp"


def is_temp_name(name: str) -> bool:
    """True for the names that `temp_name` makes."""
    return _TEMP_NAME.match(name) is not None


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut. File systems that cannot do this are left alone."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as exc:
        if exc.errno not in _NO_DIRECTORY_SYNC:
            raise
    finally:
        os.close(fd)


def make_directory(path: Path) -> None:
    """Make a directory and its parents if absent. Raises: RunError: that is not possible."""
    try:
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            sync_directory(path.parent)
    except OSError as exc:
        why = exc.strerror or exc
        raise RunError(f"cannot make the directory {path}: {why}; choose another --out") from exc


def remove_file(path: Path) -> None:
    """Remove a file if it is there. Raises: RunError: that is not possible."""
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        raise RunError(f"cannot remove {path}: {exc.strerror or exc}; check the access to it") from exc


def write_atomic(
    path: Path,
    content: bytes | Callable[[BinaryIO], None],
    *,
    replace: bool = True,
    advice: str = KEEPS_PARTS,
) -> bool:
    """Write a file so that nobody ever sees a part of it.

    Args:
        path: the final name; its directory must exist.
        content: the bytes, or a function that writes them to the open file it is given.
        replace: False leaves an existing file alone, also one that another machine makes at this very moment.
        advice: the end of the error message: what the user can do.
    Returns: False if `replace` was False and the file existed, else True.
    Raises: RunError: the file cannot be written; the temporary file is gone, what stood there still stands.
    """
    temporary = path.parent / temp_name()
    try:
        try:
            with open(temporary, "xb") as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    content(file)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.replace(temporary, path)
            elif not _rename_new(temporary, path):
                return False
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    except OSError as exc:
        raise RunError(f"cannot write {path}: {exc.strerror or exc}; {advice}") from exc
    return True


def _rename_new(temporary: Path, path: Path) -> bool:
    """Rename unless the target exists; a hard link is the form of this that also holds on NFS."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        temporary.unlink()
        return False
    except OSError as exc:
        if exc.errno not in _NO_HARD_LINKS:
            raise
        # No hard links here (FAT, some network and FUSE mounts): the check and the rename are two steps.
        log.info("no hard links in %s: do not start several processes on a new RUN at once there", path.parent)
        if path.exists():
            temporary.unlink()
            return False
        os.replace(temporary, path)
        return True
    temporary.unlink()
    return True


def remove_leftovers(directory: Path) -> int:
    """Remove temporary files of dead writers from one directory; returns how many.

    A temporary file is a left-over when its writer ran in this host and pid namespace and is gone, or when
    nobody has touched it for an hour (a live writer needs seconds). Files of live or unknown writers stay.
    """
    removed = 0
    try:
        entries = list(os.scandir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return 0
    for entry in entries:
        match = _TEMP_NAME.match(entry.name)
        if match is None or not _is_leftover(entry, match):
            continue
        try:
            os.unlink(entry.path)
            removed += 1
        except FileNotFoundError:
            continue
        except OSError as exc:
            log.warning("cannot remove the left-over %s: %s", entry.path, exc.strerror or exc)
    return removed


def _is_leftover(entry: os.DirEntry[str], match: re.Match[str]) -> bool:
    here = match["host"] == host_name() and int(match["namespace"]) == _pid_namespace()
    if here and not _process_lives(int(match["pid"])):
        return True
    try:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_SECONDS
    except FileNotFoundError:
        return False


def _process_lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
