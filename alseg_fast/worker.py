"""What one thread does to a batch of pictures: decode, place, run the model, reduce. No threads of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import AlsegError, DataError, ModelError
from .runtimes.onnx import OnnxModel
from .seats import Seats
from .stages.decode import DEFAULT_MAX_PIXELS, DecodeBuffer, decode_image, peak_bytes
from .stages.fingerprint import phash
from .stages.histogram import parse_histogram
from .stages.prepare import Placement, decode_at_least, fill, place
from .stages.region_cache import RegionCache
from .stages.regions import PictureRegions, cut, parse_regions
from .stages.score import Reducer
from .types import NO_HISTOGRAM, NO_REGIONS

STAGES = ("fetch", "decode", "infer", "score", "write")


@dataclass(frozen=True)
class ScoreConfig:
    """What decides the scores besides the model."""

    measures: tuple[str, ...] = ("entropy",)
    score_size: str = "input"
    top_fraction: float = 0.05
    maps: bool = False
    batch_size: int = 1
    max_pixels: int = DEFAULT_MAX_PIXELS
    mc_passes: int = 1
    regions: str = NO_REGIONS
    crf: bool = False
    histogram: str = NO_HISTOGRAM
    histogram_dtype: str = "float16"
    published: bool = False


@dataclass
class Picture:
    """One image on its way through the pipeline; `error` set means it goes no further.

    Attributes:
        source: what it came from: encoded bytes, an RGB array, or None once it is no longer needed.
        about: what the reducer is to know besides the logits; a `Reducer` takes the classes that are present.
        image: the picture at its own size, only for a reducer that wants it.
        failure: (stage, text) of what went wrong, or None.
    """

    key: Any
    about: Any = None
    source: bytes | NDArray[np.uint8] | None = None
    failure: tuple[str, str] | None = None
    width: int = 0
    height: int = 0
    phash: int = 0
    histogram: NDArray[Any] | None = None
    placement: Placement | None = None
    image: NDArray[np.uint8] | None = None
    regions: PictureRegions | None = None
    scored: Any = None  # what the worker's reducer made of the logits, a ScoredImage unless it was given another

    def fail(self, stage: str, error: BaseException) -> None:
        self.failure = (stage, " ".join(str(error).split()) or type(error).__name__)
        self.source = None


@dataclass
class Batch:
    """Pictures that go through the model together, and their input tensors once prepared (by input size)."""

    pictures: list[Picture]
    tag: Any = None
    tensors: list[tuple[list[Picture], NDArray[Any]]] = field(default_factory=list)


class Clock:
    """CPU seconds of this process's workers by stage, estimated from every 8th call.

    Asking the system for a thread's CPU time costs some microseconds, which a pool of small pictures would feel.
    """

    _ALWAYS, _EVERY = 16, 8

    def __init__(self) -> None:
        names = ("fetch", "decode", "prepare", "histogram", "regions", "infer", "reduce", "write")
        self.seconds = dict.fromkeys(names, 0.0)
        self._calls = dict.fromkeys(names, 0)
        self._lock = threading.Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        with self._lock:
            call = self._calls[name]
            self._calls[name] = call + 1
        if call >= self._ALWAYS and call % self._EVERY:
            yield
            return
        start = time.thread_time()
        try:
            yield
        finally:
            spent = time.thread_time() - start
            with self._lock:
                self.seconds[name] += spent if call < self._ALWAYS else spent * self._EVERY


class MemoryGate:
    """Lets only so many bytes of decoded pictures exist at once; ordinary pictures pass without waiting."""

    def __init__(self, limit: int = 1 << 30, free_below: int = 48 << 20) -> None:
        self._limit, self._free_below = limit, free_below
        self._used = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        if size < self._free_below:
            yield
            return
        size = min(size, self._limit)
        with self._changed:
            self._changed.wait_for(lambda: self._used + size <= self._limit)
            self._used += size
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()


class Worker:
    """One thread's buffers. `prepare` and `compute` may run on different threads with different workers."""

    def __init__(
        self,
        model: OnnxModel,
        config: ScoreConfig,
        clock: Clock,
        gate: MemoryGate,
        seats: Seats,
        region_cache: RegionCache | None = None,
        reducer: Any = None,
    ) -> None:
        """Args: reducer: makes `Picture.scored` of the logits, called as `Reducer.reduce` is; None: a Reducer."""
        self._seats, self._seat = seats, seats.join()
        self._model, self._config = model, config
        self._clock, self._gate = clock, gate
        self._spec = model.spec
        self._runner = model.runner()
        self._buffer = DecodeBuffer()
        self._plan, self._region_cache = parse_regions(config.regions), region_cache
        self._histogram = parse_histogram(config.histogram, config.histogram_dtype)
        self._whole = DecodeBuffer()  # for histograms of pictures that the model wants smaller
        # Regions of the picture's own size need all its pixels.
        at_own_size = self._plan is not None and config.score_size == "image"
        self._reducer = reducer or Reducer(
            model.spec, config.measures, config.score_size, config.top_fraction, published=config.published
        )
        self._keep_image = bool(getattr(self._reducer, "wants_image", False))
        self._min_size = None if at_own_size or self._keep_image else decode_at_least(model.spec)

    def prepare(self, batch: Batch, *, own_memory: bool = False) -> Batch:
        """Decode every picture and write it into its slot of an input tensor.

        Args:
            own_memory: allocate tensors instead of using this worker's input buffer; needed when another
                thread computes while this one goes on.
        """
        self._seats.settle(self._seat)
        for picture in batch.pictures:
            if picture.failure is not None:
                continue
            try:
                self._decode_into(picture, batch, own_memory)
            except (DataError, MemoryError) as error:
                picture.fail("decode", error)
            except AlsegError as error:
                picture.fail("score", error)
        return batch

    def _decode_into(self, picture: Picture, batch: Batch, own_memory: bool) -> None:
        source = picture.source
        with self._gate.hold(peak_bytes(source) if isinstance(source, bytes) else 0):
            with self._clock.stage("decode"):
                decoded = None
                if isinstance(source, np.ndarray):
                    image = source
                    picture.height, picture.width = image.shape[:2]
                else:
                    assert source is not None
                    decoded = decode_image(
                        source,
                        max_pixels=self._config.max_pixels,
                        min_size=self._min_size,
                        buffer=self._buffer,
                    )
                    image = decoded.image
                    picture.width, picture.height = decoded.width, decoded.height
                picture.source = None
            if self._histogram is not None:
                with self._clock.stage("histogram"):
                    if decoded is None:
                        picture.histogram = self._histogram.of_array(image)
                    else:
                        assert isinstance(source, bytes)
                        limit = self._config.max_pixels
                        picture.histogram = self._histogram.of_bytes(source, decoded, limit, self._whole)
            with self._clock.stage("prepare"):
                picture.phash = phash(image)
                if self._keep_image:
                    picture.image = np.array(image)  # the buffer is the next picture's
                picture.placement = place(self._spec, picture.width, picture.height)
                fill(self._spec, image, picture.placement, self._slot(picture, batch, own_memory))
            if self._plan is not None:
                with self._clock.stage("regions"):
                    own = self._config.score_size == "image"
                    place_size = (picture.placement.height, picture.placement.width)
                    picture.regions = cut(
                        image,
                        (picture.height, picture.width) if own else place_size,
                        self._plan,
                        own_size=(picture.height, picture.width),
                        crf=self._config.crf,
                        cache=self._region_cache,
                        source=source,
                    )

    def _slot(self, picture: Picture, batch: Batch, own_memory: bool) -> NDArray[Any]:
        """The next free slot of the tensor of this picture's input size, made on first need."""
        assert picture.placement is not None
        h, w = picture.placement.size
        for members, tensor in batch.tensors:
            if members[0].placement is not None and members[0].placement.size == (h, w):
                members.append(picture)
                slot: NDArray[Any] = tensor[len(members) - 1]
                return slot
        n = len(batch.pictures)
        # Only one tensor at a time can live in the runner's buffer.
        buffer = self._runner.input_buffer(n, h, w)
        if own_memory or batch.tensors:
            buffer = np.empty_like(buffer)
        batch.tensors.append(([picture], buffer))
        first: NDArray[Any] = buffer[0]
        return first

    def compute(self, batch: Batch) -> Batch:
        """Run the model on the prepared tensors and score every picture."""
        self._seats.settle(self._seat)
        for members, tensor in batch.tensors:
            try:
                with self._clock.stage("infer"):
                    logits = self._runner.run(tensor[: len(members)])
                    if self._spec.n_passes > 1:
                        logits = logits[:, : self._config.mc_passes]
            except ModelError as error:
                for picture in members:
                    picture.fail("infer", error)
                continue
            with self._clock.stage("reduce"):
                for i, picture in enumerate(members):
                    self._reduce(picture, logits[i : i + 1])
        batch.tensors = []
        return batch

    def _reduce(self, picture: Picture, logits: Any) -> None:
        assert picture.placement is not None
        try:
            picture.scored = self._reducer.reduce(
                logits,
                picture.placement,
                (picture.height, picture.width),
                maps=self._config.maps,
                regions=picture.regions,
                **({} if picture.about is None else {"about": picture.about}),
                **({"image": picture.image} if self._keep_image else {}),
            )
        except AlsegError as error:
            picture.fail("score", error)
        finally:
            picture.regions = picture.image = None

    def run(self, batch: Batch) -> Batch:
        """Both halves on one thread: the order that keeps a picture in one core's cache."""
        return self.compute(self.prepare(batch))


def batches_of(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Consecutive slices of at most `size`; fixed by position, so that a resumed run makes the same ones."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
