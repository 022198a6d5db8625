"""Activation maps as the kernels take them, and results as the caller's kind of array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_dtype, check_ndim, is_torch
from ..errors import DeviceError, DtypeError, ShapeError

NUMBERS = (int, float, np.integer, np.floating)  # what a setting may be; bool is an int and is refused apart
_DTYPES = ("float16", "float32", "float64")
_TORCH_DTYPES = ("torch.float16", "torch.bfloat16", "torch.float32", "torch.float64")


@dataclass(frozen=True)
class Maps:
    """Maps of one call.

    Attributes:
        array: float32: C-contiguous NumPy, or a tensor on a CUDA device.
        device: "cpu" or "cuda".
        torch_device: where results go back as tensors; None: the caller passed NumPy.
    """

    array: Any
    device: str
    torch_device: Any

    def restore(self, result: NDArray[Any]) -> Any:
        """A NumPy result as the kind of array that the caller passed."""
        if self.torch_device is None:
            return result
        import torch

        return torch.from_numpy(result)


def take_maps(function: str, argument: str, x: Any, ndims: tuple[int, ...], letters: str) -> Maps:
    """NumPy or torch floats with one of `ndims` numbers of axes; gradients are not followed."""
    if is_torch(x):
        check_dtype(function, argument, x.dtype, _TORCH_DTYPES, f"Convert with {argument}.float().")
        check_ndim(function, argument, x, ndims, letters)
        tensor = x.detach().float()
        if tensor.device.type != "cpu":
            return Maps(tensor.contiguous(), tensor.device.type, tensor.device)
        return Maps(np.ascontiguousarray(tensor.numpy()), "cpu", tensor.device)
    array = np.asarray(x)
    check_dtype(function, argument, array.dtype, _DTYPES, f"Convert with {argument}.astype(np.float32).")
    check_ndim(function, argument, array, ndims, letters)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, which is refused later
        return Maps(np.ascontiguousarray(array, np.float32), "cpu", None)


def take_beside(function: str, argument: str, x: Any, maps: Maps, shape: tuple[int, ...], letters: str) -> Any:
    """`x` on the device of the maps, with exactly `shape`."""
    if maps.device == "cpu":
        if is_torch(x) and x.device.type != "cpu":
            raise DeviceError(f"{function}: {argument} must be on the CPU like the maps; got {x.device}. Move it.")
        array = x.detach().numpy() if is_torch(x) else np.asarray(x)
    else:
        if not is_torch(x) or x.device != maps.torch_device:
            where = str(x.device) if is_torch(x) else f"a {type(x).__name__} on the CPU"
            raise DeviceError(
                f"{function}: {argument} must be on {maps.torch_device} like the maps; got {where}. Move it."
            )
        array = x.detach()
    if tuple(array.shape) != shape:
        raise ShapeError(
            f"{function}: {argument} must have shape {letters} = {list(shape)}; got {list(array.shape)}. "
            "Resize it or the maps."
        )
    return array


def take_valid(function: str, valid: Any, maps: Maps, shape: tuple[int, ...]) -> Any:
    """bool of the maps' pixels, contiguous; None stays None."""
    if valid is None:
        return None
    mask = take_beside(function, "valid", valid, maps, shape, "[N, h, w]" if len(shape) == 3 else "[h, w]")
    if str(mask.dtype) not in ("bool", "torch.bool"):
        raise DtypeError(
            f"{function}: valid must be bool; got {mask.dtype}. Compare first, for example valid = target != 255."
        )
    return np.ascontiguousarray(mask) if maps.device == "cpu" else mask
