"""The pictures of a pool as rows of an index: read, decoded and counted on worker threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import available_cpus
from .engine import is_remote
from .errors import AlsegError, DataError
from .ops.histogram_spec import HistogramSpec
from .pipeline import Stage, run_ordered
from .stages.decode import DecodeBuffer, decode_image, peak_bytes
from .stages.fetch import fetch_bytes
from .stages.index_tables import Rows, failure
from .stages.pool import Pool
from .worker import MemoryGate

_REMOTE_FETCHERS = 16
_PIXEL_SHARE = 4  # of the memory, one in so many bytes is for decoded pictures


class PoolSource:
    """The pictures of a pool; their histograms are computed on worker threads."""

    def __init__(self, pool: Pool, spec: HistogramSpec, workers: int | None, max_pixels: int, memory: int) -> None:
        self.name = pool.source
        self.ids = pool.table.column("image_id").combine_chunks()
        self.dim = spec.dim
        self.spec: HistogramSpec | None = spec
        self._spec = spec
        self.channels = spec.channels
        self.pool = pool
        self._workers = workers or available_cpus()
        self._max_pixels = max_pixels
        self._gate = MemoryGate(max(memory // _PIXEL_SHARE, 1))

    def rows(self, wanted: NDArray[np.bool_], at_a_time: int) -> Iterator[Rows]:
        table = self.pool.table
        columns = [table.column(name) for name in ("image_id", "uri", "offset", "size")]

        def items() -> Iterator[tuple[Any, ...]]:
            for number in np.flatnonzero(wanted).tolist():
                yield number, *(column[number].as_py() for column in columns)

        remote = is_remote(table.column("uri")[0].as_py())
        stages = [
            Stage("fetch", lambda _, item: (item, _fetched(item)), _REMOTE_FETCHERS if remote else 1),
            Stage("histogram", self._computed, self._workers, DecodeBuffer),
        ]
        in_flight = 4 * self._workers + (_REMOTE_FETCHERS if remote else 0)
        collected = Rows([], [], np.empty((at_a_time, self.dim), np.float32))
        with closing(run_ordered(items(), stages, in_flight=in_flight)) as results:
            for (number, image_id, uri, *_), outcome in results:
                if isinstance(outcome, np.ndarray):
                    collected.hist[len(collected.ids)] = outcome
                    collected.ids.append(image_id)
                    collected.numbers.append(number)
                else:
                    collected.failures.append(failure(image_id, uri, *outcome))
                if len(collected.ids) + len(collected.failures) == at_a_time:
                    yield _trimmed(collected)
                    collected = Rows([], [], np.empty((at_a_time, self.dim), np.float32))
        yield _trimmed(collected)

    def _computed(self, buffer: DecodeBuffer, task: tuple[Any, Any]) -> tuple[Any, Any]:
        item, data = task
        if not isinstance(data, bytes):
            return task
        try:
            with self._gate.hold(peak_bytes(data)):
                image = decode_image(data, max_pixels=self._max_pixels, buffer=buffer).image
                return item, self._spec.compute(image)
        except (AlsegError, MemoryError) as error:
            return item, ("decode", _one_line(error))


def _fetched(item: tuple[Any, ...]) -> Any:
    _, _, uri, offset, size = item
    try:
        return fetch_bytes(uri, offset, size)
    except DataError as error:
        return "fetch", _one_line(error)


def _trimmed(rows: Rows) -> Rows:
    return Rows(rows.ids, rows.numbers, rows.hist[: len(rows.ids)], rows.failures)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
