"""Rows of a pool on their way into Arrow: collected, checked, sorted, never kept as Python objects."""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from ...errors import PoolError
from ..codecs.signatures import SNIFF_BYTES, has_image_extension, has_other_extension, looks_like_image

_BATCH_ROWS = 1 << 16
_MAX_EXAMPLES = 5
SCHEMA = pa.schema(
    [("image_id", pa.string()), ("uri", pa.string()), ("offset", pa.int64()), ("size", pa.int64())]
)  # An empty component also stands for a leading, trailing or doubled slash.
_BAD_ID = r"(^|/)\.{0,2}(/|$)|[\x00-\x1f\x7f]"
_BAD_URI = r"^$|[\x00-\x1f\x7f]"


class Listing:
    """Collects rows and counts what was passed over."""

    def __init__(self) -> None:
        self.skipped_files = 0
        self.skipped_examples: list[str] = []
        self._tables: list[pa.Table] = []
        self._rows: tuple[list[str], list[str], list[int | None], list[int | None]] = ([], [], [], [])

    def add(self, image_id: str, uri: str, offset: int | None = None, size: int | None = None) -> None:
        ids, uris, offsets, sizes = self._rows
        ids.append(image_id)
        uris.append(uri)
        offsets.append(offset)
        sizes.append(size)
        if len(ids) >= _BATCH_ROWS:
            self._flush()

    def skip(self, name: str) -> None:
        self.skipped_files += 1
        if len(self.skipped_examples) < _MAX_EXAMPLES:
            self.skipped_examples.append(name)

    def wants(self, name: str, read_head: Callable[[], bytes] | None) -> bool:
        """The rule for files found in folders and archives: image extension, or else an image signature.

        read_head returns the first SNIFF_BYTES bytes; None where reading is dear (remote folders).
        Hidden names (leading dot) and well-known other extensions are never images.
        """
        if name.startswith("."):
            return False
        if has_image_extension(name):
            return True
        return read_head is not None and not has_other_extension(name) and looks_like_image(read_head())

    def table(self) -> pa.Table:
        self._flush()
        return pa.concat_tables(self._tables) if self._tables else SCHEMA.empty_table()

    def _flush(self) -> None:
        if self._rows[0]:
            columns = [pa.array(values, field.type) for values, field in zip(self._rows, SCHEMA, strict=True)]
            self._tables.append(pa.table(columns, schema=SCHEMA))
            self._rows = ([], [], [], [])


def sorted_by_id(table: pa.Table, *, drop_repeats: bool = False) -> pa.Table:
    """Rows in the order of image_id by code point. drop_repeats: one row for the same image_id and uri."""
    if table.num_rows < 2:
        return table
    # One large_string chunk: a taken string chunk may not exceed 2 GiB.
    wide = table.cast(_wide(table.schema)).combine_chunks()
    order = pc.sort_indices(wide, [("image_id", "ascending"), ("uri", "ascending")])
    parts = [
        wide.take(order.slice(start, _BATCH_ROWS)).cast(table.schema) for start in range(0, table.num_rows, _BATCH_ROWS)
    ]
    result = pa.concat_tables(parts)
    if drop_repeats:
        repeated = pc.and_(_equals_previous(result["image_id"]), _equals_previous(result["uri"]))
        if pc.any(repeated).as_py():
            first = pa.chunked_array([pa.array([True]), *pc.invert(repeated).chunks])
            result = result.filter(first)
    return result


def check_table(table: pa.Table, where: str) -> None:
    """Raises PoolError unless every image_id is unique and fit for a file name, and every uri fit to open."""
    _refuse(table, "image_id", _BAD_ID, where, "must be relative, without empty, '.' or '..' parts or line breaks")
    _refuse(table, "uri", _BAD_URI, where, "must be a path or URL without control characters")
    ids = table["image_id"].cast(pa.large_string())
    if table.num_rows < 2:
        return
    if not pc.all(_increases(ids)).as_py():  # sorted listings need no second sort
        ids = pa.chunked_array([pc.take(ids.combine_chunks(), pc.sort_indices(ids))])
    same = _equals_previous(ids)
    if pc.any(same).as_py():
        repeated = ids.slice(1).filter(same).unique()
        names = ", ".join(repr(name.as_py()) for name in repeated[:3])
        more = f" and {len(repeated) - 3} more" if len(repeated) > 3 else ""
        raise PoolError(f"duplicate image_id {names}{more}, {where}; give every image its own image_id")


def _refuse(table: pa.Table, name: str, pattern: str, where: str, rule: str) -> None:
    row = 0
    for chunk in table[name].chunks:
        bad = pc.match_substring_regex(chunk, pattern)
        if pc.any(bad).as_py():
            at = pc.index(bad, True).as_py()
            value = chunk[at].as_py()
            raise PoolError(f"{name} {value!r} of entry {row + at + 1}, {where}; {name} {rule}")
        row += len(chunk)


def _wide(schema: pa.Schema) -> pa.Schema:
    return pa.schema([(f.name, pa.large_string() if f.type == pa.string() else f.type) for f in schema])


def _equals_previous(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.equal(column.slice(1), column.slice(0, len(column) - 1))


def _increases(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.greater(column.slice(1), column.slice(0, len(column) - 1))


__all__ = ["SCHEMA", "SNIFF_BYTES", "Listing", "check_table", "sorted_by_id"]
