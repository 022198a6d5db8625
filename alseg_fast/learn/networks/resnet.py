"""ResNet-18 and ResNet-50 as encoders (He et al., 2016), with the parameter names of torchvision's files."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .layers import initialise
from .staged import StagedEncoder, dilations

_STRIDES = (2, 4, 8, 16, 32)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, cin: int, width: int, stride: int, dilation: int, first_dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(cin, width, 3, stride, first_dilation, first_dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(cin, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the 3x3 one strides, as in torchvision's files."""

    expansion = 4

    def __init__(self, cin: int, width: int, stride: int, dilation: int, first_dilation: int) -> None:
        super().__init__()
        cout = width * self.expansion
        self.conv1 = nn.Conv2d(cin, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, first_dilation, first_dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, cout, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(cout)
        self.downsample = _shortcut(cin, cout, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def _shortcut(cin: int, cout: int, stride: int) -> nn.Module:
    if stride == 1 and cin == cout:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))


class ResNet(StagedEncoder):
    """Five stages: stem at 1/2, then layer1 (1/4) to layer4 (1/32).

    The state dict has torchvision's keys except ``fc``, which is a classifier for ImageNet.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        depths: blocks of layer1 to layer4.
        output_stride: largest stride, 8, 16 or 32; later stages dilate instead. A file's weights fit each of them.
    """

    def __init__(
        self, block: type[BasicBlock | Bottleneck], depths: tuple[int, int, int, int], *, output_stride: int = 32
    ) -> None:
        super().__init__()
        steps, dilated = dilations(output_stride, _STRIDES)
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        cin = 64
        layers = []
        for i, depth in enumerate(depths):
            width = 64 << i
            # The pooling before layer1 does its stride; a layer's first block keeps the dilation that came before.
            stride = 1 if i == 0 else steps[i + 1]
            parts = []
            for j in range(depth):
                first = dilated[i] if j == 0 else dilated[i + 1]
                parts.append(block(cin, width, stride if j == 0 else 1, dilated[i + 1], first))
                cin = width * block.expansion
            layers.append(nn.Sequential(*parts))
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.widths = (64, *(block.expansion * (64 << i) for i in range(4)))
        self.strides = tuple(min(s, output_stride) for s in _STRIDES)
        self.block_widths = tuple(w for w, depth in zip(self.widths[1:], depths, strict=True) for _ in range(depth))

    def enter(self, stage: int, x: Tensor) -> Tensor:
        if stage == 0:
            return torch.relu(self.bn1(self.conv1(x)))
        pooled: Tensor = self.maxpool(x) if stage == 1 else x
        return pooled

    def blocks(self, stage: int) -> Iterable[nn.Module]:
        return () if stage == 0 else (self.layer1, self.layer2, self.layer3, self.layer4)[stage - 1]

    def initialise(self, generator: torch.Generator) -> None:
        initialise(self, generator)


def resnet18(*, output_stride: int = 32) -> ResNet:
    """ResNet-18: 11.2 million parameters."""
    return ResNet(BasicBlock, (2, 2, 2, 2), output_stride=output_stride)


def resnet50(*, output_stride: int = 32) -> ResNet:
    """ResNet-50: 23.5 million parameters."""
    return ResNet(Bottleneck, (3, 4, 6, 3), output_stride=output_stride)
