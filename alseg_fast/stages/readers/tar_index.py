"""Where the members of a tar archive lie, read from its headers alone.

The standard library's tarfile keeps an object for every member and reads extended headers of any stated
length; a pool may hold ten million members and a hostile shard may state petabytes. So the headers (ustar,
GNU long names, pax path and size) are parsed here, within fixed limits.
Source: POSIX.1-2024 pax, "ustar Interchange Format" and "pax Header Block"; GNU tar manual, "Basic Tar
Format".
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

BLOCK = 512
MAX_EXTENDED_BYTES = 1 << 20
"""Largest long name or pax header that is read."""

_REGULAR = (b"0", b"\x00", b"7")
_WITHOUT_DATA = (b"1", b"2", b"3", b"4", b"5", b"6")
_LONG_NAME, _LONG_LINK = b"L", b"K"
_PAX, _PAX_SOLARIS, _PAX_GLOBAL = b"x", b"X", b"g"
_ZEROS = bytes(BLOCK)


class TarError(ValueError):
    """The archive is damaged; the text says where."""


class Member(NamedTuple):
    """name: as stored, without leading `./`.  offset, size: of the data in bytes.  regular: a plain file."""

    name: str
    offset: int
    size: int
    regular: bool


ReadAt = Callable[[int, int], bytes]


def iter_members(read_at: ReadAt, archive_bytes: int) -> Iterator[Member]:
    """Members in the order of the archive. read_at(offset, size) returns at most size bytes.

    Raises TarError: not a tar, a header cut off or damaged, a member that reaches beyond the end.
    """
    position = 0
    long_name: bytes | None = None
    pax: dict[bytes, bytes] = {}
    while position < archive_bytes:
        header = read_at(position, BLOCK)
        if header == _ZEROS:
            return
        if len(header) < BLOCK:
            raise TarError(f"the header at byte {position} is cut off")
        _check_sum(header, position)
        kind = header[156:157]
        size = _number(header[124:136], position)
        data = position + BLOCK
        if kind in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_SOLARIS, _PAX_GLOBAL):
            if size > MAX_EXTENDED_BYTES:
                raise TarError(f"the extended header at byte {position} states {size} bytes")
            body = read_at(data, size)
            if len(body) < size:
                raise TarError(f"the extended header at byte {position} is cut off")
            if kind == _LONG_NAME:
                long_name = body.split(b"\x00", 1)[0]
            elif kind in (_PAX, _PAX_SOLARIS):
                pax = _pax_records(body, position)
            position = data + _padded(size)
            continue
        name = pax.get(b"path", long_name)
        if name is None:
            name = _short_name(header)
        if b"size" in pax:
            try:
                size = int(pax[b"size"])
            except ValueError as exc:
                raise TarError(f"the pax size before byte {position} is no number") from exc
        if size < 0:
            raise TarError(f"the header at byte {position} states a negative size")
        stored = 0 if kind in _WITHOUT_DATA else size
        text = name.decode("utf-8", "surrogateescape")
        while text.startswith("./"):
            text = text[2:].lstrip("/")
        if data + stored > archive_bytes:
            raise TarError(f"member {text!r} ends at byte {data + stored}, but the file has {archive_bytes}")
        is_sparse = any(key.startswith(b"GNU.sparse") for key in pax)
        regular = kind in _REGULAR and not text.endswith("/") and not is_sparse
        yield Member(text, data, stored, regular)
        long_name, pax = None, {}
        position = data + _padded(stored)


def _padded(size: int) -> int:
    return (size + BLOCK - 1) // BLOCK * BLOCK


def _short_name(header: bytes) -> bytes:
    name = header[:100].split(b"\x00", 1)[0]
    prefix = header[345:500].split(b"\x00", 1)[0] if header[257:263] == b"ustar\x00" else b""
    return prefix + b"/" + name if prefix else name


def _check_sum(header: bytes, position: int) -> None:
    stated = _number(header[148:156], position)
    actual = sum(header) - sum(header[148:156]) + 8 * 0x20
    if stated == actual:
        return
    high = sum(byte > 127 for byte in header[:148] + header[156:])  # some writers summed signed bytes
    if stated != actual - 256 * high:
        raise TarError(f"there is no valid tar header at byte {position}")


def _number(field: bytes, position: int) -> int:
    if field[0] & 0x80:  # GNU base 256
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.split(b"\x00", 1)[0].strip()
    try:
        return int(digits or b"0", 8)
    except ValueError as exc:
        raise TarError(f"there is no valid tar header at byte {position}") from exc


def _pax_records(body: bytes, position: int) -> dict[bytes, bytes]:
    """`LENGTH key=value\\n` records; LENGTH counts the whole record."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(body) and body[at] != 0:
        blank = body.find(b" ", at, at + 20)
        length = int(body[at:blank]) if blank > at and body[at:blank].isdigit() else 0
        record = body[blank + 1 : at + length]
        key, mark, value = record.partition(b"=")
        if length == 0 or at + length > len(body) or not mark or not value.endswith(b"\n"):
            raise TarError(f"the pax header at byte {position} is damaged")
        records[key] = value[:-1]
        at += length
    return records
