"""fast-slic, its three strongest forms. Each call has a new object: a kept one starts from its last centres."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .superpixel_signature import COMPACTNESS, N_ITER, Call, Image


def _make(model: Any, image: Image, n_segments: int, threads: int) -> Call:
    def call() -> Any:
        return model(num_components=n_segments, compactness=COMPACTNESS, num_threads=threads).iterate(image, N_ITER)

    return call


def scalar(image: Image, n_segments: int, threads: int) -> Call:
    """Compiled for any x86-64."""
    return _make(import_module("fast_slic").Slic, image, n_segments, threads)


def avx2(image: Image, n_segments: int, threads: int) -> Call:
    """The same labels with AVX2."""
    return _make(import_module("fast_slic.avx2").SlicAvx2, image, n_segments, threads)


def lsc_avx2(image: Image, n_segments: int, threads: int) -> Call:
    """Linear spectral clustering (Li and Chen 2015)."""
    return _make(import_module("fast_slic.avx2").LSCAvx2, image, n_segments, threads)
