"""The pictures of a pool as rows of an index: commits of rows, as many at a time as asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from .ops.histogram_spec import HistogramSpec
from .picture_histograms import PictureHistograms
from .stages.index_tables import Rows, failure
from .stages.pool import Pool
from .stages.readers.uris import is_remote

_PIXEL_SHARE = 4  # of the memory, one in so many bytes is for decoded pictures


class PoolSource:
    """The pictures of a pool; their histograms are computed on worker threads."""

    def __init__(self, pool: Pool, spec: HistogramSpec, workers: int | None, max_pixels: int, memory: int) -> None:
        self.name = pool.source
        self.ids = pool.table.column("image_id").combine_chunks()
        self.dim = spec.dim
        self.spec: HistogramSpec | None = spec
        self.channels = spec.channels
        self.pool = pool
        self._pictures = PictureHistograms(spec, workers, max_pixels, memory // _PIXEL_SHARE)

    def rows(self, wanted: NDArray[np.bool_], at_a_time: int) -> Iterator[Rows]:
        table = self.pool.table
        columns = [table.column(name) for name in ("uri", "offset", "size")]
        items = (
            (number, tuple(column[number].as_py() for column in columns)) for number in np.flatnonzero(wanted).tolist()
        )
        remote = is_remote(table.column("uri")[0].as_py())
        collected = Rows([], [], np.empty((at_a_time, self.dim), np.float32))
        with closing(self._pictures.compute(items, remote=remote)) as results:
            for number, outcome in results:
                image_id = self.ids[number].as_py()
                if isinstance(outcome, np.ndarray):
                    collected.hist[len(collected.ids)] = outcome
                    collected.ids.append(image_id)
                    collected.numbers.append(number)
                else:
                    collected.failures.append(failure(image_id, columns[0][number].as_py(), *outcome))
                if len(collected.ids) + len(collected.failures) == at_a_time:
                    yield _trimmed(collected)
                    collected = Rows([], [], np.empty((at_a_time, self.dim), np.float32))
        yield _trimmed(collected)


def _trimmed(rows: Rows) -> Rows:
    return Rows(rows.ids, rows.numbers, rows.hist[: len(rows.ids)], rows.failures)
