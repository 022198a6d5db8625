"""SimpleCRF (module denseCRF). It has no setting for threads, uses one, and gives labels, not marginals."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from ..crf_exact import Bilateral, Gaussian
from .crf_signature import Call, Image, Probs


def labels(image: Image, probs: Probs, n_iter: int, gaussian: Gaussian, bilateral: Bilateral) -> Call:
    """[H, W]; it wants the classes last, which is done once, outside the call."""
    module = import_module("denseCRF")
    last = np.ascontiguousarray(probs.transpose(1, 2, 0))
    settings = (
        *(bilateral.weight, bilateral.sigma_xy, bilateral.sigma_rgb),
        *(gaussian.weight, gaussian.sigma_xy, float(n_iter)),
    )

    def call() -> Any:
        return module.densecrf(image, last, settings)

    return call
