"""Frozen values passed between the stages and handed to users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# NumPy arrays, or torch tensors where the caller passed torch tensors.
Array = Any

MEASURES = ("entropy", "margin", "least_confidence")
ACTIVATIONS = ("softmax", "sigmoid", "probabilities")
REDUCTIONS = ("mean", "max", "top")


@dataclass(frozen=True)
class Uncertainty:
    """What :func:`alseg_fast.uncertainty` returns. N images, L labels (C, or 2 for one-channel models).

    Attributes:
        maps: measure -> [N, H, W] float32; empty unless maps were asked for.
        labels: [N, H, W] uint8 (uint16 above 256 labels) arg-max class ids, or None.
        scores: "<measure>_<reduction>" -> [N] float32.
        class_fraction: [N, L] float32 share of pixels predicted as each class, or None.
        class_means: measure -> [N, L] float32 mean over the pixels predicted as the class (NaN: no such
            pixel); empty unless asked for.
        finite: [N] bool; False where the logits hold NaN or inf (only with ``nan_policy="mark"``), whose
            scores are NaN.
    """

    maps: Mapping[str, Array] = field(default_factory=dict)
    labels: Array | None = None
    scores: Mapping[str, Array] = field(default_factory=dict)
    class_fraction: Array | None = None
    class_means: Mapping[str, Array] = field(default_factory=dict)
    finite: Array | None = None
    # What `out=` writes into again: the checked request and the arrays behind this value.
    _workspace: Any = field(default=None, repr=False, compare=False)
