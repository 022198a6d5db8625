"""INDEX/failures.parquet: images that have no row in the index, and why."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ..atomic import remove_file, write_atomic
from ..histogram_index.store import FAILURES
from .run_layout import failures_schema

_ADVICE = "make room or fix the access there and run the same command again with --skip-existing"


class Failures:
    """The failed images by id; a later try replaces what an earlier one said."""

    def __init__(self, index: Path) -> None:
        self._path = index / FAILURES
        self._rows: dict[str, dict[str, str]] = {}
        self._changed = False
        for row in read_failures(index).to_pylist():
            self._rows[row["image_id"]] = row

    def __len__(self) -> int:
        return len(self._rows)

    def update(self, failed: Iterable[dict[str, str]], succeeded: Iterable[object]) -> None:
        """Take over the outcome of more images."""
        for image_id in succeeded:
            self._changed |= self._rows.pop(str(image_id), None) is not None
        for row in failed:
            self._rows[row["image_id"]] = row
            self._changed = True

    def write(self) -> None:
        """Make the file say so. Raises: RunError: it cannot be written."""
        if not self._changed:
            return
        if self._rows:
            table = pa.Table.from_pylist(list(self._rows.values()), failures_schema())

            def write(file: BinaryIO) -> None:
                pq.write_table(table, file)

            write_atomic(self._path, write, advice=_ADVICE)
        else:
            remove_file(self._path)
        self._changed = False


def read_failures(index: Path) -> pa.Table:
    """image_id, uri, stage, error of the images that failed; empty where there are none or the file is damaged."""
    try:
        return pq.ParquetFile(index / FAILURES).read()
    except (FileNotFoundError, pa.ArrowException):
        return failures_schema().empty_table()
