"""A three-resolution cascade for street scenes in the manner of ICNet (Zhao et al., 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import RangeError, UsageError
from .decoder import Decoder, Segmentation
from .layers import ConvNorm, initialise, initialise_linear, resize, spatial_size
from .staged import Features

_POOLED = (1, 2, 3, 6)
_MIDDLE_STAGE = 2


class Fusion(nn.Module):
    """Cascade feature fusion: coarse features, resized and dilated, plus projected finer ones."""

    def __init__(self, coarse: int, fine: int, width: int, norm: str) -> None:
        super().__init__()
        self.coarse = ConvNorm(coarse, width, norm=norm, dilation=2, relu=False)
        self.fine = ConvNorm(fine, width, 1, norm=norm, relu=False)

    def forward(self, coarse: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
        """The fused features, and the coarse ones at their size."""
        grown = resize(coarse, spatial_size(fine))
        return torch.relu(self.coarse(grown) + self.fine(fine)), grown


class IcnetDecoder(Decoder):
    """Most of the encoder sees a quarter of the picture's height and width, so that large pictures are cheap.

    The encoder of a cascade sees the picture at 1/2 up to its third stage; that stage's output, halved again, goes on
    through the last two (weights shared, as published), and pyramid pooling adds their means over 1, 2 x 2, 3 x 3 and
    6 x 6 regions. A branch of three convolutions of stride 2 sees the full size. Two fusions join the three. The
    logits have a quarter of the picture's height and width; the auxiliary logits, one for each fusion from its
    coarser input, are for training (Zhao et al.: weights 0.4, 0.4, 1, coarsest first).

    What the paper has and this has not: its pruning, and PSPNet-50's weights.

    Args:
        widths: channels of the encoder's five stages. With an ``output_stride`` of 8, the default for cascades, the
            coarsest branch is at 1/32 of the picture, as published.
        n_outputs: logits a pixel.
        dropout: probability of a zero, after each fusion.
        width: channels of the fusions; published: 128.
        norm: "group" or "batch", see `normalisation`.
    """

    def __init__(
        self, widths: Sequence[int], n_outputs: int, *, dropout: float = 0.0, width: int = 128, norm: str = "group"
    ) -> None:
        super().__init__()
        if len(widths) != 5:
            raise UsageError(
                f"IcnetDecoder: the encoder must have 5 stages; got {len(widths)}. A vision transformer takes "
                "decoder='largefov'."
            )
        if type(width) is not int or width < 4:
            raise RangeError(f"IcnetDecoder: width must be an integer >= 4; got {width!r}. Published: 128.")
        self.dropout = nn.Dropout(dropout)
        self.reduce = ConvNorm(widths[-1], 2 * width, 1, norm=norm)
        quarter, half = width // 4, width // 2
        self.fine = nn.Sequential(
            ConvNorm(3, quarter, norm=norm, stride=2),
            ConvNorm(quarter, quarter, norm=norm, stride=2),
            ConvNorm(quarter, half, norm=norm, stride=2),
        )
        self.low_to_middle = Fusion(2 * width, widths[_MIDDLE_STAGE], width, norm)
        self.middle_to_fine = Fusion(width, half, width, norm)
        self.classifiers = nn.ModuleList(nn.Conv2d(cin, n_outputs, 1) for cin in (2 * width, width, width))

    def forward(self, images: Tensor, features: Features) -> Segmentation:
        low = self.reduce(features.stages[-1])
        low = low + sum(resize(average_regions(low, n), spatial_size(low)) for n in _POOLED)
        joined, grown_low = self.low_to_middle(low, features.stages[_MIDDLE_STAGE])
        joined = self.dropout(joined)
        x, grown_middle = self.middle_to_fine(joined, self.fine(images))
        x = self.dropout(x)
        height, width = spatial_size(x)
        coarsest, coarse, full = self.classifiers
        logits = full(resize(x, (2 * height, 2 * width)))
        return Segmentation(logits, (coarsest(grown_low), coarse(grown_middle)))

    def initialise(self, generator: torch.Generator) -> None:
        initialise(self, generator)
        for layer in self.classifiers:
            if isinstance(layer, nn.Conv2d):
                initialise_linear(layer, generator)


def average_regions(x: Tensor, n: int) -> Tensor:
    """Means [B, C, n, n] over n x n regions of [B, C, h, w]: torch's adaptive average pooling, as matrix products.

    Region i of a side of length s covers floor(i s / n) .. ceil((i + 1) s / n). Matrix products export to ONNX for
    sides that n does not divide.
    """
    height, width = spatial_size(x)
    return _regions(height, n).to(x) @ x @ _regions(width, n).to(x).T


def _regions(side: int, n: int) -> Tensor:
    """[n, side]: row i averages region i."""
    rows = torch.zeros(n, side)
    for i in range(n):
        first, end = i * side // n, -(-(i + 1) * side // n)
        rows[i, first:end] = 1 / (end - first)
    return rows
