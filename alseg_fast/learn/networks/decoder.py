"""The form of every segmentation decoder."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .staged import Features


class Segmentation(NamedTuple):
    """Logits [B, C, h, w], and further ones of a cascade, coarsest first."""

    logits: Tensor
    auxiliary: tuple[Tensor, ...] = ()


class Decoder(nn.Module):
    """Images and their features -> `Segmentation`."""

    def forward(self, images: Tensor, features: Features) -> Segmentation:
        raise NotImplementedError

    def initialise(self, generator: torch.Generator) -> None:
        """Draw first weights."""
        raise NotImplementedError
