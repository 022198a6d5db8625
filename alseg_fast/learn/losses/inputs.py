"""What all losses ask of their tensors, and the zero that still has a gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...checks import check_ndim
from ...errors import DeviceError, DtypeError, RangeError, ShapeError
from ..data.dataset import IGNORE

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def check_scores(function: str, name: str, x: Tensor, letters: str) -> Tensor:
    """A floating tensor with as many axes as `letters` names, in float32 at least: sums in half precision overflow."""
    _check_tensor(function, name, x)
    check_ndim(function, name, x, (letters.count(",") + 1,), letters)
    if x.dtype not in _FLOATS:
        raise DtypeError(f"{function}: {name} must be a floating tensor; got {x.dtype}. Convert with {name}.float().")
    return x if x.dtype == torch.float64 else x.float()


def check_ids(function: str, name: str, x: Tensor, letters: str, like: Tensor) -> Tensor:
    """An integer tensor with as many axes as `letters` names and on the device of `like`, as int64."""
    _check_tensor(function, name, x)
    check_ndim(function, name, x, (letters.count(",") + 1,), letters)
    if x.dtype not in _INTEGERS:
        raise DtypeError(f"{function}: {name} must hold integers; got {x.dtype}. Pass class ids, {IGNORE} for none.")
    _check_device(function, name, x, like)
    return x.long()


def check_like(function: str, name: str, x: Tensor, shape: Sequence[int], like: Tensor, what: str) -> Tensor:
    """A tensor of exactly this shape on the device of `like`."""
    _check_tensor(function, name, x)
    if tuple(x.shape) != tuple(shape):
        raise ShapeError(
            f"{function}: {name} must have shape {list(shape)} to match {what}; got {list(x.shape)}. "
            "Pass values of the same images at the same size."
        )
    _check_device(function, name, x, like)
    return x


def check_flags(function: str, name: str, x: Tensor, shape: Sequence[int], like: Tensor, what: str) -> Tensor:
    """A bool tensor of exactly this shape."""
    check_like(function, name, x, shape, like, what)
    if x.dtype != torch.bool:
        raise DtypeError(f"{function}: {name} must be bool; got {x.dtype}. Convert with {name}.bool().")
    return x


def check_tags(function: str, tags: Tensor, shape: Sequence[int], like: Tensor, what: str) -> Tensor:
    """[B, K] tags as bool."""
    check_like(function, "tags", tags, shape, like, what)
    if tags.dtype != torch.bool and not bool(((tags == 0) | (tags == 1)).all()):
        raise RangeError(f"{function}: tags must be 0 or 1; got other values. 1 stands for a tag that is present.")
    return tags.bool()


def check_positive(function: str, name: str, value: float) -> float:
    if not (isinstance(value, (int, float)) and 0 < value < float("inf")):
        raise RangeError(f"{function}: {name} must be a positive number; got {value!r}. Zero or less has no meaning.")
    return float(value)


def check_classes(function: str, name: str, ids: Tensor, n_classes: int) -> Tensor:
    """Which pixels carry a label; ids beyond the classes are an error (on CUDA they would end the process)."""
    known = ids != IGNORE
    highest = torch.where(known, ids, 0).amax()
    lowest = ids.amin()
    if int(highest) >= n_classes or int(lowest) < 0:
        wrong = int(highest) if int(highest) >= n_classes else int(lowest)
        raise RangeError(
            f"{function}: {name} must hold ids 0..{n_classes - 1} or {IGNORE}; got {wrong}. "
            "Check the classes of the data set against the network's."
        )
    return known


def zero_of(x: Tensor) -> Tensor:
    """0 with a gradient of 0; NaN where x holds NaN or inf: a broken network is not taken for an empty batch."""
    return (x * 0).sum()


def _check_tensor(function: str, name: str, x: object) -> None:
    if not isinstance(x, Tensor):
        raise DtypeError(f"{function}: {name} must be a torch tensor; got {type(x).__name__}. Use torch.as_tensor.")


def _check_device(function: str, name: str, x: Tensor, like: Tensor) -> None:
    if x.device != like.device:
        raise DeviceError(f"{function}: {name} must be on {like.device}; got {x.device}. Move one of them.")
