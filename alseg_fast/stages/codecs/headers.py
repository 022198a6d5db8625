"""What image headers say before any pixel is decoded: size, EXIF orientation, number of JPEG scans."""

import struct
from typing import NamedTuple

import simplejpeg

_ORIENTATION_TAG = 0x0112
_INTEGER_CODES = {1: "B", 3: "H", 4: "I"}  # EXIF types BYTE, SHORT, LONG
_STANDALONE = frozenset((0x01, *range(0xD0, 0xDA)))  # markers without a length
_FRAME_HEADERS = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))


class JpegMarkers(NamedTuple):
    """orientation: 1..8.  many_scans: the picture may come in more than one scan."""

    orientation: int
    many_scans: bool


def exif_orientation(exif: bytes) -> int:
    """EXIF orientation 1..8 of an EXIF block (with or without its `Exif` prefix); 1 if absent or invalid."""
    if exif[:6] == b"Exif\x00\x00":
        exif = exif[6:]
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return 1
    (start,) = struct.unpack_from(order + "I", exif, 4)
    if start + 2 > len(exif):
        return 1
    (count,) = struct.unpack_from(order + "H", exif, start)
    for at in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind, values = struct.unpack_from(order + "HHI", exif, at)
        if tag == _ORIENTATION_TAG:
            code = _INTEGER_CODES.get(kind)
            if code is None or values != 1:
                return 1
            value: int = struct.unpack_from(order + code, exif, at + 8)[0]
            return value if 1 <= value <= 8 else 1
    return 1


def read_jpeg_markers(data: bytes | memoryview) -> JpegMarkers:
    """Walk the JPEG markers up to the first scan. Never raises: what cannot be read counts as absent."""
    orientation = 0
    many_scans = False
    components = 0
    at, end = 2, len(data) - 4
    while at <= end and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in _STANDALONE:
            at += 2
            continue
        length = data[at + 2] << 8 | data[at + 3]
        if marker == 0xE1 and not orientation and data[at + 4 : at + 10] == b"Exif\x00\x00":
            orientation = exif_orientation(bytes(data[at + 4 : at + 2 + length]))
        elif marker in _FRAME_HEADERS:
            many_scans = marker in _PROGRESSIVE
            components = data[at + 9] if at + 9 < len(data) else 0
        elif marker == 0xDA:
            many_scans = many_scans or (at + 4 < len(data) and data[at + 4] < components)
            break
        at += 2 + length
    return JpegMarkers(orientation or 1, many_scans)


def webp_size(head: bytes) -> tuple[int, int] | None:
    """(width, height) that the first 30 bytes of a WebP file state, or None."""
    if len(head) < 30:
        return None
    chunk = head[12:16]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if chunk == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    if chunk == b"VP8L" and head[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", head, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None


def quick_size(name: str, data: bytes | memoryview) -> tuple[int, int] | None:
    """(width, height) of the stored picture for the formats where a few bytes tell it; None elsewhere.

    A GIF states its canvas here; a first frame that is larger is seen when the file is opened.
    """
    if name == "JPEG":
        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        except ValueError:
            return None
        return int(width), int(height)
    head = bytes(data[:30])
    if name == "PNG" and len(head) >= 24:
        width, height = struct.unpack_from(">II", head, 16)
        return width, height
    if name == "GIF" and len(head) >= 10:
        width, height = struct.unpack_from("<HH", head, 6)
        return width, height
    if name == "WEBP":
        return webp_size(head)
    return None
