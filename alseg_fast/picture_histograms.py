"""Pictures -> colour histograms: read, decoded and counted on worker threads, in order."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import available_cpus
from .errors import AlsegError, DataError
from .ops.histogram_spec import HistogramSpec
from .pipeline import Stage, run_ordered
from .seats import Seats
from .stages.decode import DEFAULT_MAX_PIXELS, DecodeBuffer, decode_image, peak_bytes
from .stages.fetch import fetch_bytes
from .worker import MemoryGate

_REMOTE_FETCHERS = 8
_GROUP = 4  # pictures that pass between the threads together

Location = tuple[str, int | None, int | None]  # uri, offset and size of the bytes in it
Failure = tuple[str, str]  # stage, error


@dataclass(frozen=True)
class PictureHistograms:
    """How the histograms of pictures are computed.

    Attributes:
        spec: which histogram.
        workers: threads that decode and count; None: one a CPU.
        max_pixels: larger pictures fail before they are decoded.
        decode_bytes: memory for decoded pictures.
        storage_options: passed to fsspec for URLs.
    """

    spec: HistogramSpec
    workers: int | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    decode_bytes: int = 1 << 30
    storage_options: dict[str, Any] | None = None

    def compute(self, items: Iterable[tuple[Any, Location]], *, remote: bool) -> Generator[tuple[Any, Any], None, None]:
        """(key, location) -> (the key, [D] float32 or a Failure), in order; few are in flight at a time."""
        workers = self.workers or available_cpus()
        gate, seats = MemoryGate(max(1, self.decode_bytes)), Seats()

        def fetch(_: None, item: tuple[Any, Location]) -> tuple[Any, bytes | Failure]:
            key, location = item
            try:
                return key, fetch_bytes(*location, storage_options=self.storage_options)
            except DataError as error:
                return key, ("fetch", _one_line(error))

        def count(
            state: tuple[DecodeBuffer, Any], item: tuple[Any, bytes | Failure]
        ) -> tuple[Any, NDArray[np.float32] | Failure]:
            key, found = item
            if not isinstance(found, bytes):
                return key, found
            buffer, seat = state
            seats.settle(seat)
            try:
                with gate.hold(peak_bytes(found)):
                    return key, self.spec.compute(decode_image(found, max_pixels=self.max_pixels, buffer=buffer).image)
            except (AlsegError, MemoryError) as error:
                return key, ("decode", _one_line(error))

        stages = [
            Stage("fetch", fetch, _REMOTE_FETCHERS if remote else 1),
            Stage("histogram", count, workers, lambda: (DecodeBuffer(), seats.join())),
        ]
        in_flight = _GROUP * (max(4, 3 * workers) + (_REMOTE_FETCHERS if remote else 0))
        with closing(run_ordered(items, stages, in_flight=in_flight, group=_GROUP)) as results:
            yield from results


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
