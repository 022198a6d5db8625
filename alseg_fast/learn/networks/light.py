"""A small residual encoder for training from scratch on a CPU with a few dozen pictures."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .layers import ConvNorm, initialise
from .staged import StagedEncoder, dilations

_STRIDES = (2, 4, 8, 16, 32)
_WIDTHS = (16, 32, 48, 80, 112)
_DEPTHS = (0, 1, 2, 1, 1)


class LightBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a mean over 2x2 pixels and a 1x1 convolution where it must be."""

    def __init__(self, cin: int, cout: int, stride: int, dilation: int, norm: str) -> None:
        super().__init__()
        self.first = ConvNorm(cin, cout, norm=norm, stride=stride, dilation=dilation)
        self.second = ConvNorm(cout, cout, norm=norm, dilation=dilation, relu=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or cin != cout:
            pool = nn.AvgPool2d(2, 2, ceil_mode=True) if stride == 2 else nn.Identity()
            self.shortcut = nn.Sequential(pool, ConvNorm(cin, cout, 1, norm=norm, relu=False))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))


class LightEncoder(StagedEncoder):
    """Five stages of 16, 32, 48, 80 and 112 channels; 0.39 million parameters.

    Plain 3x3 convolutions: depthwise ones need fewer multiplications, but are slower to train on a CPU.

    Args:
        output_stride: largest stride, 8, 16 or 32; later stages dilate instead. 8, because an activation map of a
            small picture has few cells otherwise.
        norm: "group" or "batch", see `normalisation`.
    """

    def __init__(self, *, output_stride: int = 8, norm: str = "group") -> None:
        super().__init__()
        steps, dilated = dilations(output_stride, _STRIDES)
        self.stem = ConvNorm(3, _WIDTHS[0], norm=norm, stride=steps[0])
        layers = []
        for i in range(1, len(_WIDTHS)):
            ins = (_WIDTHS[i - 1], *[_WIDTHS[i]] * (_DEPTHS[i] - 1))
            layers.append(
                nn.Sequential(
                    *(LightBlock(cin, _WIDTHS[i], 1 if j else steps[i], dilated[i], norm) for j, cin in enumerate(ins))
                )
            )
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.widths = _WIDTHS
        self.strides = tuple(min(s, output_stride) for s in _STRIDES)
        self.block_widths = tuple(w for w, depth in zip(_WIDTHS, _DEPTHS, strict=True) for _ in range(depth))

    def enter(self, stage: int, x: Tensor) -> Tensor:
        entered: Tensor = self.stem(x) if stage == 0 else x
        return entered

    def blocks(self, stage: int) -> Iterable[nn.Module]:
        return () if stage == 0 else (self.layer1, self.layer2, self.layer3, self.layer4)[stage - 1]

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        initialise(self, generator)
        for part in self.modules():
            if isinstance(part, LightBlock):
                # A block starts as its shortcut: the signal reaches the classifier undistorted (Goyal et al., 2017).
                for norm in part.second:
                    if isinstance(norm, (nn.GroupNorm, nn.BatchNorm2d)):
                        norm.weight.zero_()
