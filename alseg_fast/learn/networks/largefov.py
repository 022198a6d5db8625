"""The LargeFOV head: two dilated convolutions on the last features (Chen et al., 2015, as in CoSA)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import RangeError
from .decoder import Decoder, Segmentation
from .layers import initialise, initialise_linear
from .staged import Features


class LargeFovDecoder(Decoder):
    """3x3 convolution, ReLU, twice, dilated; then 1x1. The logits have the size of the encoder's last stage.

    Args:
        widths: channels of the encoder's stages; the last one counts.
        n_outputs: logits a pixel.
        dropout: probability of a zero, after each of the two convolutions.
        head_width: channels; released CoSA: 512.
        dilation: released CoSA: 5.
    """

    def __init__(
        self,
        widths: Sequence[int],
        n_outputs: int,
        *,
        dropout: float = 0.0,
        head_width: int = 512,
        dilation: int = 5,
    ) -> None:
        super().__init__()
        for name, value in (("head_width", head_width), ("dilation", dilation)):
            if type(value) is not int or value < 1:
                raise RangeError(f"LargeFovDecoder: {name} must be an integer >= 1; got {value!r}.")
        self.dropout = nn.Dropout(dropout)
        self.first = nn.Conv2d(widths[-1], head_width, 3, padding=dilation, dilation=dilation)
        self.second = nn.Conv2d(head_width, head_width, 3, padding=dilation, dilation=dilation)
        self.classifier = nn.Conv2d(head_width, n_outputs, 1)

    def forward(self, images: Tensor, features: Features) -> Segmentation:
        x = self.dropout(torch.relu(self.first(features.stages[-1])))
        x = self.dropout(torch.relu(self.second(x)))
        return Segmentation(self.classifier(x))

    def initialise(self, generator: torch.Generator) -> None:
        initialise(self, generator)
        initialise_linear(self.classifier, generator)
