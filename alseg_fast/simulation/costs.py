"""What annotations cost: pixels, clicks and seconds of whole masks, of regions, and of single pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.dataset as pads

from ..errors import RunError
from ..learn.data.annotation_cost import annotation_seconds
from ..learn.data.dataset import IGNORE
from ..learn.data.regions import find_regions
from .config import CostConfig

_LEAST_VERTICES = 3


@dataclass(frozen=True)
class Cost:
    """pixels: labelled ones; clicks, seconds: of the annotator."""

    pixels: int = 0
    clicks: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.pixels + other.pixels, self.clicks + other.clicks, self.seconds + other.seconds)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def total(cls, costs: Iterable[Cost | Mapping[str, Any]]) -> Cost:
        found = cls()
        for cost in costs:
            found += cost if isinstance(cost, Cost) else cls(**cost)
        return found


def mask_cost(mask: npt.NDArray[np.uint8], config: CostConfig) -> Cost:
    """A whole mask [H, W] of class ids: every connected region of a class other than 0 is outlined.

    Clicks are the vertices of the outlines: one every `pixels_per_click` pixel edges of a region's border, and three
    at least. The edge of the picture is no border.
    """
    labelled = int(np.count_nonzero(mask != IGNORE))
    regions = find_regions("mask_cost", mask, region="component", background=0, label_background=False, min_pixels=1)
    edges = int(np.count_nonzero(mask[1:] != mask[:-1])) + int(np.count_nonzero(mask[:, 1:] != mask[:, :-1]))
    clicks = max(edges / config.pixels_per_click, float(_LEAST_VERTICES * len(regions)))
    seconds = config.mask_seconds
    if seconds == "instances":
        seconds = annotation_seconds("masks", len(regions))
    return Cost(labelled, clicks, float(seconds))


def pixel_cost(pixels: int, labelled: int, config: CostConfig) -> Cost:
    """Single pixels: `pixels` were asked for, `labelled` of them have a class."""
    return Cost(labelled, pixels * config.pixel_clicks, pixels * config.pixel_seconds)


def region_cost(run: Path, picks: Iterable[Mapping[str, Any]], labelled: int) -> Cost:
    """Regions of a RUN by its own columns cost_clicks and cost_seconds.

    Raises: RunError: a pick is no region of the RUN.
    """
    wanted = {(pick["image_id"], pick["region_id"]) for pick in picks}
    columns = ["image_id", "region_id", "cost_clicks", "cost_seconds"]
    table = pads.dataset(run / "regions", format="parquet").to_table(
        columns=columns, filter=pc.field("image_id").isin(sorted({image_id for image_id, _ in wanted}))
    )
    clicks = seconds = 0.0
    found = 0
    for row in table.to_pylist():
        if (row["image_id"], row["region_id"]) in wanted:
            clicks, seconds, found = clicks + row["cost_clicks"], seconds + row["cost_seconds"], found + 1
    if found != len(wanted):
        raise RunError(f"{run} lacks {len(wanted) - found} regions of the batch; score the pool again")
    return Cost(labelled, clicks, seconds)
