"""uri -> bytes of one image, with a limit. Local files are read directly, everything else through fsspec."""

import os
import stat

from ..errors import DataError, PoolError
from .readers.tar import find_member
from .readers.tar_index import TarError
from .readers.uris import (
    ALLOWED_SCHEMES,
    StorageOptions,
    local_path,
    one_line,
    open_filesystem,
    refusal,
    scheme_of,
    split_tar,
)

__all__ = ["ALLOWED_SCHEMES", "DEFAULT_MAX_FILE_BYTES", "fetch_bytes"]

DEFAULT_MAX_FILE_BYTES = 512 << 20
_HTTP_CHUNK = 1 << 20


def fetch_bytes(
    uri: str,
    offset: int | None = None,
    size: int | None = None,
    *,
    max_bytes: int = DEFAULT_MAX_FILE_BYTES,
    storage_options: StorageOptions | None = None,
    allowed_schemes: tuple[str, ...] = ALLOWED_SCHEMES,
) -> bytes:
    """The bytes of an image file, or of a byte range of it.

    Args:
        uri: path, URL, or `tar://MEMBER::SHARD`, as in the column uri of a pool.
        offset, size: byte range in bytes, as in the pool; both None for the whole file. For a tar member
            they count from the start of the shard; without them the member is looked up in the shard.
        max_bytes: a larger file or range is refused before it is read.
        storage_options: passed to fsspec for URLs.
        allowed_schemes: URL schemes that may be opened.
    Raises: DataError: missing, unreadable, no regular file (nothing else is opened: a pipe would block),
        too large, shorter than stated, or a refused scheme.
    """
    reason = refusal(uri, allowed_schemes)
    if reason is not None:
        raise DataError(f"{reason}, {uri}; use an allowed address")
    source = uri
    tar = split_tar(uri)
    if tar is not None:
        source = tar.shard
        if offset is None or size is None:
            offset, size = _look_up(uri, tar.shard, tar.member, storage_options)
    if size is not None and size > max_bytes:
        raise _too_large(uri, size, max_bytes)
    path = local_path(source)
    if path is not None:
        return _read_local(path, offset, size, max_bytes)
    try:
        if scheme_of(source) in ("http", "https"):
            return _read_http(source, offset, size, max_bytes, storage_options)
        return _read_remote(source, offset, size, max_bytes, storage_options)
    except DataError:
        raise
    except Exception as exc:  # drivers raise what their service library raises
        raise DataError(f"cannot read {uri}: {one_line(exc)}; check the address and your access to it") from exc


def _look_up(uri: str, shard: str, member: str, storage_options: StorageOptions | None) -> tuple[int, int]:
    try:
        found = find_member(shard, member, storage_options)
    except (PoolError, TarError) as exc:
        raise DataError(str(exc)) from exc
    if found is None:
        raise DataError(f"the shard has no such member, {uri}; list the pool again")
    return found


def _too_large(uri: str, size: int, max_bytes: int) -> DataError:
    return DataError(f"file has {size:,} bytes, above the limit of {max_bytes:,}, {uri}; raise the limit or shrink it")


def _cut_off(uri: str, size: int, got: int) -> DataError:
    return DataError(f"file ends early: {size:,} bytes expected, {got:,} read, {uri}; copy it again")


def _read_local(path: str, offset: int | None, size: int | None, max_bytes: int) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # before open: opening a device can have effects
            raise DataError(f"not a regular file, {path}; remove it from the pool")
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode):
                raise DataError(f"not a regular file, {path}; remove it from the pool")
            start = offset or 0
            count = facts.st_size - start if size is None else size
            if count > max_bytes:
                raise _too_large(path, count, max_bytes)
            if count < 0 or start + count > facts.st_size:
                raise _cut_off(path, start + max(count, 0), facts.st_size)
            return _read_exactly(handle, start, count, path)
        finally:
            os.close(handle)
    except (OSError, ValueError) as exc:  # ValueError: NUL in the path
        if isinstance(exc, DataError):
            raise
        raise DataError(f"cannot read {path}: {one_line(exc)}; check the path and its permissions") from exc


def _read_exactly(handle: int, start: int, count: int, path: str) -> bytes:
    data = os.pread(handle, count, start)
    if len(data) == count:
        return data
    parts, got = [data], len(data)  # pread returns less above 2 GiB, and for a file that shrinks
    while data and got < count:
        data = os.pread(handle, count - got, start + got)
        parts.append(data)
        got += len(data)
    if got < count:
        raise _cut_off(path, count, got)
    return b"".join(parts)


def _read_remote(
    url: str, offset: int | None, size: int | None, max_bytes: int, storage_options: StorageOptions | None
) -> bytes:
    file_system, path = open_filesystem(url, storage_options)
    if size is None:
        facts = file_system.info(path)
        if facts.get("type", "file") != "file":
            raise DataError(f"not a file, {url}; remove it from the pool")
        stated = facts.get("size")
        if stated is None:
            data = file_system.cat_file(path, start=0, end=max_bytes + 1)
        else:
            if stated > max_bytes:
                raise _too_large(url, stated, max_bytes)
            data = file_system.cat_file(path)
    else:
        start = offset or 0
        data = file_system.cat_file(path, start=start, end=start + size) if size else b""
        if len(data) != size:
            raise _cut_off(url, size, len(data))
    if len(data) > max_bytes:
        raise _too_large(url, len(data), max_bytes)
    return bytes(data)


def _read_http(
    url: str, offset: int | None, size: int | None, max_bytes: int, storage_options: StorageOptions | None
) -> bytes:
    """A server may state any size and ignore ranges: at most one chunk beyond the request is ever held."""
    file_system, path = open_filesystem(url, storage_options)
    wanted = max_bytes + 1 if size is None else size
    parts: list[bytes] = []
    got = 0
    with file_system.open(path, "rb", block_size=_HTTP_CHUNK, cache_type="none") as file:
        stated = getattr(file, "size", None)
        if size is None and stated is not None and stated > max_bytes:
            raise _too_large(url, stated, max_bytes)
        if offset:
            file.seek(offset)
        while got < wanted:
            count = min(_HTTP_CHUNK, wanted - got) if stated is None else min(wanted, stated) - got
            part = file.read(count) if count > 0 else b""
            if not part:
                break
            parts.append(bytes(part))
            got += len(part)
    if size is None and got > max_bytes:
        raise _too_large(url, got, max_bytes)
    if size is not None and got != size:
        raise _cut_off(url, size, got)
    return b"".join(parts)
