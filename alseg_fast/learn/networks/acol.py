"""Adversarial complementary learning: two classifiers on one feature map, the second without the first's evidence."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...errors import RangeError, ShapeError
from .map_range import MAP_EPSILON, scale_maps


class AcolOutputs(NamedTuple):
    """What `AcolHead` answers.

    Attributes:
        tag_logits: [B, K] of the first branch, the classifier's answer.
        cams: [B, K, h, w] in 0..1, the larger of both branches' min-max normalised maps; those of absent tags use
            the whole range too, so that they mean something only together with the image tags.
        second_logits: [B, K] of the second branch; they enter the training loss only.
        erased: [B, h, w] bool, what the second branch did not see.
    """

    tag_logits: Tensor
    cams: Tensor
    second_logits: Tensor
    erased: Tensor


class AcolHead(nn.Module):
    """Adversarial erasing inside the network (Zhang et al. 2018, ACoL), in one forward pass.

    Branch A classifies the features by the spatial mean of its maps. Where A's map, normalised to 0..1, reaches
    `threshold`, the features are set to 0; branch B classifies what is left and so has to find other parts of the
    object. The training loss is the sum of both branches' classification losses (`tag_loss` of `tag_logits` and of
    `second_logits`); the map is the element-wise maximum of both normalised maps.

    The region depends on a class. With `tags` it is the union over the tags that are present (the published code
    has one tag an image and takes that one); without, as published for testing, the tag with the highest logit.
    The published normalisation (x - min) / (max - min) is NaN on a flat map; here a map whose range is at most
    `eps` is 0 and erases nothing. The region is a comparison, so no gradient passes through its border; the
    features keep theirs in both branches.

    Args:
        in_channels: channels of the features.
        n_tags: K.
        threshold: in (0, 1]; 0.6 is the published one for ImageNet.
        hidden: channels of each branch's two 3 x 3 convolutions with ReLU before its 1 x 1 classifier; 0 = the
            1 x 1 classifier alone. Published: 1024. The default is the choice of this package: as wide as the
            features.
        pooling_dropout: probability of a zero on each branch's input; published: none.
        smooth: average the features over 3 x 3 first, as published.
        eps: range below which a map is flat.
    """

    def __init__(
        self,
        in_channels: int,
        n_tags: int,
        *,
        threshold: float = 0.6,
        hidden: int | None = None,
        pooling_dropout: float = 0.0,
        smooth: bool = True,
        eps: float = MAP_EPSILON,
    ) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("n_tags", n_tags)):
            if value < 1:
                raise RangeError(f"AcolHead: {name} must be at least 1; got {value!r}. Give the number of channels.")
        if not 0.0 < threshold <= 1.0:
            raise RangeError(f"AcolHead: threshold must be in (0, 1]; got {threshold!r}. 0.6 is the published one.")
        if not 0.0 <= pooling_dropout < 1.0:
            raise RangeError(f"AcolHead: pooling_dropout must be in [0, 1); got {pooling_dropout!r}. 0 is none.")
        if hidden is not None and hidden < 0:
            raise RangeError(f"AcolHead: hidden must be at least 0; got {hidden!r}. 0 leaves the convolutions out.")
        self.threshold = float(threshold)
        self.eps = float(eps)
        width = in_channels if hidden is None else hidden
        self.smooth = nn.AvgPool2d(3, stride=1, padding=1) if smooth else nn.Identity()
        self.first = _branch(in_channels, width, n_tags, pooling_dropout)
        self.second = _branch(in_channels, width, n_tags, pooling_dropout)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw first weights: uniform after Glorot and Bengio, biases 0, as published."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Tensor, tags: Tensor | None = None) -> AcolOutputs:
        """features [B, D, h, w]; tags [B, K], nonzero where the tag is present, or None."""
        features = self.smooth(features)
        maps = self.first(features)  # [B, K, h, w]
        logits = maps.mean(dim=(2, 3))
        if tags is None:
            erased_for = nn.functional.one_hot(logits.argmax(dim=1), logits.shape[1]).bool()
        elif tags.shape != logits.shape:
            raise ShapeError(
                f"AcolHead: tags must have shape [B, K] = {list(logits.shape)}; got {list(tags.shape)}. "
                "Give one row an image, nonzero where the tag is present."
            )
        else:
            erased_for = tags != 0
        scaled, _ = scale_maps(maps, "minmax", self.eps)
        erased = ((scaled.detach() >= self.threshold) & erased_for[:, :, None, None]).any(dim=1)  # [B, h, w]
        others = self.second(features.masked_fill(erased[:, None], 0.0))
        second, _ = scale_maps(others, "minmax", self.eps)
        return AcolOutputs(logits, torch.maximum(scaled, second), others.mean(dim=(2, 3)), erased)


def _branch(in_channels: int, width: int, n_tags: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Dropout(dropout)] if dropout > 0 else []
    if width == 0:
        return nn.Sequential(*layers, nn.Conv2d(in_channels, n_tags, 1))
    return nn.Sequential(
        *layers,
        nn.Conv2d(in_channels, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, n_tags, 1),
    )
