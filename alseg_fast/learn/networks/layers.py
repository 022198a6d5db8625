"""Small parts that encoders and decoders share: normalised convolutions, resizing, first weights."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...checks import check_choice

NORMS = ("group", "batch")
_CHANNELS_A_GROUP = 8


def normalisation(kind: str, channels: int) -> nn.Module:
    """A normalisation of [B, channels, h, w].

    "group" (Wu & He, 2018; groups of 8 channels, fewer where 8 does not divide them) treats each picture alone, so
    it is the same in training and evaluation, for a batch of one, and for a moving average of the weights; "batch"
    is torch's BatchNorm2d.
    """
    check_choice("normalisation", "kind", kind, NORMS)
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(channels // math.gcd(channels, _CHANNELS_A_GROUP), channels)


class ConvNorm(nn.Sequential):
    """Convolution that keeps the size (for stride 1), normalisation and, unless ``relu`` is false, ReLU."""

    def __init__(
        self,
        cin: int,
        cout: int,
        kernel: int = 3,
        *,
        norm: str,
        stride: int = 1,
        dilation: int = 1,
        relu: bool = True,
    ) -> None:
        padding = dilation * (kernel // 2)
        conv = nn.Conv2d(cin, cout, kernel, stride, padding, dilation, bias=False)
        super().__init__(conv, normalisation(norm, cout), *([nn.ReLU()] if relu else []))


def resize(x: Tensor, size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """[B, C, h, w] bilinearly at ``size``; itself where it has that size."""
    if spatial_size(x) == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)


def spatial_size(x: Tensor) -> tuple[int, int]:
    """(h, w) as numbers: an exported graph takes one size only."""
    return int(x.shape[-2]), int(x.shape[-1])


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator, scheme: str = "he") -> None:
    """First weights of all convolutions, linear layers and normalisations of a module.

    Args:
        generator: on the CPU; the numbers are the same on every device.
        scheme: "he": normal with variance 2 / fan-out, biases 0 (He et al., 2015). "uniform": torch's own default,
            weights and biases uniform within 1 / sqrt(fan-in), which networks that were published without a word
            about it have. Normalisations start as the identity, with fresh running statistics.
    """
    check_choice("initialise", "scheme", scheme, ("he", "uniform"))
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            fan_in, fan_out = _fans(part.weight)
            bound = 1 / math.sqrt(fan_in)
            if scheme == "he":
                _draw_normal(part.weight, math.sqrt(2 / fan_out), generator)
            else:
                _draw_uniform(part.weight, bound, generator)
            if part.bias is not None and scheme == "he":
                part.bias.zero_()
            elif part.bias is not None:
                _draw_uniform(part.bias, bound, generator)
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()
        elif isinstance(part, (nn.GroupNorm, nn.LayerNorm)):
            part.weight.fill_(1)
            part.bias.zero_()


@torch.no_grad()
def initialise_linear(layer: nn.Conv2d | nn.Linear, generator: torch.Generator) -> None:
    """First weights of a layer that no ReLU follows: normal with variance 1 / fan-in, bias 0."""
    _draw_normal(layer.weight, 1 / math.sqrt(_fans(layer.weight)[0]), generator)
    if layer.bias is not None:
        layer.bias.zero_()


def _fans(weight: Tensor) -> tuple[int, int]:
    field = math.prod(weight.shape[2:])
    return int(weight.shape[1]) * field, int(weight.shape[0]) * field


def _draw_normal(target: Tensor, std: float, generator: torch.Generator) -> None:
    target.copy_(torch.randn(target.shape, generator=generator) * std)


def _draw_uniform(target: Tensor, bound: float, generator: torch.Generator) -> None:
    target.copy_((torch.rand(target.shape, generator=generator) * 2 - 1) * bound)
