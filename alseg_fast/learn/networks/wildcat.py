"""The WILDCAT classification head (Durand et al., 2017), corrected and as published by Belharbi et al. (2021)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...checks import check_choice
from ...errors import RangeError, ShapeError
from .layers import initialise_linear
from .tag_outputs import TagOutputs

FORMS = ("corrected", "published")


def wildcat_pool(
    maps: Tensor,
    *,
    kmax: float = 0.1,
    kmin: float = 0.1,
    alpha: float = 0.6,
    dropout: float = 0.0,
    training: bool = False,
    form: str = "corrected",
) -> Tensor:
    """Scores [B, K] of maps [B, K, h, w]: mean of the highest activations and of the lowest.

    With s the activations of a map in descending order, a = round(kmax h w), b = round(kmin h w)::

        corrected: (mean(s[:a]) + alpha mean(s[-b:])) / 2
        published: mean(s[:a])

    The published code computes the second term and loses it: its sum is not stored, nor is the half.

    Args:
        kmax, kmin: shares of the activations, 0 < kmax <= 1, 0 <= kmin <= 1; kmin = 0: no lowest ones. At least one
            activation counts as highest, and one as lowest if kmin > 0, on maps that are too small for the share
            (where the published code divides by 0).
        alpha: weight of the lowest.
        dropout: on the sorted activations; ``training`` makes it active.
        form: "corrected" or "published".
    Raises:
        ShapeError, RangeError: an argument is not as said.
    """
    if maps.ndim != 4 or 0 in maps.shape[1:]:
        raise ShapeError(f"wildcat_pool: maps must be [B, K, h, w], not empty; got {list(maps.shape)}. Pass maps.")
    _check_pool("wildcat_pool", kmax, kmin, alpha, dropout, form)
    n = int(maps.shape[-2]) * int(maps.shape[-1])
    ordered = maps.flatten(2).sort(-1, descending=True).values  # [B, K, h w]
    ordered = F.dropout(ordered, dropout, training)
    highest = ordered[..., : max(1, round(kmax * n))].mean(-1)
    if form == "published" or kmin == 0 or alpha == 0:
        return highest
    lowest = ordered[..., n - max(1, round(kmin * n)) :].mean(-1)
    return (highest + alpha * lowest) / 2


def _check_pool(function: str, kmax: float, kmin: float, alpha: float, dropout: float, form: str) -> None:
    if not 0 < kmax <= 1:
        raise RangeError(f"{function}: kmax must be above 0 and at most 1; got {kmax}. The published value is 0.1.")
    if not 0 <= kmin <= 1:
        raise RangeError(f"{function}: kmin must be in 0..1; got {kmin}. The published value is 0.1.")
    if not math.isfinite(alpha):
        raise RangeError(f"{function}: alpha must be a finite number; got {alpha}. The published value is 0.6.")
    if not 0 <= dropout < 1:
        raise RangeError(f"{function}: dropout must be in [0, 1); got {dropout}. The published value is 0.1.")
    check_choice(function, "form", form, FORMS)


class WildcatHead(nn.Module):
    """1x1 convolution to several maps a tag, their mean as the tag's activation map, and `wildcat_pool`.

    Args:
        modalities: maps a tag.
        kmax, kmin, alpha: see `wildcat_pool`.
        pooling_dropout: on the sorted activations, in training.
        form: "corrected" or "published".
    """

    def __init__(
        self,
        in_channels: int,
        n_tags: int,
        *,
        modalities: int = 5,
        kmax: float = 0.1,
        kmin: float = 0.1,
        alpha: float = 0.6,
        pooling_dropout: float = 0.1,
        form: str = "corrected",
    ) -> None:
        super().__init__()
        _check_pool("WildcatHead", kmax, kmin, alpha, pooling_dropout, form)
        if type(modalities) is not int or modalities < 1:
            raise RangeError(f"WildcatHead: modalities must be an integer >= 1; got {modalities!r}. Published: 5.")
        self.n_tags, self.modalities = n_tags, modalities
        self.kmax, self.kmin, self.alpha, self.form = kmax, kmin, alpha, form
        self.pooling_dropout = pooling_dropout
        self.to_maps = nn.Conv2d(in_channels, n_tags * modalities, 1)

    def forward(self, features: Tensor, tags: Tensor | None = None) -> TagOutputs:
        maps = self.to_maps(features).unflatten(1, (self.n_tags, self.modalities)).mean(2)
        logits = wildcat_pool(
            maps,
            kmax=self.kmax,
            kmin=self.kmin,
            alpha=self.alpha,
            dropout=self.pooling_dropout,
            training=self.training,
            form=self.form,
        )
        return TagOutputs(logits, maps)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw first weights."""
        initialise_linear(self.to_maps, generator)
