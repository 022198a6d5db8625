"""The core-hours part of `bench regions`: what a million pictures of two megapixels cost, step by step."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import alseg_fast as alseg

from . import regions_selection
from .cases import SEED, smooth_logits
from .cases import Case as LogitCase
from .crf_cases import OURS as OUR_CRF
from .crf_cases import PYDENSECRF, WAYS, picture_probs
from .pictures import Folder, get_picture
from .regions_steps import CRF_STEPS, PLAIN, POOLED, ROW_STEPS, SLIC, Case, Prepared, make_steps, prepare
from .rivals import OURS, PEER, Rival, time_rivals
from .slic_cases import FAST, SKIMAGE
from .slic_cases import PEERS as SLIC_PEERS
from .tables import Row, ratio
from .timing import Quiet

PIXELS = 1024 * 2048
PICTURES = 1_000_000
N_CLASSES = 19
N_ITER = 10
COUNTS = (1000, 2048)
SEEDS = "OpenCV SEEDS, 10 iterations"
ALL_STEPS = "sum of the steps, one slic (K = 1000), without the dense CRF"
EDGES, DENSE, SELECTION = "edge_map", f"dense_crf, {N_ITER} iterations", "select, a tenth of the pixels"
_MS_PER_HOUR = 3.6e6

COLUMNS = [
    *[("backend", "step"), ("median_ms", "ms a picture"), ("min_ms", "min"), ("reps", "reps")],
    *[("core_hours", "core-hours"), ("usual", "usual way"), ("usual_hours", "its core-hours"), ("times", "x")],
]
PYDENSECRF_TEN = f"{PYDENSECRF}, {N_ITER} iterations"
# Step -> the usual way to do the same.
_USUAL = {**{f"{SLIC}, K = {k}": f"{SKIMAGE}, K = {k}" for k in COUNTS}, DENSE: PYDENSECRF_TEN}


@dataclass(frozen=True)
class Scene:
    """A picture and what is needed to take its share of two megapixels.

    Attributes:
        share: its pixels / PIXELS; the numbers of segments are in proportion.
        pictures: how many the selection chooses from.
    """

    prepared: Prepared
    case: Case
    pictures: int

    @property
    def share(self) -> float:
        return self.case.size[0] * self.case.size[1] / PIXELS

    def count(self, n_segments: int) -> int:
        return max(2, round(n_segments * self.share))


def _our_rivals(scene: Scene, work: Path) -> list[Rival]:
    image, p = scene.prepared.image, scene.prepared

    def segment(asked: int) -> Callable[[], Any]:
        return lambda: alseg.slic(image, scene.count(asked), num_threads=1)

    def dense() -> Callable[[], Any]:
        return WAYS[OUR_CRF](image, picture_probs(image, N_CLASSES), N_ITER, 1)

    steps = make_steps(scene.case, p, 1)
    kept = (*ROW_STEPS, PLAIN, POOLED, *CRF_STEPS)
    return [
        *(Rival(f"{SLIC}, K = {k}", OURS, partial(segment, k)) for k in COUNTS),
        *(Rival(name, OURS, lambda name=name: steps[name]) for name in kept),  # type: ignore[misc]
        Rival(DENSE, OURS, dense),
        Rival(EDGES, OURS, lambda: lambda: alseg.edge_map(image, num_threads=1)),
        Rival(
            SELECTION,
            OURS,
            lambda: regions_selection.make_selection(work / "run", p, scene.pictures),
            scale=1 / scene.pictures,
        ),
    ]


def _peer_rivals(scene: Scene) -> list[Rival]:
    image = scene.prepared.image
    named = {peer.name: peer for peer in SLIC_PEERS}

    def segment(name: str, asked: int) -> Callable[[], Any]:
        return named[name].make(image, scene.count(asked), 1)

    def dense() -> Callable[[], Any]:
        return WAYS[PYDENSECRF](image, picture_probs(image, N_CLASSES), N_ITER, 1)

    ways = [(name, k) for k in COUNTS for name in (SKIMAGE, FAST, SEEDS)]
    return [
        *(Rival(f"{name}, K = {k}", PEER, partial(segment, name, k)) for name, k in ways),
        Rival(PYDENSECRF_TEN, PEER, dense),
    ]


def measure_hours(
    folder: Folder | None, size: tuple[int, int], pictures: int, quick: bool, quiet: Quiet
) -> tuple[list[Row], str, float]:
    """Rows of every step and peer on one thread, what the picture is, and its share of two megapixels."""
    image, source = get_picture(size, folder)
    share = size[0] * size[1] / PIXELS
    case = Case(size, max(2, round(COUNTS[0] * share)))
    logits = smooth_logits(LogitCase(N_CLASSES, (size[0] // 16, size[1] // 16), size), SEED)
    with tempfile.TemporaryDirectory(prefix="alseg-bench-") as work:
        scene = Scene(prepare(case, image, logits), case, pictures)
        rivals = [*_our_rivals(scene, Path(work)), *_peer_rivals(scene)]
        rows, _ = time_rivals("regions/core-hours", rivals, quick, quiet)
    return add_hours(rows, share), source, share


def add_hours(rows: Sequence[Row], share: float) -> list[Row]:
    """Core-hours of a million pictures of two megapixels: milliseconds / share of them / 3.6e6 times a million."""
    hours: dict[str, float | None] = {}
    for row in rows:
        median = row.get("median_ms")
        row["core_hours"] = None if median is None else median / share / _MS_PER_HOUR * PICTURES
        hours[row["backend"]] = row["core_hours"]
    for row in rows:
        usual = _USUAL.get(row["backend"])
        row.update(usual=usual, usual_hours=hours.get(usual or ""))
        row["times"] = ratio(row["usual_hours"], row["core_hours"])
    summed = [hours.get(name) for name in (f"{SLIC}, K = {COUNTS[0]}", *ROW_STEPS, POOLED, *CRF_STEPS, SELECTION)]
    total = None if None in summed else sum(value for value in summed if value is not None)
    whole = {"id": "regions/core-hours/sum", "backend": ALL_STEPS, "role": OURS, "error": None, "core_hours": total}
    own = [row for row in rows if row.get("role") == OURS]
    return [*own, whole, *(row for row in rows if row.get("role") != OURS)]
