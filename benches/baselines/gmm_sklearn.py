"""scikit-learn's GaussianMixture: until it has converged, and as CoSA's released code calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ..gmm_cases import Band, Values, cross


def converged(values: Values, threads: int, *, tolerance: float) -> Callable[[], Band]:
    """Two components from its own start (K-means), and their crossing."""
    column = values.astype(np.float64)[:, None]

    def call() -> Band:
        with threadpool_limits(threads):
            model = GaussianMixture(2, tol=tolerance, max_iter=100_000, random_state=0).fit(column)
        return cross(model.weights_, model.means_[:, 0], model.covariances_[:, 0, 0])

    return call


def released(values: Values, threads: int, **options: Any) -> Callable[[], Band]:
    """Three components from least, median and largest value with a precision of 1; the largest value of the first and
    the smallest of the last."""
    column = values.astype(np.float64)[:, None]

    def call() -> Band:
        with threadpool_limits(threads):
            model = GaussianMixture(
                3,
                weights_init=np.full(3, 1 / 3),
                means_init=np.array([[column.min()], [np.median(column)], [column.max()]]),
                precisions_init=np.ones((3, 1, 1)),
                max_iter=100,
            ).fit(column)
            owner = model.predict(column)
        order = np.argsort(model.means_[:, 0])
        return float(column[owner == order[0]].max()), float(column[owner == order[2]].min())

    return call
