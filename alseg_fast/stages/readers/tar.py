"""Pools of WebDataset tar shards: every image member is a row with its byte range."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from ...errors import PoolError
from .listing import SNIFF_BYTES, Listing
from .tar_index import Member, ReadAt, TarError, iter_members
from .uris import (
    StorageOptions,
    encode_name,
    join_tar,
    local_path,
    one_line,
    open_filesystem,
    scheme_of,
)

MAX_TAR_MEMBERS = 10_000_000
TAR_EXTENSIONS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_CACHED_MEMBERS = 200_000
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"(\xb5": "zstd"}


def list_shards(
    shards: Sequence[str],
    base: str,
    storage_options: StorageOptions | None,
    max_members: int = MAX_TAR_MEMBERS,
) -> Listing:
    """Images of the shards in the order given; image_id = shard path below base without .tar, /, member name.

    Raises PoolError for a shard that is missing, compressed, damaged or cut off, and above max_members.
    """
    listing = Listing()
    count = 0
    for shard in shards:
        stem = encode_name(shard[len(base) :].strip("/").removesuffix(".tar"))
        url = shard if scheme_of(shard) is not None else f"file://{encode_name(shard)}"
        try:
            with open_shard(shard, storage_options) as (read_at, size):
                for member in iter_members(read_at, size):
                    count += 1
                    if count > max_members:
                        raise PoolError(f"more than {max_members:,} tar members, {shard}; split the pool")
                    _add_member(listing, member, stem, url, read_at)
        except TarError as exc:
            raise PoolError(f"tar shard is damaged: {exc}, {shard}; copy or write it again") from exc
    return listing


def _add_member(listing: Listing, member: Member, stem: str, url: str, read_at: ReadAt) -> None:
    name = encode_name(member.name)
    if not member.regular:
        if not name.endswith("/") and member.name:
            listing.skip(f"{stem}/{name}")
        return
    offset, size = member.offset, member.size
    if listing.wants(member.name.rpartition("/")[2], lambda: read_at(offset, min(size, SNIFF_BYTES))):
        listing.add(f"{stem}/{name}", join_tar(member.name, url), offset, size)
    else:
        listing.skip(f"{stem}/{name}")


@contextmanager
def open_shard(shard: str, storage_options: StorageOptions | None) -> Iterator[tuple[ReadAt, int]]:
    """(read_at, size in bytes) of a shard. Raises PoolError: it cannot be read, or is compressed."""
    path = local_path(shard)
    try:
        with _open(path, shard, storage_options) as file:
            size = file.seek(0, os.SEEK_END)

            def read_at(offset: int, count: int) -> bytes:
                file.seek(offset)
                return bytes(file.read(count))

            packing = _COMPRESSED.get(read_at(0, 2))
            if packing is not None:
                raise PoolError(
                    f"tar shard is compressed with {packing}, {shard}; decompress it (images hardly shrink, "
                    "and a compressed archive cannot be read at random)"
                )
            yield read_at, size
    except (PoolError, TarError):
        raise
    except Exception as exc:  # drivers raise what their service library raises
        raise PoolError(f"cannot read tar shard {shard}: {one_line(exc)}; check the path and the access") from exc


def _open(path: str | None, shard: str, storage_options: StorageOptions | None) -> Any:
    if path is not None:
        if not os.path.isfile(path):
            raise PoolError(f"tar shard is missing or no file, {path}; check the range of the shards")
        # Headers lie far apart: a larger buffer would only read image data.
        return open(path, "rb", buffering=4096)
    file_system, remote = open_filesystem(shard, storage_options)
    return file_system.open(remote, "rb")


def find_member(shard: str, member: str, storage_options: StorageOptions | None) -> tuple[int, int] | None:
    """(offset, size) of a member written as in `tar://MEMBER::SHARD`; None if the shard lacks it.

    For uris without their byte range. The index of the last few local shards is kept.
    """
    path = local_path(shard)
    if path is not None and os.path.isfile(path):
        facts = os.stat(path)
        index = _local_index(path, facts.st_mtime_ns, facts.st_size)
        if index is not None:
            return index.get(member)
    with open_shard(shard, storage_options) as (read_at, size):
        for found in iter_members(read_at, size):
            if found.regular and _written(found.name) == member:
                return found.offset, found.size
    return None


@lru_cache(maxsize=8)
def _local_index(path: str, _mtime_ns: int, _size: int) -> dict[str, tuple[int, int]] | None:
    index: dict[str, tuple[int, int]] = {}
    with open_shard(path, None) as (read_at, size):
        for found in iter_members(read_at, size):
            if found.regular:
                index.setdefault(_written(found.name), (found.offset, found.size))
            if len(index) > _CACHED_MEMBERS:
                return None
    return index


def _written(name: str) -> str:
    return join_tar(name, "x")[len("tar://") : -len("::x")]
