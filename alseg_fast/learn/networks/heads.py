"""Classification heads whose weights make activation maps, and heads by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .acol import AcolHead
from .layers import initialise_linear
from .tag_outputs import TagOutputs
from .wildcat import WildcatHead


class AverageHead(nn.Module):
    """Mean over the map, then a linear layer (Zhou et al., 2016).

    The activation map is the layer's weights applied to each cell; the logit is its mean plus the bias.
    """

    def __init__(self, in_channels: int, n_tags: int) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(in_channels, n_tags, 1)

    def forward(self, features: Tensor, tags: Tensor | None = None) -> TagOutputs:
        cams = F.conv2d(features, self.classifier.weight)
        bias = self.classifier.bias
        logits = cams.mean((2, 3))
        return TagOutputs(logits if bias is None else logits + bias, cams)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw first weights."""
        initialise_linear(self.classifier, generator)


class MaxHead(nn.Module):
    """Maximum of each channel over the map, then a 1x1 convolution without bias, as in CoSA's released code.

    The activation map is the same convolution on every cell. As each channel has its maximum elsewhere, the logit
    is neither the map's maximum nor its mean.
    """

    def __init__(self, in_channels: int, n_tags: int) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(in_channels, n_tags, 1, bias=False)

    def forward(self, features: Tensor, tags: Tensor | None = None) -> TagOutputs:
        strongest = features.flatten(2).max(-1).values  # one cell a channel takes the gradient
        logits = F.linear(strongest, self.classifier.weight.flatten(1))
        return TagOutputs(logits, self.classifier(features))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw first weights."""
        initialise_linear(self.classifier, generator)


HEADS: dict[str, Callable[..., nn.Module]] = {
    "wildcat": WildcatHead,
    "wildcat_published": partial(WildcatHead, form="published"),
    "average": AverageHead,
    "max": MaxHead,
    "acol": AcolHead,
}
