"""The definition, in integers: the clusters here, the segments made of them in ``reference_merge``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .common import BLOCK, FIRST_FARTHEST, MOST_COST, Ints, Plan, gain_of, lab_to_bytes
from .reference_merge import connect, merge_small


@dataclass
class Centres:
    x: Ints  # [K], in quarters of a pixel
    y: Ints  # [K]
    color: Ints  # [K, 3], times 2^color_shift
    gain: Ints  # [K]
    active: NDArray[np.bool_]  # [K]


def slic(
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_] | None,
    plan: Plan,
    *,
    lab: bool,
    num_threads: int = 0,
    out: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """image [H, W, 1 or 3], mask [H, W] or None -> labels [H, W]; -1 outside the mask."""
    height, width = image.shape[:2]
    inside = np.ones((height, width), bool) if mask is None else mask
    planes = _to_planes(image, lab)  # [H, W, 3]
    if plan.blur:
        planes = _blur(planes)
    sampled = np.zeros((height, width), bool)
    sampled[plan.row_step // 2 :: plan.row_step] = True
    sampled &= inside
    n_clusters = int(plan.band_clusters[-1])
    centres = _no_centres(n_clusters)
    cells = _cells(plan, (height, width))
    _move(centres, planes, cells, np.zeros_like(cells), sampled, plan)
    centres.active[:] = np.bincount(cells[sampled], minlength=n_clusters) > 0 if mask is not None else True
    for _ in range(plan.n_iter):
        if not _move(centres, planes, *_nearest(planes, sampled, centres, plan), sampled, plan):
            break
    clusters, _far = _nearest(planes, inside, centres, plan)
    component, cluster_of = connect(clusters)
    labels = merge_small(component, centres.color[cluster_of], plan.min_area, plan.most_segments).astype(np.int32)
    if out is None:
        return labels
    out[...] = labels
    return out


def _no_centres(n: int) -> Centres:
    x, y, gain = (np.zeros(n, np.int64) for _ in range(3))
    return Centres(x, y, np.zeros((n, 3), np.int64), gain, np.zeros(n, bool))


def _to_planes(image: NDArray[np.uint8], lab: bool) -> Ints:
    """CIELAB as bytes, or the channels as they are."""
    rgb = np.broadcast_to(image, (*image.shape[:2], 3)).astype(np.int64)
    if not lab:
        return rgb
    return lab_to_bytes(rgb)


def _blur(planes: Ints) -> Ints:
    """Weights 1 2 1 along both axes, the pixels at the border repeated, rounded."""
    p = np.pad(planes, ((1, 1), (1, 1), (0, 0)), mode="edge")
    p = p[:-2] + 2 * p[1:-1] + p[2:]
    return (p[:, :-2] + 2 * p[:, 1:-1] + p[:, 2:] + 8) >> 4


def _cells(plan: Plan, size: tuple[int, int]) -> Ints:
    """The cell of every pixel."""
    cells = np.empty(size, np.int64)
    for band, (first, after) in enumerate(zip(plan.band_clusters[:-1], plan.band_clusters[1:], strict=True)):
        n = int(after - first)
        columns = ((np.arange(size[1], dtype=np.int64) + 1) * n - 1) // size[1]
        cells[plan.band_rows[band] : plan.band_rows[band + 1]] = first + columns
    return cells


def _nearest(planes: Ints, wanted: NDArray[np.bool_], centres: Centres, plan: Plan) -> tuple[Ints, Ints]:
    """For the wanted pixels, the nearest of the centres around their block, and the colour distance to it."""
    height, width = wanted.shape
    cells = _cells(plan, (height, width))
    nearest, far = np.full((height, width), -1), np.zeros((height, width), np.int64)
    n_bands = len(plan.band_rows) - 1
    for band in range(n_bands):
        rows = np.arange(plan.band_rows[band], plan.band_rows[band + 1])
        rows = rows[wanted[rows].any(axis=1)]
        for x in range(0, width, BLOCK):
            columns = np.arange(x, min(x + BLOCK, width))
            near = []
            for other in range(max(band - 1, 0), min(band + 2, n_bands)):
                first, after = plan.band_clusters[other : other + 2]
                touched = cells[plan.band_rows[other], columns]
                near.append(np.arange(max(touched[0] - 1, first), min(touched[-1] + 2, after)))
            k = np.concatenate(near)
            k = k[centres.active[k]]
            if not k.size:
                continue
            pixels = planes[np.ix_(rows, columns)][:, :, None] << plan.color_shift  # [rows, columns, 1, 3]
            color = np.abs(pixels - centres.color[k]).sum(axis=3)  # [rows, columns, candidates]
            distance = (color * centres.gain[k] >> 16) if plan.adaptive else color
            distance = distance + _cost(4 * columns[:, None] - centres.x[k], plan)
            distance = distance + _cost(4 * rows[:, None] - centres.y[k], plan)[:, None]
            best = distance.argmin(axis=2)
            nearest[np.ix_(rows, columns)] = k[best]
            far[np.ix_(rows, columns)] = np.take_along_axis(color, best[:, :, None], axis=2)[:, :, 0]
    nearest[~wanted] = -1
    return nearest, far


def _cost(quarters: Ints, plan: Plan) -> Ints:
    cost: Ints = np.minimum(MOST_COST, (np.abs(quarters) * plan.spatial_weight + (1 << 17)) >> 18)
    return cost


def _move(centres: Centres, planes: Ints, nearest: Ints, far: Ints, sampled: NDArray[np.bool_], plan: Plan) -> bool:
    """Moves the centres to the means of their pixels, rounded; whether one moved. Those without pixels stay."""
    k, (y, x) = nearest[sampled], np.nonzero(sampled)
    n = np.bincount(k, minlength=len(centres.x))
    held = n > 0

    def mean(values: Ints, scale: int = 1) -> Ints:
        total = np.zeros(len(n), np.int64)
        np.add.at(total, k, values)
        return (total[held] * scale + n[held] // 2) // n[held]

    before = (centres.x.copy(), centres.y.copy(), centres.color.copy(), centres.gain.copy())
    centres.x[held], centres.y[held] = mean(x, 4), mean(y, 4)
    for c in range(3):
        centres.color[held, c] = mean(planes[sampled][:, c], 1 << plan.color_shift)
    if plan.adaptive:
        farthest = np.zeros(len(n), np.int64)
        np.maximum.at(farthest, k, far[sampled])
        centres.gain[held] = gain_of(np.where(farthest > 0, farthest, FIRST_FARTHEST))[held]
    after = (centres.x, centres.y, centres.color, centres.gain)
    return any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
