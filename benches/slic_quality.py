"""The quality part of `bench slic`: how well segments follow the drawings of BSDS500, beside the peers."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

import alseg_fast as alseg

from .baselines.superpixel_signature import COMPACTNESS, N_ITER
from .pictures import Folder, read_drawings, read_picture
from .slic_cases import ADAPTIVE, FAST, OURS, PEERS, Image, Segments
from .superpixel_quality import Quality, mean_quality, measure_quality
from .tables import Row, goal
from .timing import error_text

log = logging.getLogger("alseg")

COUNTS = (200, 1000)
SAME_COUNT = "alseg, as many segments as fast-slic"
_MOST_TRIALS = 8
_CLOSE_ENOUGH = 0.002  # of the wanted mean number of segments

Segment = Callable[[Image], Segments]


@dataclass(frozen=True)
class Drawn:
    """A picture and what people drew."""

    image: Image
    drawings: list[Segments]


def read_all(folder: Folder, pictures: int | None) -> list[Drawn]:
    """The first so many pictures, evenly spread over all; None: every one."""
    paths = folder.pictures
    if pictures is not None and pictures < len(paths):
        paths = tuple(paths[i] for i in np.linspace(0, len(paths) - 1, pictures).round().astype(int))
    return [Drawn(read_picture(path), list(read_drawings(folder, path))) for path in paths]


def _ours(image: Image, n_segments: int, adaptive: bool) -> Segments:
    labels: Segments = alseg.slic(image, n_segments, COMPACTNESS, n_iter=N_ITER, adaptive=adaptive, num_threads=1)
    return labels


def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1)


def _measure(segment: Segment, pictures: Sequence[Drawn]) -> Quality:
    with _workers() as pool:
        found = list(pool.map(lambda p: measure_quality(segment(p.image), p.drawings), pictures))
    return mean_quality(found)


def _mean_count(n_segments: int, pictures: Sequence[Drawn]) -> float:
    with _workers() as pool:
        counts = list(pool.map(lambda p: int(_ours(p.image, n_segments, False).max()) + 1, pictures))
    return float(np.mean(counts))


def search_count(wanted: float, count: Callable[[int], float]) -> int:
    """The number to ask for that gives `wanted` segments on average, as nearly as a few trials find it.

    Args:
        count: mean number of segments when so many are asked for.
    """
    tried: dict[int, float] = {}
    ask = max(1, round(wanted))
    for _ in range(_MOST_TRIALS):
        if ask in tried:
            break
        tried[ask] = count(ask)
        if abs(tried[ask] - wanted) <= _CLOSE_ENOUGH * wanted:
            break
        below = max((a for a in tried if tried[a] < wanted), default=None)
        above = min((a for a in tried if tried[a] >= wanted), default=None)
        if below is None or above is None or above <= below:
            ask = max(1, round(ask * wanted / tried[ask]))
        else:
            share = (wanted - tried[below]) / (tried[above] - tried[below])
            ask = min(max(below + 1, round(below + share * (above - below))), above - 1)
    return min(tried, key=lambda a: abs(tried[a] - wanted))


def measure_count(n_segments: int, pictures: Sequence[Drawn]) -> list[Row]:
    """Rows of all ways at one asked number of segments."""
    ways: dict[str, Segment] = {
        OURS: partial(_ours, n_segments=n_segments, adaptive=False),
        ADAPTIVE: partial(_ours, n_segments=n_segments, adaptive=True),
    }
    for peer in (p for p in PEERS if p.in_quality):
        ways[peer.name] = lambda image, peer=peer: peer.make(image, n_segments, 1)()  # type: ignore[misc]
    rows: dict[str, Row] = {}

    def enter(name: str, asked: Callable[[], int], segment: Callable[[int], Segment]) -> None:
        row = rows[name] = {"id": f"slic/quality/K{n_segments}/{name}", "backend": name, "error": None}
        log.info("bench slic: quality at K = %d, %s", n_segments, name)
        try:
            row["asked"] = asked()
            row.update(_measure(segment(row["asked"]), pictures)._asdict())
        except Exception as exc:  # a way that cannot run is a row with its reason
            row["error"] = error_text(exc)

    for name, way in ways.items():
        enter(name, lambda: n_segments, lambda asked, way=way: way)  # type: ignore[misc]
    fast = rows[FAST].get("segments")
    if fast is None:
        rows[SAME_COUNT] = {
            "id": f"slic/quality/K{n_segments}/{SAME_COUNT}",
            "backend": SAME_COUNT,
            "error": f"{FAST} was not measured",
        }
    else:
        enter(
            SAME_COUNT,
            lambda: search_count(fast, lambda asked: _mean_count(asked, pictures)),
            lambda asked: partial(_ours, n_segments=asked, adaptive=False),
        )
    return list(rows.values())


def list_goals(n_segments: int, rows: Sequence[Row]) -> list[Row]:
    """No worse than fast-slic at the same real number of segments; the values are the differences to it."""
    named = {row["backend"]: row for row in rows}
    ours, fast = named[SAME_COUNT], named[FAST]

    def ahead(key: str, sign: float) -> float | None:
        a, b = ours.get(key), fast.get(key)
        return None if a is None or b is None else sign * (a - b) + 0.0  # no negative zero

    where = f"K = {n_segments}, same real number of segments"
    return [
        goal(f"boundary recall - fast-slic's, {where}", ahead("recall", 1), 0, at_least=True),
        goal(f"fast-slic's undersegmentation error - ours, {where}", ahead("undersegmentation", -1), 0, at_least=True),
        goal(f"achievable accuracy - fast-slic's, {where}", ahead("accuracy", 1), 0, at_least=True),
    ]


COLUMNS = [
    *[("backend", "way"), ("asked", "K asked"), ("segments", "K real"), ("recall", "boundary recall, 2 px")],
    *[("undersegmentation", "undersegmentation error"), ("accuracy", "achievable accuracy")],
]
