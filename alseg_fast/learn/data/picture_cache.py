"""Decoded pictures, reduced to what is needed, in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from .dataset import Dataset, Sample
from .geometry import resize_image, resize_nearest
from .pictures import Picture, read_picture

DEFAULT_CACHE_BYTES = 1 << 30


class PictureCache:
    """Samples decoded and reduced; the first that fit are kept, for as long as this object lives.

    Nothing is thrown out again: every image of a permutation is needed equally often, so what is full may as well stay.

    Args:
        stored_size: (H, W) of a picture -> (h, w) to reduce it to, never larger.
        max_bytes: of pixels kept; 0 keeps none.
    """

    def __init__(
        self, dataset: Dataset, stored_size: Callable[[tuple[int, int]], tuple[int, int]], *, max_bytes: int
    ) -> None:
        self._dataset = dataset
        self._stored_size = stored_size
        self._room = max_bytes
        self._kept: dict[str, Picture] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, sample: Sample) -> Picture:
        """The reduced picture; image and mask have the same size. Raises: DataError that names the file."""
        with self._lock:
            kept = self._kept.get(sample.image_id)
        if kept is not None:
            return kept
        picture = self._reduced(sample)
        size = picture.image.nbytes + (0 if picture.mask is None else picture.mask.nbytes)
        with self._lock:
            if sample.image_id not in self._kept and size <= self._room:
                self._kept[sample.image_id] = picture
                self._room -= size
        return picture

    def _reduced(self, sample: Sample) -> Picture:
        full = read_picture(self._dataset, sample, stored_size=self._stored_size)
        size = self._stored_size(full.size)
        image = np.ascontiguousarray(resize_image(full.image, size))
        mask = None if full.mask is None else np.ascontiguousarray(resize_nearest(full.mask, size))
        for array in (image, mask):
            if array is not None:
                array.flags.writeable = False  # it is handed to several threads
        return Picture(image, mask, full.size)
