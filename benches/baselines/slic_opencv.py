"""OpenCV's ximgproc module, which opencv-contrib-python-headless has and opencv-python-headless has not.

The picture becomes CIELAB first, as OpenCV's documentation advises; its advice to blur is left out, because it costs
time and, on photographs, boundaries.
"""

from __future__ import annotations

from typing import Any

import cv2

from .superpixel_signature import COMPACTNESS, N_ITER, Call, Image, cell_side

_LSC_RATIO = 0.075  # OpenCV's default
_SMALLEST_PERCENT = 25  # its default share of the mean area below which a segment is merged
_SEEDS_LEVELS, _SEEDS_PRIOR, _SEEDS_BINS = 4, 2, 5  # of its sample program


def _ximgproc() -> Any:
    if not hasattr(cv2, "ximgproc"):
        raise ImportError(
            "cv2 has no ximgproc; install opencv-contrib-python-headless in place of opencv-python-headless"
        )
    return cv2.ximgproc


def _cluster(create: Any, image: Image, threads: int) -> Call:
    """`create(lab)` gives an object that iterates and then connects."""
    _ximgproc()
    cv2.setNumThreads(threads)

    def call() -> Any:
        model = create(cv2.cvtColor(image, cv2.COLOR_RGB2Lab))
        model.iterate(N_ITER)
        model.enforceLabelConnectivity(_SMALLEST_PERCENT)
        return model.getLabels()

    return call


def slic(image: Image, n_segments: int, threads: int) -> Call:
    side, module = cell_side(image, n_segments), _ximgproc()
    return _cluster(lambda lab: module.createSuperpixelSLIC(lab, module.SLIC, side, COMPACTNESS), image, threads)


def slico(image: Image, n_segments: int, threads: int) -> Call:
    side, module = cell_side(image, n_segments), _ximgproc()
    return _cluster(lambda lab: module.createSuperpixelSLIC(lab, module.SLICO, side, COMPACTNESS), image, threads)


def lsc(image: Image, n_segments: int, threads: int) -> Call:
    """Linear spectral clustering (Li and Chen 2015)."""
    side, module = cell_side(image, n_segments), _ximgproc()
    return _cluster(lambda lab: module.createSuperpixelLSC(lab, side, _LSC_RATIO), image, threads)


def _seeds(image: Image, n_segments: int, threads: int, n_iter: int) -> Call:
    module = _ximgproc()
    cv2.setNumThreads(threads)
    height, width, channels = image.shape

    # Kept: it begins anew with each picture, and making it costs a quarter of the whole.
    model = module.createSuperpixelSEEDS(
        width, height, channels, n_segments, _SEEDS_LEVELS, _SEEDS_PRIOR, _SEEDS_BINS, False
    )

    def call() -> Any:
        model.iterate(cv2.cvtColor(image, cv2.COLOR_RGB2Lab), n_iter)
        return model.getLabels()

    return call


def seeds(image: Image, n_segments: int, threads: int) -> Call:
    """SEEDS (Van den Bergh et al. 2012), as many iterations as the others."""
    return _seeds(image, n_segments, threads, N_ITER)


def seeds_4(image: Image, n_segments: int, threads: int) -> Call:
    """4 iterations, as its sample program."""
    return _seeds(image, n_segments, threads, 4)
