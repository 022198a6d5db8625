"""What the implementations share: the request, the raw result, and the order of the measures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

MEASURES = ("entropy", "margin", "least_confidence")  # index = column of every [N, 3] result
NOT_FINITE, OUT_OF_RANGE = 1, 2  # bits of Raw.status


@dataclass(frozen=True)
class Request:
    """One checked call; see :func:`alseg_fast.uncertainty` for the meaning of the fields."""

    size: tuple[int, int]
    measures: tuple[str, ...]
    activation: str
    align_corners: bool
    box: tuple[float, float, float, float]  # top, left, height, width of the sampled part, in logit pixels
    maps: bool
    labels: bool
    class_stats: bool
    top_fraction: float | None  # None: the top mean is not wanted
    sums: bool  # the mean and max are wanted
    num_threads: int  # 0: all CPUs of this process
    bfloat16: bool = False  # logits are the bits of bfloat16 in a uint16 array

    @property
    def top_count(self) -> int:
        """Pixels that make the top share: rounded up, at least one."""
        pixels = self.size[0] * self.size[1]
        if self.top_fraction is None:
            return 1
        return min(pixels, max(1, math.ceil(self.top_fraction * pixels - 1e-9)))


@dataclass(frozen=True)
class Raw:
    """Results in the order of ``MEASURES``; columns of measures that were not asked for mean nothing."""

    maps: dict[str, NDArray[Any]]  # [N, H, W] float32
    labels: NDArray[Any] | None  # [N, H, W] uint8 or uint16
    mean: NDArray[Any]  # [N, 3] float64
    max: NDArray[Any]  # [N, 3] float32
    top: NDArray[Any] | None  # [N, 3] float64
    class_count: NDArray[Any] | None  # [N, L] int64
    class_sum: NDArray[Any] | None  # [N, 3, L] float64
    status: NDArray[Any]  # [N] uint8


def n_labels(n_classes: int) -> int:
    """One output channel is a two-class problem: label 0 below the threshold, 1 above."""
    return 2 if n_classes == 1 else n_classes
