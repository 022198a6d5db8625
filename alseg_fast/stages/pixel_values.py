"""What each pixel of an image is worth to a pixel strategy, as one of few levels.

Heatmaps have 8 bits and edges one, so there are at most 512 different values; a histogram of them is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import DataError, RunError
from ..ops.edges import edge_map, edge_weighted
from .decode import decode_image
from .fetch import fetch_bytes
from .masks import read_png
from .run_layout import LABELS
from .run_reader import Run
from .select_options import SelectOptions

_MEASURE = "entropy"
_SCORE_AGAIN = "score the pool with --maps into another --out"


@dataclass(frozen=True)
class PoolImage:
    """One image of a RUN: its id, its address, its size, and the hash from which its pixels are drawn."""

    image_id: str
    uri: str
    height: int
    width: int
    state: NDArray[np.uint64]  # [1]

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width


class PixelValues(Protocol):
    """Values of pixels.

    Attributes:
        values: [L] float64, rising: what each level stands for, higher = buy first.
    """

    values: NDArray[np.float64]

    def levels(self, image: PoolImage) -> NDArray[np.uint16]:
        """[H, W] the level of each pixel. Raises: RunError: what it is made from cannot be read."""
        ...


class NoValues:
    """All pixels are worth the same: a random draw."""

    values = np.zeros(1)

    def levels(self, image: PoolImage) -> NDArray[np.uint16]:
        return np.zeros(image.size, np.uint16)


class EntropyValues:
    """The entropy in nats, as the 8-bit heatmap of the RUN has it.

    A heatmap at the resolution of the model is brought to the picture's own size bilinearly (by Pillow, which
    averages where that is smaller), and rounded to its 8 bits again.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        ranges = run.info["map_ranges"]
        if _MEASURE not in ranges:
            raise RunError(f"{run.path} does not say what its heatmaps of {_MEASURE} stand for; {_SCORE_AGAIN}")
        low, high = ranges[_MEASURE]
        self.values = low + np.arange(256) * ((high - low) / 255.0)

    def levels(self, image: PoolImage) -> NDArray[np.uint16]:
        path = self._run.map_path(_MEASURE, image.image_id)
        heat = read_png(path, "heatmap", _SCORE_AGAIN)
        if heat is None:
            raise RunError(f"heatmap {path} does not exist; {_SCORE_AGAIN}")
        if heat.dtype != np.uint8:
            raise RunError(f"heatmap {path} must have 8 bits; got 16; {_SCORE_AGAIN}")
        if heat.shape != image.size:
            resized = Image.fromarray(heat).resize((image.width, image.height), Image.Resampling.BILINEAR)
            heat = np.asarray(resized)
        return heat.astype(np.uint16)


class EdgeWeightedValues:
    """The entropy with more weight on edges, see `ops.edges.edge_weighted`."""

    def __init__(self, run: Run, options: SelectOptions) -> None:
        self._run = run
        self._options = options
        self._entropy = EntropyValues(run)
        plain = np.repeat(self._entropy.values[None].astype(np.float32), 2, axis=0)  # [2, 256]
        edges = np.broadcast_to(np.array([[False], [True]]), plain.shape)
        weighted = edge_weighted(plain, edges, weight=options.edge_weight, mode=options.edge_mode)
        values, level = np.unique(weighted, return_inverse=True)
        self.values = values.astype(np.float64)
        self._level = level.reshape(-1).astype(np.uint16)  # [edge * 256 + grey]

    def levels(self, image: PoolImage) -> NDArray[np.uint16]:
        grey = self._entropy.levels(image)
        grey += self._edges(image).astype(np.uint16) << 8
        return np.asarray(self._level.take(grey), np.uint16)

    def _edges(self, image: PoolImage) -> NDArray[np.bool_]:
        options = self._options
        if options.edge_source == LABELS:
            path = self._run.map_path(LABELS, image.image_id)
            labels = read_png(path, "label map", _SCORE_AGAIN, image.size)
            if labels is None:
                raise RunError(f"label map {path} does not exist; {_SCORE_AGAIN}")
            return edge_map(labels=labels, dilation=options.edge_dilation)
        try:
            picture = decode_image(fetch_bytes(image.uri)).image
        except DataError as exc:
            raise RunError(f"cannot read {image.image_id} again for its edges: {exc}; or use edges of labels") from exc
        if picture.shape[:2] != image.size:
            raise RunError(
                f"{image.image_id} has {picture.shape[1]} x {picture.shape[0]} pixels now, it had {image.width} x "
                f"{image.height} when it was scored; score the pool again"
            )
        return edge_map(picture, threshold=options.edge_threshold, dilation=options.edge_dilation)


def pixel_values(run: Run, strategy: str, options: SelectOptions) -> PixelValues:
    """The values by which a pixel strategy ranks."""
    if strategy == "random-pixels":
        return NoValues()
    return EdgeWeightedValues(run, options) if strategy == "entropy-edge" else EntropyValues(run)
