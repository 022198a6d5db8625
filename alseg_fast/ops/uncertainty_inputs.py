"""From what the user passes to what a kernel takes: arrays of one kind, checked, with a pass axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import check_dtype, check_ndim, is_torch
from ..errors import DeviceError, DtypeError, RangeError, ShapeError

_DTYPES = (np.dtype(np.float32), np.dtype(np.float16))
_TORCH_DTYPES = ("torch.float32", "torch.float16", "torch.bfloat16")


@dataclass(frozen=True)
class Scores:
    """Class scores as a kernel takes them.

    Attributes:
        array: [N, T, C, h, w]: NumPy (bfloat16 as its bits in uint16), or a tensor on a CUDA device.
        device: "cpu" or "cuda".
        torch_device: where results go back as tensors; None: the caller passed NumPy.
    """

    array: Any
    device: str
    bfloat16: bool
    torch_device: Any


def take_scores(name: str, logits: Any) -> Scores:
    """[N, C, h, w] or [N, T, C, h, w], NumPy or torch, without a copy."""
    if not is_torch(logits):
        array = np.asarray(logits)
        if array.dtype not in _DTYPES:
            fix = "Convert with logits.astype(np.float32)."
            check_dtype(name, "logits", array.dtype, ("float32", "float16"), fix)
        return Scores(_with_passes(name, array), "cpu", False, None)
    check_dtype(name, "logits", logits.dtype, _TORCH_DTYPES, "Convert with logits.float().")
    tensor = logits.detach()
    device = tensor.device.type
    if device != "cpu":
        return Scores(_with_passes(name, tensor), device, False, tensor.device)
    if str(tensor.dtype) == "torch.bfloat16":
        import torch

        bits = tensor.view(torch.int16).numpy().view(np.uint16)
        return Scores(_with_passes(name, bits), device, True, tensor.device)
    return Scores(_with_passes(name, tensor.numpy()), device, False, tensor.device)


def _with_passes(name: str, array: Any) -> Any:
    check_ndim(name, "logits", array, (4, 5), "[N, C, h, w] or [N, T, C, h, w]")
    return array if array.ndim == 5 else array[:, None]


def take_valid(name: str, valid: Any, scores: Scores, n: int, size: tuple[int, int]) -> Any:
    """[N, H, W] or [H, W] bool -> contiguous [N, H, W]."""
    mask = same_kind(name, "valid", valid, scores)
    if str(mask.dtype) not in ("bool", "torch.bool"):
        raise DtypeError(
            f"{name}: valid must be bool; got {mask.dtype}. Compare first, for example valid = target != 255."
        )
    return _full(name, "valid", mask, n, size)


def take_segments(
    name: str, segments: Any, n_segments: int | None, scores: Scores, n: int, size: tuple[int, int]
) -> tuple[Any, int]:
    """[N, H, W] or [H, W] integers -> (contiguous int32 [N, H, W], S). Range is checked where they are read."""
    ids = same_kind(name, "segments", segments, scores)
    kind = str(ids.dtype).removeprefix("torch.")
    if not kind.startswith(("int", "uint")):
        raise DtypeError(f"{name}: segments must be integers; got {ids.dtype}. Pass ids from 0 to n_segments - 1.")
    ids = _full(name, "segments", ids, n, size)
    if n_segments is None:
        n_segments = int(ids.max()) + 1
    elif isinstance(n_segments, bool) or not isinstance(n_segments, (int, np.integer)) or n_segments < 1:
        raise RangeError(f"{name}: n_segments must be None or an integer >= 1; got {n_segments!r}.")
    if not 1 <= n_segments <= 2**31 - 1:
        raise _bad_ids(name, int(ids.min()), int(ids.max()), n_segments)
    if kind not in ("int8", "int16", "int32", "uint8", "uint16"):
        # Narrowing could turn a wrong id into a right one.
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= n_segments:
            raise _bad_ids(name, low, high, n_segments)
    if scores.device == "cpu":
        return np.ascontiguousarray(ids, np.int32), int(n_segments)
    import torch

    return ids.to(torch.int32), int(n_segments)


def _bad_ids(name: str, low: int, high: int, n_segments: int) -> RangeError:
    return RangeError(
        f"{name}: segments must be ids from 0 to n_segments - 1 = {n_segments - 1}; got {low} to {high}. "
        "Relabel them, or mark pixels outside every segment through valid."
    )


def bad_segments(name: str, images: Sequence[int], segments: Any, n_segments: int) -> RangeError:
    """The error for ids out of range, which the kernel noticed."""
    picture = segments[int(images[0])]
    return _bad_ids(name, int(picture.min()), int(picture.max()), n_segments)


def same_kind(name: str, argument: str, x: Any, scores: Scores) -> Any:
    """`x` as the kind of array the scores are; a mix of devices is an error, never a copy."""
    if not is_torch(x):
        if scores.device != "cpu":
            raise DeviceError(
                f"{name}: {argument} must be on {scores.torch_device} like logits; got a {type(x).__name__} "
                f"on the CPU. Move it with torch.as_tensor({argument}, device=logits.device)."
            )
        return np.asarray(x)
    wanted = scores.torch_device if scores.torch_device is not None else "cpu"
    if str(x.device) != str(wanted):
        raise DeviceError(
            f"{name}: {argument} must be on {wanted} like logits; got {x.device}. "
            f"Move it with {argument}.to('{wanted}')."
        )
    return x.detach().numpy() if scores.device == "cpu" else x.detach()


def _full(name: str, argument: str, x: Any, n: int, size: tuple[int, int]) -> Any:
    if tuple(x.shape) not in ((n, *size), size):
        raise ShapeError(
            f"{name}: {argument} must have shape [N, H, W] = {[n, *size]} or [H, W] = {list(size)}; "
            f"got {list(x.shape)}. It belongs to the output size, not to that of the logits."
        )
    if isinstance(x, np.ndarray):
        return np.ascontiguousarray(np.broadcast_to(x, (n, *size)))
    return x.expand(n, *size).contiguous()


def take_box(name: str, box: Any, extent: Sequence[int], align_corners: bool) -> tuple[float, float, float, float]:
    """(top, left, height, width) in logit pixels; None is all of them."""
    if box is None:
        return 0.0, 0.0, float(extent[0]), float(extent[1])
    if align_corners:
        raise RangeError(f"{name}: box must be None with align_corners=True; got {box!r}. Use align_corners=False.")
    top, left, height, width = (float(v) for v in box)
    inside = top >= 0 and left >= 0 and height > 0 and width > 0
    if not inside or top + height > extent[0] + 1e-6 or left + width > extent[1] + 1e-6:
        raise RangeError(
            f"{name}: box must be (top, left, height, width) inside the [{extent[0]}, {extent[1]}] logits; "
            f"got {box!r}. Give it in logit pixels."
        )
    return top, left, height, width
