"""What every network of this package answers."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class NetworkOutputs(NamedTuple):
    """Parts that a network does not have are None (or empty).

    Attributes:
        tag_logits: [B, K], one a tag.
        cams: [B, K, h, w] raw activation maps at the encoder's resolution; negative values are possible.
        aux_tag_logits: [B, K] of the auxiliary classifier on an earlier block.
        aux_cams: [B, K, h2, w2] of the auxiliary classifier.
        seg_logits: [B, C, h3, w3]; C = 1 (a foreground logit) for two classes, else one channel a class.
        aux_seg_logits: further segmentation logits at other resolutions (cascades), coarsest first.
    """

    tag_logits: Tensor | None = None
    cams: Tensor | None = None
    aux_tag_logits: Tensor | None = None
    aux_cams: Tensor | None = None
    seg_logits: Tensor | None = None
    aux_seg_logits: tuple[Tensor, ...] = ()
