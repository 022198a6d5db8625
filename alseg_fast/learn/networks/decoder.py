"""The form of every segmentation decoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .staged import Features


class Segmentation(NamedTuple):
    """Logits [B, C, h, w], and further ones of a cascade, coarsest first."""

    logits: Tensor
    auxiliary: tuple[Tensor, ...] = ()


class Decoder(nn.Module, ABC):
    """Images and their features -> `Segmentation`."""

    @abstractmethod
    def forward(self, images: Tensor, features: Features) -> Segmentation:
        """Segmentation of a batch."""

    @abstractmethod
    def initialise(self, generator: torch.Generator) -> None:
        """Draw first weights."""
