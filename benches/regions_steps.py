"""The steps that `bench regions` times one by one: what a picture's regions cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import alseg_fast as alseg
from alseg_fast import ops

Image = NDArray[np.uint8]
Call = Callable[[], Any]

MEASURES = ("entropy", "margin")
SLIC, GEOMETRY, COLORS, ADJACENCY = "slic", "region_geometry", "region_colors", "region_adjacency"
PROBS, REGION_CRF, RLE = "region_probs", "region_crf", "encode_rle"
PLAIN, POOLED = "uncertainty", "uncertainty, pooled by segments"
CRF_STEPS = (COLORS, ADJACENCY, PROBS, REGION_CRF)  # what the CRF over regions takes
ROW_STEPS = (GEOMETRY, RLE)  # what the rows of the RUN need beyond the pooled measures


@dataclass(frozen=True)
class Case:
    """A picture of `size` (H, W) cut into about `n_segments`.

    by_network: its logits are those of the network that it is compared with, whose input has the picture's size.
    """

    size: tuple[int, int]
    n_segments: int
    by_network: bool = False

    @property
    def name(self) -> str:
        """E.g. 512x512-K400, width before height."""
        return f"{self.size[1]}x{self.size[0]}-K{self.n_segments}"


@dataclass(frozen=True)
class Prepared:
    """What the steps of one picture hand to each other."""

    image: Image
    logits: NDArray[np.float32]  # [1, C, h, w]
    segments: NDArray[np.int32]
    n: int
    probs: NDArray[np.float32]  # [S, C]
    colors: NDArray[np.float32]
    adjacency: Any
    labels: NDArray[Any]  # [H, W]


def prepare(case: Case, image: Image, logits: NDArray[np.float32]) -> Prepared:
    """Every step once, so that each can be timed on its usual input."""
    segments = alseg.slic(image, case.n_segments, num_threads=1)
    n = int(segments.max()) + 1
    whole = alseg.uncertainty(logits, case.size, reduce=(), labels=True, num_threads=1)
    labels = np.asarray(whole.labels)[0]
    return Prepared(
        image,
        logits,
        segments,
        n,
        ops.region_probs(logits[0], segments, n),
        ops.region_colors(image, segments, n),
        ops.region_adjacency(segments, n),
        labels,
    )


def make_steps(case: Case, p: Prepared, threads: int) -> dict[str, Call]:
    """Name -> call, in the order of the work."""

    def uncertainty(**options: Any) -> Call:
        kept = alseg.uncertainty(
            p.logits, case.size, measures=MEASURES, maps=False, class_stats=True, num_threads=threads, **options
        )
        return lambda: alseg.uncertainty(
            p.logits,
            case.size,
            measures=MEASURES,
            maps=False,
            class_stats=True,
            num_threads=threads,
            out=kept,
            **options,
        )

    image, segments, n = p.image, p.segments, p.n
    return {
        SLIC: lambda: alseg.slic(image, case.n_segments, num_threads=threads),
        GEOMETRY: lambda: ops.region_geometry(segments, n, labels=p.labels, num_threads=threads),
        COLORS: lambda: ops.region_colors(image, segments, n, num_threads=threads),
        ADJACENCY: lambda: ops.region_adjacency(segments, n, num_threads=threads),
        PROBS: lambda: ops.region_probs(p.logits[0], segments, n, num_threads=threads),
        REGION_CRF: lambda: alseg.region_crf(
            image, segments, p.probs, colors=p.colors, adjacency=p.adjacency, num_threads=threads
        ),
        RLE: lambda: ops.encode_rle(segments, n),
        PLAIN: uncertainty(),
        POOLED: uncertainty(segments=p.segments[None], n_segments=p.n),
    }
