"""Which bytes and which file names are images.

A format is decoded only if it has a signature in its first bytes: the content decides, never the file name.
Formats which start other programs or hold vector drawings (EPS, WMF, PDF) are left out on purpose.
"""

import re
import struct

IMAGE_EXTENSIONS: tuple[str, ...] = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".gif", ".tif", ".tiff", ".webp",
    ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".jpx", ".avif", ".pcx", ".sgi", ".qoi",
)  # fmt: skip
"""File names that end so (in any case) are images of a directory, glob or tar pool."""

OTHER_EXTENSIONS: tuple[str, ...] = (
    ".txt", ".md", ".rst", ".html", ".log", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml",
    ".toml", ".cls", ".parquet", ".arrow", ".npy", ".npz", ".mat", ".pkl", ".pt", ".pth", ".onnx", ".h5",
    ".zip", ".tar", ".gz", ".tgz", ".xz", ".zst", ".py", ".sh", ".pdf", ".mp4", ".avi", ".mov", ".mkv",
    ".wav", ".mp3",
)  # fmt: skip
"""File names that end so are never opened to look for a signature: label files may be as many as images."""

SNIFF_BYTES = 32

_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"qoif", "QOI"),
)
_NETPBM = re.compile(rb"P[1-6fF][ \t\r\n]+[0-9#+-]")
_AVIF_BRANDS = (b"ftypavif", b"ftypavis", b"ftypmif1")
_BMP_HEADER_SIZES = (12, 16, 40, 52, 56, 64, 108, 124)


def sniff_format(head: bytes) -> str | None:
    """Name of the format whose signature the first SNIFF_BYTES bytes carry, or None."""
    for prefix, name in _PREFIXES:
        if head.startswith(prefix):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if _NETPBM.match(head):
        return "PPM"
    if head[4:12] in _AVIF_BRANDS:
        return "AVIF"
    if len(head) < 16:
        return None
    if head[0] == 10 and head[1] in (0, 2, 3, 4, 5) and head[2] in (0, 1) and head[3] in (1, 2, 4, 8):
        return "PCX"
    if head[:2] == b"\x01\xda" and head[2] in (0, 1) and head[3] in (1, 2) and head[4:6] in _SGI_DIMENSIONS:
        return "SGI"
    magic, frames = struct.unpack_from("<HH", head, 4)
    if magic in (0xAF11, 0xAF12) and frames and head[14:16] in (b"\x00\x00", b"\x03\x00"):
        return "FLI"
    return None


_SGI_DIMENSIONS = (b"\x00\x01", b"\x00\x02", b"\x00\x03")


def has_image_extension(name: str) -> bool:
    return name.lower().endswith(IMAGE_EXTENSIONS)


def has_other_extension(name: str) -> bool:
    return name.lower().endswith(OTHER_EXTENSIONS)


def looks_like_image(head: bytes) -> bool:
    """Whether a file without a known extension is an image: a signature that text cannot have by chance."""
    name = sniff_format(head)
    if name == "BMP":
        return len(head) >= 18 and struct.unpack_from("<I", head, 14)[0] in _BMP_HEADER_SIZES
    return name is not None
