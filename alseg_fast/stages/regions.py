"""Cuts a picture into regions: superpixels or a grid, at the resolution the scores are measured at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..ops import region_adjacency, region_colors, resize_normalize, slic
from ..types import NO_REGIONS
from .region_cache import RegionCache

_KINDS = "slic:K, slic:K:COMPACTNESS, slico:K, grid:P or none"


@dataclass(frozen=True)
class RegionPlan:
    """How pictures are cut.

    Attributes:
        kind: "slic" | "slico" (superpixels; the second adapts its compactness) | "grid" (squares).
        size: number of superpixels K, or side of a square in pixels of the picture's own size.
        compactness: of slic.
    """

    kind: str
    size: int
    compactness: float = 10.0

    def __str__(self) -> str:
        tail = f":{self.compactness:g}" if self.kind == "slic" and self.compactness != 10.0 else ""
        return f"{self.kind}:{self.size}{tail}"

    def superpixels(self, image: NDArray[np.uint8]) -> NDArray[np.int32]:
        """[h, w] ids 0..S-1 of [h, w, 3] uint8 RGB. A picture of fewer than K pixels has one region a pixel."""
        count = min(self.size, image.shape[0] * image.shape[1])
        return slic(image, count, self.compactness, adaptive=self.kind == "slico", num_threads=1)


def parse_regions(text: str) -> RegionPlan | None:
    """`slic:400`, `slic:400:20` (compactness), `slico:400`, `grid:32`; None for `none`.

    Raises: UsageError: anything else.
    """
    if text == NO_REGIONS:
        return None
    kind, *numbers = text.split(":")
    try:
        size = int(numbers[0])
        compactness = float(numbers[1]) if len(numbers) > 1 else 10.0
        good = kind in ("slic", "slico", "grid") and len(numbers) <= (2 if kind == "slic" else 1)
    except (IndexError, ValueError):
        good = False
    if not good or not 1 <= size < 2**31 or not 0.0 < compactness < 1e6:
        raise UsageError(f"regions must be {_KINDS} with numbers above 0; got {text!r}.")
    return RegionPlan(kind, size, compactness)


@dataclass(frozen=True)
class PictureRegions:
    """The regions of one picture, and what the region CRF needs of its pixels.

    Attributes:
        segments: [h, w] int32 ids 0..count-1.
        count: S.
        colors: [S, 3] float32 mean RGB, or None where no CRF is wanted.
        adjacency: (pairs [E, 2], shared pixel edges [E]) of neighbours, or None.
    """

    segments: NDArray[np.int32]
    count: int
    colors: NDArray[np.float32] | None = None
    adjacency: tuple[NDArray[np.int32], NDArray[np.int64]] | None = None


def cut(
    image: NDArray[np.uint8],
    size: tuple[int, int],
    plan: RegionPlan,
    *,
    own_size: tuple[int, int] | None = None,
    crf: bool = False,
    cache: RegionCache | None = None,
    source: Any = None,
) -> PictureRegions:
    """Cut a picture.

    Args:
        image: [h, w, 3] uint8 RGB, upright.
        size: (height, width) of the scores; regions have this size, or the picture's own along an axis where that
            is smaller, so that enlarging them loses none.
        own_size: (height, width) of the picture, where `image` has been decoded smaller.
        crf: also gather what the region CRF needs.
        cache: where superpixels of earlier runs are kept.
        source: bytes or array that the picture came from: with the plan and the size, the key in the cache.
    """
    shape = (min(size[0], image.shape[0]), min(size[1], image.shape[1]))
    segments = key = None
    if plan.kind == "grid":
        segments = _squares(own_size or (image.shape[0], image.shape[1]), shape, plan.size)
    elif cache is not None:
        key = cache.key(source, shape, str(plan))
        segments = cache.load(key, shape)
    if segments is None or crf:
        small = image if image.shape[:2] == shape else _shrink(image, shape)
    if segments is None:
        segments = plan.superpixels(small)
        if cache is not None and key is not None:
            cache.store(key, segments)
    count = int(segments.max()) + 1
    if not crf:
        return PictureRegions(segments, count)
    return PictureRegions(segments, count, region_colors(small, segments, count), region_adjacency(segments, count))


def _squares(own: tuple[int, int], shape: tuple[int, int], side: int) -> NDArray[np.int32]:
    """[h, w] ids of squares of the picture's own pixels; those that no pixel of this size falls into have no id."""
    rows, columns = (_nearest(o, n) // side for o, n in zip(own, shape, strict=True))
    row, column = (np.unique(cells, return_inverse=True)[1] for cells in (rows, columns))
    return (row[:, None] * (int(column[-1]) + 1) + column).astype(np.int32)


def _shrink(image: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    out = np.empty((*shape, 3), np.uint8)
    resize_normalize(image, out, channels_last=True, num_threads=1)
    return out


def at_size(segments: NDArray[np.int32], size: tuple[int, int]) -> NDArray[np.int32]:
    """Segments at another size, each pixel taking the id of the nearest one; the same array if it has that size."""
    if segments.shape == size:
        return segments
    rows, columns = _nearest(segments.shape[0], size[0]), _nearest(segments.shape[1], size[1])
    return np.take(np.take(segments, columns, axis=1), rows, axis=0)


@lru_cache(maxsize=256)
def _nearest(source: int, target: int) -> NDArray[np.int64]:
    """[target] source index whose centre is nearest to each target pixel's."""
    return (2 * np.arange(target) + 1) * source // (2 * target)
