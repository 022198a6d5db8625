"""What the implementations share: the description of an image's lattice, of a problem on it, and status bits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOT_FINITE, NEGATIVE, NOT_NORMALISED, BAD_LABEL = 1, 2, 4, 8
"""Bits of the status that every implementation returns."""


@dataclass
class Lattice:
    """The part of a dense CRF that depends on the image alone."""

    image: NDArray[np.uint8]  # [H, W, 1 or 3]
    gaussian: tuple[float, float] | None  # sigma_xy, weight > 0
    bilateral: tuple[float, float, float] | None  # sigma_xy, sigma_rgb, weight > 0
    symmetric: bool  # D^-1/2 K D^-1/2 with D = K 1; else K
    native: Any = field(default=None, repr=False)  # filled by the C++ implementation


@dataclass(frozen=True)
class Problem:
    """The part that depends on the model and the annotators."""

    source: NDArray[Any]  # [C, H, W] float32, or [H, W] int32 for "labels"
    unary: str  # "probs", "logits" or "labels"
    n_classes: int
    confidence: NDArray[np.float32] | float  # [H, W], or the same everywhere
    unsure: int  # label that says nothing; -1: there is none
    clip: float  # least probability of the unary
    tolerance: float  # by which a sum of probabilities may miss 1
    clamp: NDArray[np.int32] | None  # [H, W] fixed ids; -1 is free
    penalty: NDArray[np.float32] | None  # [C, C] symmetric; None: Potts
    n_iter: int
