"""The segmentation head of Belharbi et al. (2021), layer by layer as in their code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import RangeError, UsageError
from .decoder import Decoder, Segmentation
from .layers import initialise, resize, spatial_size
from .staged import Features

_STAGES = 5
_UP_WIDTHS = (256, 128, 128, 64)
_IMAGE_WIDTH = 64


def _conv_relu(cin: int, cout: int, padding: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, 3, padding=padding), nn.ReLU())


def _double_conv(cin: int, cout: int) -> nn.Sequential:
    """Two 3x3 convolutions of stride 2 each, so that a block divides the size by 4."""
    parts: list[nn.Module] = []
    for channels in (cin, cout):
        parts += [nn.Conv2d(channels, cout, 3, 2, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU()]
    return nn.Sequential(*parts)


class BelharbiDecoder(Decoder):
    """A U-shaped network of its own on the image, fed by side layers on the five stages of the encoder.

    Side layers: each stage -> 3x3 convolution without padding to ``leak`` channels. Image: two 3x3 convolutions to
    64 channels at full size. Down: five blocks of two 3x3 convolutions, both of stride 2; the input of each is the
    block before, resized to the size of the stage's side layer, joined with it; widths 2, 4, 8, 16 and 32 times
    ``base``. Up: x2, resized to the block before (at the size to which it was resized on the way down), joined, one
    3x3 convolution of 256, 128, 128 and 64 channels; then the image's size, joined with its own features, 3x3 to
    64, 1x1. All resizing is bilinear with aligned corners. The logits have the image's size.

    The published first weights are torch's defaults, and so they are here. The smallest side of the last stage
    must be 3 cells.

    Args:
        widths: channels of the encoder's five stages.
        n_outputs: logits a pixel; published: 1.
        dropout: element-wise, after each of the five down blocks and the four up convolutions (with the five
            encoder stages the 14 places of the published MC dropout); published there: 0.2.
        base: 24 for GlaS, 12 for CUB.
        leak: 64 for GlaS, 32 for CUB.
    """

    def __init__(
        self, widths: Sequence[int], n_outputs: int, *, dropout: float = 0.0, base: int = 24, leak: int = 64
    ) -> None:
        super().__init__()
        if len(widths) != _STAGES:
            raise UsageError(
                f"BelharbiDecoder: the encoder must have {_STAGES} stages; got {len(widths)}. A vision transformer "
                "takes decoder='largefov'."
            )
        for name, value in (("base", base), ("leak", leak)):
            if type(value) is not int or value < 1:
                raise RangeError(f"BelharbiDecoder: {name} must be an integer >= 1; got {value!r}.")
        self.dropout = nn.Dropout(dropout)
        self.side = nn.ModuleList(_conv_relu(width, leak, padding=0) for width in widths)
        self.image = nn.Sequential(_conv_relu(3, _IMAGE_WIDTH), _conv_relu(_IMAGE_WIDTH, _IMAGE_WIDTH))
        downs = [base * 2 ** (i + 1) for i in range(_STAGES)]
        below = [_IMAGE_WIDTH, *downs[:-1]]
        self.down = nn.ModuleList(_double_conv(cin + leak, cout) for cin, cout in zip(below, downs, strict=True))
        coarser = [downs[-1], *_UP_WIDTHS[:-1]]
        self.up = nn.ModuleList(
            _conv_relu(cin + skip, cout) for cin, skip, cout in zip(coarser, downs[-2::-1], _UP_WIDTHS, strict=True)
        )
        self.last = nn.Sequential(_conv_relu(_UP_WIDTHS[-1] + _IMAGE_WIDTH, 64), nn.Conv2d(64, n_outputs, 1))

    def forward(self, images: Tensor, features: Features) -> Segmentation:
        smallest = min(spatial_size(features.stages[-1]))
        if smallest < 3:
            raise RangeError(
                f"BelharbiDecoder: the encoder's last stage must be at least 3 cells high and wide; got {smallest}. "
                "Use larger images or a smaller output stride."
            )
        own: Tensor = self.image(images)
        x = own
        skips = []
        for side, down, stage in zip(self.side, self.down, features.stages, strict=True):
            leak = side(stage)
            x = resize(x, spatial_size(leak), align_corners=True)
            skips.append(x)
            x = self.dropout(down(torch.cat([x, leak], 1)))
        for up, skip in zip(self.up, skips[:0:-1], strict=True):
            x = _grown(x, spatial_size(skip))
            x = self.dropout(up(torch.cat([x, skip], 1)))
        x = _grown(x, spatial_size(images))
        return Segmentation(self.last(torch.cat([x, own], 1)))

    def initialise(self, generator: torch.Generator) -> None:
        initialise(self, generator, "uniform")


def _grown(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Twice the size, then ``size``: two interpolations, as published."""
    height, width = spatial_size(x)
    return resize(resize(x, (2 * height, 2 * width), align_corners=True), size, align_corners=True)
