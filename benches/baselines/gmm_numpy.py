"""The same mixture in NumPy: iterations over all values, or over the centres of 256 bins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..gmm_cases import Band, Values, cross

TOLERANCE = 1e-10  # of the mean log-likelihood
BINS = 256
MOST_ITERATIONS = 100_000


def _fit(x: NDArray[np.float64], weight: NDArray[np.float64]) -> Band:
    """Plain iterations from the parts below and above the mean."""
    weight = weight / weight.sum()
    above = x >= weight @ x
    masks = [weight * ~above, weight * above]
    share = np.array([m.sum() for m in masks])
    mean = np.array([m @ x for m in masks]) / share
    variance = np.array([m @ (x - c) ** 2 for m, c in zip(masks, mean, strict=True)]) / share + 1e-6
    before = -np.inf
    for _ in range(MOST_ITERATIONS):
        log = [np.log(share[k] / np.sqrt(variance[k])) - (x - mean[k]) ** 2 / (2 * variance[k]) for k in range(2)]
        total = np.logaddexp(*log)
        likelihood = float(weight @ total)
        for k in range(2):
            part = weight * np.exp(log[k] - total)
            share[k] = part.sum()
            mean[k] = part @ x / share[k]
            variance[k] = part @ (x - mean[k]) ** 2 / share[k] + 1e-6
        if likelihood - before < TOLERANCE:
            break
        before = likelihood
    return cross(share, mean, variance)


def whole(values: Values, threads: int, **options: Any) -> Callable[[], Band]:
    return lambda: _fit(values.astype(np.float64), np.full(len(values), 1 / len(values)))


def binned(values: Values, threads: int, **options: Any) -> Callable[[], Band]:
    def call() -> Band:
        counts = np.bincount((values * np.float32(BINS)).astype(np.int64).clip(max=BINS - 1), minlength=BINS)
        held = np.flatnonzero(counts)
        return _fit((held + 0.5) / BINS, counts[held].astype(np.float64))

    return call
