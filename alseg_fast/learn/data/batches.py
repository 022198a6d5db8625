"""Reproducible batches: which images, in which views, is a function of the data set, the seed and the step."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from ...errors import DataError, RangeError, UsageError
from .batch import Batch
from .dataset import Dataset, Sample
from .picture_cache import DEFAULT_CACHE_BYTES, PictureCache
from .transforms import Augmented, Transform

log = logging.getLogger("alseg")

_ORDER, _VIEW, _REPLACEMENT = 0, 1, 2  # what the numbers of a SeedSequence are for


class Batches:
    """Batches of a data set.

    Images come in epochs: each is a permutation of all images, and one follows the other without a gap, so the last
    batch of an epoch is filled up with the first images of the next (nothing is dropped, no batch is smaller; a batch
    larger than the data set repeats images). With `labelled_per_batch` there are two such sequences, the annotated
    images and all others, and the annotated ones come first in the batch.

    An image that cannot be read is recorded in `failures`, reported once in the log, and its place is taken by another
    of the same sequence, drawn for that place; so a batch still depends on the files, seed and step alone.

    Args:
        dataset: all samples are used; choose a split before.
        augment: the random view; an `Augment` or what behaves alike.
        batch_size: images a batch.
        seed: of order and views.
        labelled_per_batch: annotated images in each batch, 0 < it < batch_size; None: no distinction.
        cache: True keeps decoded pictures in memory, up to 1 GiB; a number: so many bytes; False: none. Pictures are
            reduced to what the largest scale of `augment` needs before they are kept, with or without a cache, so that
            the cache changes the time only. Pictures that find no more room are decoded each time.
        workers: threads that prepare batches ahead in `stream`; 0: none. The batches are the same.
    Raises: UsageError, RangeError: an argument is wrong, the data set (or one of the two sequences) is empty.
    """

    def __init__(
        self,
        dataset: Dataset,
        augment: Transform,
        *,
        batch_size: int,
        seed: int,
        labelled_per_batch: int | None = None,
        cache: bool | int = True,
        workers: int = 1,
    ) -> None:
        self.dataset = dataset
        self.batch_size = _check_integer("batch_size", batch_size, 1)
        self.seed = _check_integer("seed", seed, 0)
        self.workers = _check_integer("workers", workers, 0)
        self.labelled_per_batch = labelled_per_batch
        self._augment = augment
        room = DEFAULT_CACHE_BYTES if cache is True else _check_integer("cache", int(cache), 0)
        self._pictures = PictureCache(dataset, augment.stored_size, max_bytes=room)
        self._failures: dict[str, str] = {}
        self._lock = threading.Lock()
        self._sequences = self._make_sequences()
        self._order = lru_cache(maxsize=8)(self._draw_order)

    @property
    def failures(self) -> dict[str, str]:
        """image_id -> why the image could not be used, of all images met so far."""
        with self._lock:
            return dict(self._failures)

    @property
    def steps_per_epoch(self) -> int:
        """Batches until every image of the longest sequence has been seen once."""
        return max(-(-len(samples) // count) for samples, count in self._sequences)

    def ids(self, step: int) -> tuple[str, ...]:
        """image_ids that the step asks for; unreadable ones are replaced in `at`."""
        return tuple(s.image_id for _, s in self._wanted(_check_integer("step", step, 0)))

    def at(self, step: int) -> Batch:
        """The batch of a step, counted from 0; safe to call from several threads.

        Raises: DataError: no image of a sequence can be read; names the first.
        """
        wanted = self._wanted(_check_integer("step", step, 0))
        loaded = [self._load(which, sample, step, place) for place, (which, sample) in enumerate(wanted)]
        return _collate(self.dataset, [s for s, _ in loaded], [v for _, v in loaded])

    def stream(self, first_step: int, n_steps: int) -> Iterator[Batch]:
        """The batches of n_steps steps from first_step on, the same as `at` gives, prepared ahead by the workers."""
        steps = range(first_step, first_step + n_steps)
        if not self.workers:
            yield from map(self.at, steps)
            return
        ahead: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(self.workers, thread_name_prefix="alseg-batches") as pool:
            try:
                for step in steps:
                    ahead.append(pool.submit(self.at, step))
                    if len(ahead) > self.workers + 1:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()

    def _make_sequences(self) -> list[tuple[tuple[Sample, ...], int]]:
        samples, asked = self.dataset.samples, self.labelled_per_batch
        if not samples:
            raise UsageError(
                f"Batches: dataset must have images; {self.dataset.name} has none here. Check the split and the filter."
            )
        if asked is None:
            return [(samples, self.batch_size)]
        if isinstance(asked, bool) or not isinstance(asked, int) or not 0 < asked < self.batch_size:
            raise RangeError(
                f"Batches: labelled_per_batch must be an integer in 1 .. {self.batch_size - 1} (batch_size - 1); "
                f"got {asked!r}. None makes no distinction."
            )
        labelled = tuple(s for s in samples if is_annotated(s))
        others = tuple(s for s in samples if not is_annotated(s))
        if not labelled or not others:
            which = "with" if not labelled else "without"
            raise UsageError(
                f"Batches: dataset must have images with and without an annotated mask for labelled_per_batch; "
                f"{self.dataset.name} has none {which} one. Leave labelled_per_batch out."
            )
        return [(labelled, asked), (others, self.batch_size - asked)]

    def _generator(self, *numbers: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([self.seed, *numbers]))

    def _draw_order(self, which: int, epoch: int) -> npt.NDArray[np.int64]:
        return self._generator(_ORDER, which, epoch).permutation(len(self._sequences[which][0]))

    def _wanted(self, step: int) -> list[tuple[int, Sample]]:
        """(sequence, sample) of every place of the batch."""
        wanted = []
        for which, (samples, count) in enumerate(self._sequences):
            for position in range(step * count, (step + 1) * count):
                epoch, i = divmod(position, len(samples))
                wanted.append((which, samples[int(self._order(which, epoch)[i])]))
        return wanted

    def _load(self, which: int, sample: Sample, step: int, place: int) -> tuple[Sample, Augmented]:
        view = self._try(sample, step, place)
        if view is not None:
            return sample, view
        samples = self._sequences[which][0]
        for i in self._generator(_REPLACEMENT, step, place).permutation(len(samples)):
            view = self._try(samples[i], step, place)
            if view is not None:
                return samples[i], view
        first = self._failures[samples[0].image_id]
        raise DataError(
            f"none of the {len(samples):,} images of {self.dataset.name} can be used, the first: {first}; "
            "check the folder of the data set"
        )

    def _try(self, sample: Sample, step: int, place: int) -> Augmented | None:
        """The view of a sample, or None where it cannot be read; views start from a generator of their own."""
        with self._lock:
            if sample.image_id in self._failures:
                return None
        try:
            picture = self._pictures.get(sample)
        except DataError as exc:
            with self._lock:
                known = sample.image_id in self._failures
                self._failures[sample.image_id] = str(exc)
            if not known:
                log.warning("image %s is left out: %s", sample.image_id, exc)
            return None
        return self._augment(picture.image, picture.mask, self._generator(_VIEW, step, place), size=picture.size)


def is_annotated(sample: Sample) -> bool:
    """Whether the sample has a mask that is no prediction."""
    return sample.mask is not None and not sample.pseudo


def collate_tags(samples: Sequence[Sample], n_tags: int) -> torch.Tensor:
    """[B, K] float32, 1 where a tag is present."""
    tags = torch.zeros((len(samples), n_tags), dtype=torch.float32)
    for row, sample in enumerate(samples):
        tags[row, list(sample.tags)] = 1.0
    return tags


def _collate(dataset: Dataset, samples: Sequence[Sample], views: Sequence[Augmented]) -> Batch:
    images = torch.stack([v.image for v in views])
    same = all(v.strong is v.image for v in views)
    return Batch(
        image_ids=tuple(s.image_id for s in samples),
        images=images,
        strong=images if same else torch.stack([v.strong for v in views]),
        rgb=torch.stack([v.rgb for v in views]),
        tags=collate_tags(samples, len(dataset.tag_names)),
        masks=torch.stack([v.mask for v in views]),
        labelled=torch.tensor([is_annotated(s) for s in samples]),
        pseudo=torch.tensor([s.pseudo and s.mask is not None for s in samples]),
        valid=torch.stack([v.valid for v in views]),
    )


def _check_integer(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise RangeError(f"Batches: {name} must be an integer >= {least}; got {value!r}. Correct the number.")
    return int(value)
