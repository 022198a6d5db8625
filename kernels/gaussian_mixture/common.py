"""What all implementations share: points for bins, starts, and where two densities cross."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

VALUE_BITS = 24  # a value is a whole number of 2^-24
SLACK = 1e-3  # by which rounding may leave 0..1
BAD_VALUE, BAD_WEIGHT = 1, 2
KMEANS_PLACES = 128


def points_of(sums: F64) -> tuple[F64, F64]:
    """Sums [bins, 3] -> x and weight of two points for each bin that holds something.

    They lie one standard deviation of the bin's values to either side of their mean and weigh half of the bin each: a
    bin keeps its weight, its mean and its variance, and the sum of any smooth function over it to the third order of
    the bin's width.
    """
    bins = len(sums)
    held = np.flatnonzero(sums[:, 0] > 0)
    weight, first, second = sums[held].T
    mean = first / weight
    spread = np.sqrt(np.maximum(second / weight - mean**2, 0))
    x = np.stack([mean - spread, mean + spread], axis=1)
    x = (held / bins)[:, None] + x * 2.0**-VALUE_BITS
    return x.ravel(), np.repeat(weight / 2, 2)


def starts_of(x: F64, weight: F64, n_components: int, variance_floor: float) -> F64:
    """[S, K, 3] share, mean and variance from which iterations begin; x ascending, weights that sum to 1.

    Three are cuts of the values into K parts: the best in the sense of K-means, parts of equal weight, parts of equal
    width. The last one has means spread evenly over the ranks of the values (for three: least, median, largest), equal
    shares, and the variance of all values: the start of the released code of CoSA but for its variance of 1.
    """
    k, n = n_components, len(x)
    sums = prefix_sums(x, weight)
    inner = np.arange(1, k) / k
    cuts = (
        cut_by_kmeans(sums, k),
        np.searchsorted(sums[0, 1:], inner * sums[0, n]),
        np.searchsorted(x, x[0] + inner * (x[-1] - x[0])),
    )
    edges = np.array([[0, *cut, n] for cut in cuts])  # [3, K + 1]
    parts = sums[:, edges[:, 1:]] - sums[:, edges[:, :-1]]  # [3 moments, 3, K]
    empty = parts[0] <= 0  # such a part is spread over all values
    share = np.where(empty, 1 / (k + 1), parts[0])
    mass, first, second = np.where(empty, sums[:, -1, None, None], parts)
    mean = first / mass
    variance = np.maximum(second / mass - mean**2, 0) + variance_floor
    starts = np.stack([share / share.sum(axis=1, keepdims=True), mean, variance], axis=2)
    whole = sums[1, n] / sums[0, n]
    spread = max(float(sums[2, n] / sums[0, n] - whole**2), 0.0) + variance_floor
    return np.concatenate([starts, spread_start(x, weight, k, spread)[None]])


def spread_start(x: F64, weight: F64, n_components: int, variance: float) -> F64:
    """[K, 3]: means spread evenly over the ranks of the values, equal shares, one variance. With a variance of 1 it is
    the released code's start."""
    k, cumulated = n_components, np.cumsum(weight)
    ranks = np.searchsorted(cumulated, np.linspace(0, 1, k) * cumulated[-1])
    return np.stack([np.full(k, 1 / k), x[np.minimum(ranks, len(x) - 1)], np.full(k, variance)], axis=1)


def prefix_sums(x: F64, weight: F64) -> F64:
    """[3, n + 1]: the sums of weight, weight x and weight x^2 over the first values."""
    terms = np.zeros((3, len(x) + 1))
    terms[0, 1:] = weight
    terms[1, 1:] = weight * x
    terms[2, 1:] = terms[1, 1:] * x
    return np.asarray(terms.cumsum(axis=1))


def cut_by_kmeans(sums: F64, k: int) -> NDArray[np.int64]:
    """The K - 1 places that cut the values of these prefix sums into parts of the least sum of squares, by dynamic
    programming: exact for two parts, for more among at most KMEANS_PLACES evenly spaced places."""
    n = sums.shape[1] - 1
    if k > n:
        return np.asarray(np.minimum(np.arange(1, k), n))
    step = 1 if k == 2 else max(1, n // KMEANS_PLACES)
    places = np.append(np.arange(0, n, step), n)
    w, s, q = sums[:, places]

    def cost(i: Any, j: Any) -> F64:
        """Sum of squares of the values between two places about their mean."""
        mass = w[j] - w[i]
        squares = q[j] - q[i] - (s[j] - s[i]) ** 2 / np.where(mass > 0, mass, 1)
        return np.asarray(np.where(mass > 0, squares, 0))

    ends, last = np.arange(len(places)), len(places) - 1
    best = cost(0, ends)  # of what lies before a place, in one part
    cut_before = []
    if k > 2:
        between = np.where(ends[:, None] < ends, cost(ends[:, None], ends), np.inf)
    for _ in range(k - 2):
        totals = best[:, None] + between
        cut_before.append(totals.argmin(axis=0))
        best = totals.min(axis=0)
    cuts = [int((best + cost(ends, last))[1:last].argmin()) + 1]
    for stage in reversed(cut_before):
        cuts.append(int(stage[cuts[-1]]))
    return np.asarray(places[np.array(cuts[::-1])])


def crossing(lower: Sequence[float], upper: Sequence[float]) -> float | None:
    """Where the weighted densities of two components (share, mean, variance) are equal, between their means.

    The component of the smaller mean must be the likelier at its own mean, and the other one at its own; there is then
    exactly one such point. None where that does not hold.
    """
    (p0, m0, v0), (p1, m1, v1) = lower, upper
    width = m1 - m0
    if not (width > 0 and p0 > 0 and p1 > 0 and v0 > 0 and v1 > 0):
        return None
    # With x = m0 + t width, the difference of the log densities is a t^2 + b t + c.
    a = width * width * (0.5 / v1 - 0.5 / v0)
    b = -width * width / v1
    c = math.log(p0 / p1) + 0.5 * math.log(v1 / v0) + 0.5 * width * width / v1
    if not (c > 0 and a + b + c < 0):
        return None
    # b < 0 < c: the root in (0, 1), without cancellation; for a = 0 it is -c / b.
    root = math.sqrt(max(b * b - 4 * a * c, 0.0))
    return m0 + width * min(max(2 * c / (root - b), 0.0), 1.0)
