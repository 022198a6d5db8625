"""What the region and pixel strategies leave open, as named settings with stated defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import UsageError

EDGE_SOURCES = ("labels", "image")
EDGE_MODES = ("multiply", "add")
CRF_USES = ("rank", "labels")
CLASS_RULES = ("equal", "inverse", "exp")


@dataclass(frozen=True)
class SelectOptions:
    """Settings of the strategies of Kasarla et al. (WACV 2019), who name the steps but not these values.

    Attributes:
        edge_source: where entropy-edge finds edges: "labels": the borders of the predicted label map; "image": the
            steep places of the picture, which is fetched and decoded again.
        edge_weight: w >= 0, how much an edge counts.
        edge_mode: "multiply": (1 + w edge) entropy, which never buys an edge of certain prediction; "add":
            entropy + w edge, w in nats, which does.
        edge_dilation: edges are widened by so many pixels in every direction.
        edge_threshold: 0..1, the Sobel magnitude that makes an edge, for edge_source "image".
        crf_use: what the region CRF is for in superpixel-crf and class-superpixel-crf: "rank": regions are ranked by
            the entropy of their class probabilities after it; "labels": they are ranked as without it, and it only
            completes the labels that were bought, later.
        class_rule: how class-superpixel-crf splits the budget over the classes that occur: "equal": the same share
            for each; "inverse": in proportion to 1 / s, where s is the class's share of the pixels; "exp": in
            proportion to exp(-s) (Cai et al., CVPR 2021).
    Raises: UsageError: a value that is not among those.
    """

    edge_source: str = "labels"
    edge_weight: float = 1.0
    edge_mode: str = "multiply"
    edge_dilation: int = 1
    edge_threshold: float = 0.1
    crf_use: str = "rank"
    class_rule: str = "equal"

    def __post_init__(self) -> None:
        choices = {
            "edge_source": EDGE_SOURCES,
            "edge_mode": EDGE_MODES,
            "crf_use": CRF_USES,
            "class_rule": CLASS_RULES,
        }
        for name, allowed in choices.items():
            value = getattr(self, name)
            if value not in allowed:
                raise UsageError(f"select: {name} must be one of {', '.join(allowed)}; got {value}.")
        if not (math.isfinite(self.edge_weight) and self.edge_weight >= 0):
            raise UsageError(f"select: edge_weight must be a number >= 0; got {self.edge_weight}.")
        if not 0.0 <= self.edge_threshold <= 1.0:
            raise UsageError(f"select: edge_threshold must be in [0, 1]; got {self.edge_threshold}.")
        if not isinstance(self.edge_dilation, int) or isinstance(self.edge_dilation, bool) or self.edge_dilation < 0:
            raise UsageError(f"select: edge_dilation must be a whole number >= 0; got {self.edge_dilation}.")
