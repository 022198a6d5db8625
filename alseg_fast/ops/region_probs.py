"""region_probs: the class probabilities of regions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_choice, check_ndim, check_threads
from ..errors import DataError, DeviceError, ShapeError
from ..kernels.region_probs import region_probs as _op
from ..kernels.region_probs.common import BAD_SEGMENT, NOT_FINITE
from .segment_ids import bad_ids, take_ids
from .simd import apply_simd_level
from .uncertainty_inputs import take_box, take_scores

_NAME = "region_probs"
_ACTIVATIONS = ("softmax", "sigmoid", "probabilities")


def region_probs(
    logits: Any,
    segments: Any,
    n_segments: int | None = None,
    *,
    activation: str = "softmax",
    box: tuple[float, float, float, float] | None = None,
    num_threads: int | None = None,
) -> NDArray[np.float32]:
    """Mean class probabilities of each region of one image, from class scores at the model's own resolution.

    The scores become probabilities where they are, [h, w]; the mean over passes of these is interpolated bilinearly
    to the size of `segments` (``align_corners=False``) and averaged over each region. ``alseg.uncertainty``
    interpolates the scores instead, as networks do; the order here makes the cost independent of the number of
    pixels a class.

    Args:
        logits: [C, h, w], or [T, C, h, w] for T passes, of one image; float32 or float16, NumPy or torch on the CPU
            (bfloat16 too), any strides.
        segments: [H, W] integer ids 0..S - 1, -1 where there is no region; any integer dtype, any strides.
        n_segments: S; None takes the largest id + 1.
        activation: "softmax" | "sigmoid" | "probabilities". Several sigmoid channels, and probabilities, are
            divided by their sum over classes (all 0: each class the same). One channel, which is not for softmax, is
            the probability of label 1 of two.
        box: (top, left, height, width) of the part of the logits that the image covers, in logit pixels; None is all
            of it.
        num_threads: None uses every CPU of the process; same bits for any number.
    Returns: [S, L] float32 whose rows sum to 1; L = C, or 2 where C = 1. A region without a pixel has 1 / L
    everywhere: nothing is known of it.
    Raises:
        ShapeError, DtypeError, RangeError, DeviceError: an argument is wrong; the message names it.
        DataError: logits hold NaN or inf, or values outside 0..1 for "probabilities".
    Back ends: native (CPU), reference.
    """
    shape = getattr(logits, "shape", None)
    array = logits if shape is not None else np.asarray(logits)
    check_ndim(_NAME, "logits", array, (3, 4), "[C, h, w] or [T, C, h, w]")
    taken = take_scores(_NAME, array[None])
    if taken.device != "cpu":
        raise DeviceError(f"{_NAME}: logits must be on the CPU; got {taken.torch_device}. Move them with logits.cpu().")
    scores = taken.array[0]
    if taken.bfloat16:
        scores = (scores.astype(np.uint32) << 16).view(np.float32)
    check_choice(_NAME, "activation", activation, _ACTIVATIONS)
    n_classes = scores.shape[1]
    if n_classes > 65535 or (n_classes == 1 and activation == "softmax"):
        raise ShapeError(
            f"{_NAME}: logits must have 2 to 65535 classes for softmax (1 for sigmoid or probabilities); "
            f'got {n_classes}. Use activation="sigmoid" for a one-channel model.'
        )
    ids, count = take_ids(_NAME, segments, n_segments)
    part = take_box(_NAME, box, scores.shape[2:], False)
    threads = check_threads(_NAME, num_threads)
    apply_simd_level()
    probs: NDArray[np.float32]
    probs, status = _op("cpu", np.ascontiguousarray(scores, np.float32), activation, part, ids, count, threads)
    if status & NOT_FINITE:
        raise DataError(f"{_NAME}: logits must be finite; they hold NaN or inf. Leave such images out.")
    if status & BAD_SEGMENT:
        raise bad_ids(_NAME, ids, count)
    if status:
        raise DataError(
            f"{_NAME}: logits must be in 0..1 with activation='probabilities'; got {float(scores.min()):.4g} to "
            f"{float(scores.max()):.4g}. Use activation='softmax' or 'sigmoid' for logits."
        )
    return probs
