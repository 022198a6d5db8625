"""Scores as a published program computes them, for comparison with its tables; not what they are named after.

The corrected ones are ``entropy`` and ``variance`` of :func:`alseg_fast.uncertainty`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_choice, check_size, check_threads
from ..errors import BackendError, DataError, ShapeError
from ..kernels.foreground import foreground as _op
from .simd import apply_simd_level
from .uncertainty_inputs import take_scores

_SOURCE_ACTIVATIONS = ("sigmoid", "softmax", "probabilities")


def belharbi_entropy(
    logits: Any,
    size: tuple[int, int] | None = None,
    *,
    activation: str = "sigmoid",
    align_corners: bool = False,
    num_threads: int | None = None,
) -> NDArray[np.float32]:
    """The "Entropy" score of Belharbi et al. as their code computes it: mean over pixels of -2 p ln p.

    Meant is the entropy of (p, 1 - p) with p the foreground probability, but both terms hold p. The score is not
    symmetric: largest, 0.736, at p = 1/e, and 0 at p = 0 and p = 1.

    Args:
        logits: [N, 1, h, w] foreground logits, [N, 2, h, w] for "softmax" (the foreground is class 1), NumPy or
            torch on the CPU; with a pass axis, [N, T, C, h, w], the mean over passes too.
        size, align_corners, num_threads: see :func:`alseg_fast.uncertainty`.
        activation: "sigmoid", "softmax" or "probabilities" ([N, 1, h, w] in 0..1).
    Returns: [N] float32.
    Raises: ShapeError, DtypeError, RangeError, BackendError; DataError: NaN, inf, or no probabilities.
    Source: Belharbi et al., Deep active learning for joint classification and segmentation with weak annotator,
    WACV 2021, released code.
    """
    sums, count = _moments("belharbi_entropy", logits, size, activation, align_corners, num_threads)
    return (-2 * sums[:, 2] / count).astype(np.float32)


def belharbi_mc_dropout(
    logits: Any,
    size: tuple[int, int] | None = None,
    *,
    activation: str = "sigmoid",
    align_corners: bool = False,
    num_threads: int | None = None,
) -> NDArray[np.float32]:
    """The "MC_Dropout" score of Belharbi et al. as their code computes it: one variance over passes and pixels.

    Meant is the mean over pixels of each one's variance over passes. The unbiased variance of all T H W values
    together adds the spatial variance of the mean map, which dominates: a certain mask that is half foreground
    scores 0.249, a flat and unsure one about 0.01.

    Args, Raises, Source: see :func:`belharbi_entropy`; logits [N, T, C, h, w].
    Returns: [N] float32, in probability squared.
    """
    sums, count = _moments("belharbi_mc_dropout", logits, size, activation, align_corners, num_threads)
    mean = sums[:, 0] / count
    variance = np.maximum(sums[:, 1] - count * mean**2, 0) / max(count - 1, 1)
    return np.asarray(variance, np.float32)


def _moments(
    name: str, logits: Any, size: Any, activation: str, align_corners: bool, num_threads: int | None
) -> tuple[NDArray[np.float64], int]:
    """Sums [N, 3] of p - 1/2, its square and p ln p, and the number of values of an image."""
    scores = take_scores(name, logits)
    if scores.device != "cpu":
        raise BackendError(f"{name}: logits must be on the CPU; got {scores.torch_device}. Pass logits.cpu().")
    check_choice(name, "activation", activation, _SOURCE_ACTIVATIONS)
    z = scores.array
    if scores.bfloat16:
        z = (z.astype(np.uint32) << 16).view(np.float32)
    channels = 2 if activation == "softmax" else 1
    if z.shape[2] != channels:
        raise ShapeError(
            f"{name}: logits must have {channels} channel(s) with activation={activation!r}; got {z.shape[2]}. "
            "The score is defined for foreground and background only."
        )
    if activation == "softmax":
        # Interpolation is linear, so the difference may be taken before it.
        z = z[:, :, 1:].astype(np.float32) - z[:, :, :1].astype(np.float32)
    shape = z.shape[3:] if size is None else check_size(name, "size", size)
    apply_simd_level()
    sums, status = _op(
        "cpu", z, shape, activation != "probabilities", bool(align_corners), check_threads(name, num_threads)
    )
    if status.any():
        images = np.flatnonzero(status)[:5].tolist()
        raise DataError(f"{name}: logits must be finite (probabilities: in 0..1); images {images} are not.")
    return sums, z.shape[1] * shape[0] * shape[1]
