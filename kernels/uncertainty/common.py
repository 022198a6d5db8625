"""What the implementations share: the request, the raw result, and the order of the measures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ...types import MEASURES as MEASURES  # index = column of every [N, K] result

NOT_FINITE, OUT_OF_RANGE, BAD_SEGMENT = 1, 2, 4  # bits of Raw.status


@dataclass(frozen=True)
class Request:
    """One checked call; see :func:`alseg_fast.uncertainty` for the meaning of the fields."""

    size: tuple[int, int]
    measures: tuple[str, ...]
    activation: str  # "softmax", "sigmoid" or "probabilities"; "cam" has become probabilities before (cam.py)
    align_corners: bool
    box: tuple[float, float, float, float]  # top, left, height, width of the sampled part, in logit pixels
    maps: bool
    labels: bool
    class_stats: bool
    top_fraction: float | None  # None: the top mean is not wanted
    sums: bool  # the mean and max are wanted
    num_threads: int  # 0: all CPUs of this process
    bfloat16: bool = False  # logits are the bits of bfloat16 in a uint16 array (CPU only)
    temperature: float = 1.0  # logits are divided by it; 1 with probabilities
    n_segments: int = 0  # 0: no segments

    def top_count(self, n_valid: int) -> int:
        """Pixels that make the top share of n_valid pixels: rounded up, at least one if there is any."""
        if self.top_fraction is None:
            return min(1, n_valid)
        return min(n_valid, max(1, math.ceil(self.top_fraction * n_valid - 1e-9)))


@dataclass(frozen=True)
class Raw:
    """Results in the order of ``MEASURES`` (K of them); columns of measures not asked for mean nothing.

    L labels, S segments. Only valid pixels count anywhere; maps are 0 where a pixel is not valid.
    """

    maps: dict[str, Any]  # [N, H, W] float32
    labels: Any  # [N, H, W] uint8 or uint16, or None
    mean: Any  # [N, K] float64, NaN without a valid pixel
    max: Any  # [N, K] float32, NaN without a valid pixel
    top: Any  # [N, K] float64, NaN without a valid pixel; or None
    class_count: Any  # [N, L] int64, or None
    class_sum: Any  # [N, K, L] float64, or None
    segment_area: Any  # [N, S] int64 valid pixels, or None
    segment_sum: Any  # [N, K, S] float64, or None
    segment_class: Any  # [N, S, L] int64 valid pixels, or None unless class_stats
    n_valid: Any  # [N] int64
    status: Any  # [N] uint8


def n_labels(n_classes: int) -> int:
    """One output channel is a two-class problem: label 0 below the threshold, 1 above."""
    return 2 if n_classes == 1 else n_classes


def measure_bits(measures: tuple[str, ...]) -> int:
    """Bit i is set where MEASURES[i] is wanted."""
    return sum(1 << i for i, m in enumerate(MEASURES) if m in measures)


def segment_scale(pixels: int, n_classes: int) -> float:
    """Steps a unit of the fixed-point sums over segments.

    A measure is at most max(1, ln C); integers of 62 bits hold the sum of all pixels, and integers add up to the
    same bits in any order, which is what makes the sums independent of threads and of atomics.
    """
    largest = pixels * max(1.0, math.log(max(2, n_classes)))
    return 2.0 ** min(40, 62 - math.ceil(math.log2(largest)))
