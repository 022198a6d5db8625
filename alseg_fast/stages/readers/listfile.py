"""A pool as a text file: a path or URL a line, blank lines and lines that start with # skipped."""

from typing import BinaryIO

from ...errors import PoolError
from .listing import Listing
from .uris import id_of, one_line, resolve

MAX_LINE_BYTES = 1 << 16


def read_list(file: BinaryIO, where: str, base: str) -> Listing:
    """Rows in the order of the lines. base: the folder (or its URL) that relative paths count from.

    Blanks around a line are dropped; a name that starts with # is written ./#name.
    Raises PoolError for a line that is no text or longer than MAX_LINE_BYTES.
    """
    listing = Listing()
    number = 0
    try:
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES or b"\x00" in line:
                raise PoolError(f"line {number} is not a path or URL, {where}; a list is a text file of paths")
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            entry = line.decode("utf-8", "surrogateescape").strip()
            if entry and not entry.startswith("#"):
                listing.add(id_of(entry, base), resolve(entry, base))
    except OSError as exc:
        raise PoolError(f"cannot read {where}: {one_line(exc)}; check the file and your access to it") from exc
    return listing
