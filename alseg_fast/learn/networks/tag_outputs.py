"""What a classification head answers."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class TagOutputs(NamedTuple):
    """Logits [B, K] and raw activation maps [B, K, h, w] of a head."""

    tag_logits: Tensor
    cams: Tensor
