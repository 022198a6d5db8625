"""scikit-image. It has no setting for threads and uses one."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .superpixel_signature import COMPACTNESS, N_ITER, Call, Image


def _make(image: Image, n_segments: int, zero: bool) -> Call:
    segment = import_module("skimage.segmentation").slic

    def call() -> Any:
        return segment(
            image,
            n_segments=n_segments,
            compactness=COMPACTNESS,
            max_num_iter=N_ITER,
            slic_zero=zero,
            start_label=0,
            channel_axis=-1,
        )

    return call


def slic(image: Image, n_segments: int, threads: int) -> Call:
    return _make(image, n_segments, False)


def slic_zero(image: Image, n_segments: int, threads: int) -> Call:
    return _make(image, n_segments, True)
