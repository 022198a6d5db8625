"""A light decoder in the manner of U-Net (Ronneberger et al., 2015) on any encoder of several stages."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import RangeError, UsageError
from .decoder import Decoder, Segmentation
from .layers import ConvNorm, initialise, initialise_linear, resize, spatial_size
from .staged import Features


class UNetDecoder(Decoder):
    """From the coarsest stage upwards: resize to the next finer stage, join it, one 3x3 convolution.

    Args:
        widths: channels of the encoder's stages, finest first.
        n_outputs: logits a pixel.
        dropout: probability of a zero, after each convolution on the way up.
        width: channels at the finest resolution; 2 width at the encoder's second stage, 4 width at coarser ones.
        full_resolution: a last step joins features of the image itself, and the logits have its size. Otherwise
            they have the size of the first stage.
        norm: "group" or "batch", see `normalisation`.
    """

    def __init__(
        self,
        widths: Sequence[int],
        n_outputs: int,
        *,
        dropout: float = 0.0,
        width: int = 16,
        full_resolution: bool = True,
        norm: str = "group",
    ) -> None:
        super().__init__()
        if len(widths) < 2:
            raise UsageError(
                "UNetDecoder: the encoder must have several stages; got one. A vision transformer takes "
                "decoder='largefov'."
            )
        if type(width) is not int or width < 1:
            raise RangeError(f"UNetDecoder: width must be an integer >= 1; got {width!r}. Usual: 16.")
        self.dropout = nn.Dropout(dropout)
        self.joins = nn.ModuleList()
        below = widths[-1]
        for stage in range(len(widths) - 2, -1, -1):
            out = width * min(4, 2**stage)
            self.joins.append(ConvNorm(below + widths[stage], out, norm=norm))
            below = out
        self.stem: nn.Module | None = None
        if full_resolution:
            self.stem = ConvNorm(3, width, norm=norm)
            self.joins.append(ConvNorm(below + width, width, norm=norm))
            below = width
        self.classifier = nn.Conv2d(below, n_outputs, 1)

    def forward(self, images: Tensor, features: Features) -> Segmentation:
        finer = list(features.stages[-2::-1])
        if self.stem is not None:
            finer.append(self.stem(images))
        x = features.stages[-1]
        for join, skip in zip(self.joins, finer, strict=True):
            x = torch.cat([resize(x, spatial_size(skip)), skip], 1)
            x = self.dropout(join(x))
        return Segmentation(self.classifier(x))

    def initialise(self, generator: torch.Generator) -> None:
        initialise(self, generator)
        initialise_linear(self.classifier, generator)
