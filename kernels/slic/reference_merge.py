"""The definition of the segments: connected parts of the clusters, the small ones merged into a neighbour."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from .common import Ints


def connect(clusters: Ints) -> tuple[Ints, NDArray[np.intp]]:
    """4-connected components by first pixel [H, W], -1 where the cluster is -1; and the cluster of each."""
    height, width = clusters.shape
    component = np.full(clusters.shape, -1, np.int64)
    cluster_of: list[int] = []
    for y, x in np.argwhere(clusters >= 0):
        if component[y, x] >= 0:
            continue
        number = len(cluster_of)
        cluster_of.append(int(clusters[y, x]))
        component[y, x] = number
        todo = [(int(y), int(x))]
        while todo:
            i, j = todo.pop()
            for p, q in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                inside = 0 <= p < height and 0 <= q < width
                if inside and component[p, q] < 0 and clusters[p, q] == clusters[y, x]:
                    component[p, q] = number
                    todo.append((p, q))
    return component, np.array(cluster_of, np.intp)


def merge_small(component: Ints, color: Ints, min_area: int, most: int) -> Ints:
    """Segments [H, W] from components [H, W]; `color` [components, 3] is that of their cluster.

    Groups of components of less than `min_area` pixels are merged; then, as long as more than `most` are left, all
    but the `most` largest ones. A group has the colour of its first component.
    """
    group = np.arange(len(color))  # of each component: its first one
    first = True
    while True:
        before = group.copy()
        _merge_below(component, color, min_area, group)
        areas = np.sort(np.bincount(group[component[component >= 0]]))[::-1]
        areas = areas[areas > 0]
        if len(areas) <= most or (not first and np.array_equal(before, group)):
            break
        min_area = int(areas[most]) + 1
        first = False
    number = np.unique(group, return_inverse=True)[1]
    return np.where(component < 0, -1, number[component])


def _merge_below(component: Ints, color: Ints, min_area: int, group: NDArray[np.intp]) -> None:
    """In rounds: every small group chooses, among the groups as they are when the round begins, the neighbour of the
    least d^2 / (shared pixel edges), d being the difference of their colours, and the one with the first pixel among
    equals; then all choices are united."""
    outside = component < 0
    while True:
        label = np.where(outside, -1, group[component])
        area = np.bincount(label[~outside], minlength=len(color))
        choices = []
        pairs, borders = _borders(label)
        for small in np.flatnonzero((area > 0) & (area < min_area)):
            touching = pairs[:, 0] == small
            others, lengths = pairs[touching, 1], borders[touching]
            if others.size:
                difference = np.abs(color[others] - color[small]).sum(axis=1)
                costs = [Fraction(int(d) ** 2, int(n)) for d, n in zip(difference, lengths, strict=True)]
                choices.append((small, others[costs.index(min(costs))]))
        if not choices:
            return
        for a, b in choices:
            a, b = group[a], group[b]
            group[(group == a) | (group == b)] = min(a, b)


def _borders(label: Ints) -> tuple[Ints, Ints]:
    """Ordered pairs of neighbouring groups [E, 2], sorted, and the pixel edges they share [E]."""
    edges = [
        np.stack([a.ravel(), b.ravel()], axis=1) for a, b in ((label[1:], label[:-1]), (label[:, 1:], label[:, :-1]))
    ]
    both = np.concatenate([*edges, *(e[:, ::-1] for e in edges)])
    both = both[(both[:, 0] != both[:, 1]) & (both >= 0).all(axis=1)]
    pairs, counts = np.unique(both, axis=0, return_counts=True)
    return pairs, counts
