"""What no implementation can beat on this machine at this moment, measured by torch's own loops.

Same signature as the baselines (logits [1, C, h, w], or [1, T, C, h, w] for the MC form), but the call gives
nothing: it does a part of the work and no more.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

FMA_PER_CLASS_PIXEL = 7  # one to interpolate along x, five for the exponential, one for sum z e^z
FMA_MC = FMA_PER_CLASS_PIXEL + 2  # and one each for the sums of p and of p^2
_MATRIX = 512
_EXP_BLOCK = 1 << 16  # floats: stays in the second-level cache


def set_threads(threads: int) -> None:
    """For everything that torch runs in this process from now on."""
    torch.set_num_threads(threads)


def _upsampled_values(logits: NDArray[np.float32], size: tuple[int, int]) -> int:
    return math.prod(logits.shape[:-2]) * size[0] * size[1]


def write_outputs(logits: NDArray[np.float32], size: tuple[int, int]) -> tuple[Callable[[], object], float]:
    """Fill two float32 maps and a uint8 map, 9 bytes a pixel (MC: four float32 maps), in memory that is kept."""
    kinds = [torch.float32, torch.float32, torch.uint8] if logits.ndim == 4 else [torch.float32] * 4
    maps = [torch.empty(size, dtype=kind) for kind in kinds]

    def call() -> None:
        for values in maps:
            values.fill_(1)

    return call, 1.0


def multiply_add(logits: NDArray[np.float32], size: tuple[int, int]) -> tuple[Callable[[], object], float]:
    """The multiply-adds that a softmax entropy needs, at the rate of a matrix product."""
    a, b, c = (torch.full((_MATRIX, _MATRIX), 0.5) for _ in range(3))
    per_value = FMA_PER_CLASS_PIXEL if logits.ndim == 4 else FMA_MC
    needed = per_value * _upsampled_values(logits, size)

    def call() -> None:
        torch.mm(a, b, out=c)

    return call, needed / _MATRIX**3


def library_exp(logits: NDArray[np.float32], size: tuple[int, int]) -> tuple[Callable[[], object], float]:
    """One exponential a class and pixel by torch's vector library, in the cache. A yardstick, not a floor:
    a kernel whose range is known can use a cheaper polynomial.
    """
    x = torch.linspace(-20.0, 0.0, _EXP_BLOCK)
    out = torch.empty_like(x)

    def call() -> None:
        torch.exp(x, out=out)

    return call, _upsampled_values(logits, size) / _EXP_BLOCK
