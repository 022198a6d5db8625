"""Images of a folder, on this machine (recursive, links followed once) or behind an fsspec URL."""

import os
import stat
from typing import Any

from ...errors import PoolError
from ..codecs.signatures import has_image_extension
from .listing import SNIFF_BYTES, Listing
from .uris import encode_name, one_line, uri_of_path


def read_head(path: str) -> bytes:
    """First bytes of a regular file; empty for anything else or if it cannot be read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(handle, SNIFF_BYTES) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(handle)


def list_directory(root: str) -> Listing:
    """Every image below root, image_id = path relative to root.

    A folder that several paths lead to is listed once: real folders come first, then symbolic links in the
    order of their names, so loops end and the result depends on the tree alone. Links that lead nowhere
    count as images if their name does (they become failures); sockets, pipes and devices are passed over.
    Raises PoolError for a folder that cannot be read.
    """
    listing = Listing()
    seen: set[tuple[int, int]] = set()
    pending = [(root, "")]
    links: list[tuple[str, str]] = []
    while pending or links:
        if not pending:
            links.sort(key=lambda link: link[1], reverse=True)
            pending.append(links.pop())
        path, prefix = pending.pop()
        try:
            facts = os.stat(path)
            if (facts.st_dev, facts.st_ino) in seen:
                listing.skip(encode_name(prefix))
                continue
            seen.add((facts.st_dev, facts.st_ino))
            with os.scandir(path) as entries:
                for entry in entries:
                    _sort_entry(entry, prefix, listing, pending, links)
        except OSError as exc:
            raise PoolError(
                f"cannot read folder {path}: {one_line(exc)}; make it readable or take it out of the pool"
            ) from exc
    return listing


def _sort_entry(
    entry: "os.DirEntry[str]",
    prefix: str,
    listing: Listing,
    pending: list[tuple[str, str]],
    links: list[tuple[str, str]],
) -> None:
    name = entry.name
    relative = prefix + name
    if entry.is_file(follow_symlinks=False):
        usable = True
    elif entry.is_dir(follow_symlinks=False):
        if not name.startswith("."):
            pending.append((entry.path, relative + "/"))
        return
    elif entry.is_symlink():
        try:
            mode = entry.stat().st_mode
        except OSError:  # leads nowhere, or in a circle
            mode = stat.S_IFREG
        if stat.S_ISDIR(mode):
            if not name.startswith("."):
                links.append((entry.path, relative + "/"))
            return
        usable = stat.S_ISREG(mode)
    else:
        usable = False
    if usable and listing.wants(name, lambda: read_head(entry.path)):
        listing.add(encode_name(relative), uri_of_path(entry.path))
    else:
        listing.skip(encode_name(relative))


def list_remote_directory(file_system: Any, root: str, url: str) -> Listing:
    """Every image below a remote folder, by extension alone: opening objects to look at them is dear."""
    listing = Listing()
    try:
        for folder, folders, files in file_system.walk(root, on_error="raise"):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            prefix = folder[len(root) :].strip("/")
            for name in files:
                relative = f"{prefix}/{name}" if prefix else name
                if name and not name.startswith(".") and has_image_extension(name):
                    listing.add(relative, file_system.unstrip_protocol(f"{folder.rstrip('/')}/{name}"))
                else:
                    listing.skip(encode_name(relative))
    except Exception as exc:  # drivers raise what their service library raises
        raise PoolError(f"cannot list {url}: {one_line(exc)}; check the address and your access to it") from exc
    return listing
