"""region_impurity: how mixed, and how unsure, the surroundings of a pixel are."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..checks import check_ndim, check_threads, is_torch
from ..errors import DataError, DeviceError, DtypeError, RangeError, ShapeError
from ..kernels.region_impurity import region_impurity as _op
from ..kernels.region_impurity.common import BAD_LABEL
from .simd import apply_simd_level

_NAME = "region_impurity"


def region_impurity(
    labels: Any,
    entropy: Any = None,
    *,
    n_classes: int | None = None,
    radius: int = 1,
    valid: Any = None,
    num_threads: int | None = None,
) -> Any:
    """Entropy of the predicted classes' shares in a square window, times the mean predictive entropy there.

    The acquisition score of RIPU: impurity(i, j) = -sum_c (|N_c| / |N|) ln(|N_c| / |N|) over the window N of
    (2 radius + 1)^2 pixels around (i, j), cut at the border; score = impurity x mean of `entropy` over N. By
    separable box sums: the cost does not depend on `radius`.

    Args:
        labels: [N, H, W] or [H, W] integer class ids (``Uncertainty.labels``), NumPy or torch.
        entropy: float32 of the same shape (``Uncertainty.maps["entropy"]``), in nats; None: the impurity alone.
        n_classes: number of classes; None takes the largest label + 1.
        radius: k of the paper, in pixels, >= 0; its experiments with regions of pixels use 1.
        valid: bool of the same shape; pixels that are not valid count in no window and score 0.
        num_threads: None uses every CPU of the process; same bits for any number.
    Returns: float32 of the shape of `labels`, in nats squared (nats without `entropy`), the same kind of array.
    Raises: ShapeError, DtypeError, RangeError, DeviceError, DataError; the message names the argument.
    Source: Xie et al., Towards Fewer Annotations: Active Learning via Region Impurity and Prediction Uncertainty
    for Domain Adaptive Semantic Segmentation, CVPR 2022, equations 3 to 5.
    Back ends: triton (CUDA), native (CPU), reference.
    """
    check_ndim(_NAME, "labels", labels, (2, 3), "[N, H, W] or [H, W]")
    torch_input = is_torch(labels)
    device = labels.device.type if torch_input else "cpu"
    given = {"labels": labels, "entropy": entropy, "valid": valid}
    arrays: dict[str, Any] = {k: None if x is None else _take(k, x, labels, device) for k, x in given.items()}
    if isinstance(radius, bool) or not isinstance(radius, (int, np.integer)) or radius < 0:
        raise RangeError(f"{_NAME}: radius must be an integer >= 0; got {radius!r}. 1 is a window of 3x3 pixels.")
    if n_classes is None:
        n_classes = int(arrays["labels"].max()) + 1
    if not 1 <= n_classes <= 65536:
        raise RangeError(f"{_NAME}: n_classes must be in 1..65536; got {n_classes!r}. Give the number of classes.")
    ids = _narrow(arrays["labels"], n_classes, device)
    shape = tuple(labels.shape)
    three = [None if a is None else a.reshape(-1, *shape[-2:]) for a in (ids, arrays["entropy"], arrays["valid"])]
    apply_simd_level()
    scores, status = _op(device, *three, n_classes, int(radius), check_threads(_NAME, num_threads))
    if status & BAD_LABEL:
        raise _bad_label(n_classes, arrays["labels"])
    if status:
        raise DataError(f"{_NAME}: entropy must be finite; it holds NaN or inf. Leave such images out.")
    scores = scores.reshape(shape)
    if torch_input and device == "cpu":
        import torch

        return torch.from_numpy(scores)
    return scores


def _take(argument: str, x: Any, labels: Any, device: str) -> Any:
    """One input as a contiguous array or tensor where the labels are, with its dtype checked."""
    if is_torch(x) != is_torch(labels) or (is_torch(x) and x.device != labels.device):
        where = getattr(x, "device", "the CPU (NumPy)")
        raise DeviceError(
            f"{_NAME}: {argument} must be on {getattr(labels, 'device', 'the CPU (NumPy)')} like labels; got {where}."
        )
    x = x.detach() if is_torch(x) else np.asarray(x)
    if tuple(x.shape) != tuple(labels.shape):
        raise ShapeError(
            f"{_NAME}: {argument} must have the shape of labels {list(labels.shape)}; got {list(x.shape)}."
        )
    kind = str(x.dtype).removeprefix("torch.")
    wanted = {"labels": ("int", "uint"), "entropy": ("float32",), "valid": ("bool",)}[argument]
    if not kind.startswith(wanted):
        raise DtypeError(f"{_NAME}: {argument} must be {' or '.join(wanted)}; got {x.dtype}. Convert it first.")
    if device != "cpu":
        return x.contiguous()
    return np.ascontiguousarray(x.numpy() if is_torch(x) else x)


def _narrow(labels: Any, n_classes: int, device: str) -> Any:
    """Labels as 8 or 16 bits on a CPU, where the kernel checks their range; wider ones are checked here."""
    if device != "cpu":
        return labels
    if labels.dtype in (np.uint8, np.uint16):
        return labels
    if labels.min() < 0 or labels.max() >= n_classes:
        raise _bad_label(n_classes, labels)
    return labels.astype(np.uint8 if n_classes <= 256 else np.uint16)


def _bad_label(n_classes: int, labels: Any) -> RangeError:
    return RangeError(
        f"{_NAME}: labels must be in 0..n_classes - 1 = {n_classes - 1}; got {int(labels.min())} to "
        f"{int(labels.max())}. Mark ignored pixels through valid."
    )
