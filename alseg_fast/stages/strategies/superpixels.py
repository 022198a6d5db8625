"""The strategies of Kasarla et al. (WACV 2019) that buy regions: what each ranks by."""

from __future__ import annotations

from dataclasses import dataclass

CRF_CLASS = "crf_class"
CRF_ENTROPY = "crf_entropy"


@dataclass(frozen=True)
class RegionStrategy:
    """One of them.

    Attributes:
        draw: the strategy of `STRATEGIES` that ranks: "top" or "random".
        uses_crf: it ranks by the entropy after the region CRF, unless the CRF is for labels only.
        by_class: the budget is split over the classes after the region CRF.
    """

    draw: str = "top"
    uses_crf: bool = False
    by_class: bool = False


REGION_STRATEGIES = {
    "superpixel": RegionStrategy(),
    "superpixel-crf": RegionStrategy(uses_crf=True),
    "class-superpixel-crf": RegionStrategy(uses_crf=True, by_class=True),
    "random-superpixels": RegionStrategy(draw="random"),
}
PIXEL_STRATEGIES = ("entropy-pixels", "entropy-edge", "random-pixels")
