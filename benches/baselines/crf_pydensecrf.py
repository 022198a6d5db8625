"""pydensecrf, or pydensecrf2, which installs the same module. It has no setting for threads and uses one."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from ..crf_exact import Bilateral, Gaussian
from .crf_signature import SMALLEST, Call, Image, Probs


def _model(module: Any, image: Image, n_classes: int, gaussian: Gaussian, bilateral: Bilateral) -> Any:
    model = module.DenseCRF2D(image.shape[1], image.shape[0], n_classes)
    model.addPairwiseGaussian(sxy=gaussian.sigma_xy, compat=gaussian.weight)
    model.addPairwiseBilateral(sxy=bilateral.sigma_xy, srgb=bilateral.sigma_rgb, rgbim=image, compat=bilateral.weight)
    return model


def marginals(image: Image, probs: Probs, n_iter: int, gaussian: Gaussian, bilateral: Bilateral) -> Call:
    """Set-up and inference; the unaries are written into kept memory."""
    module = import_module("pydensecrf.densecrf")
    n_classes = len(probs)
    unary = np.empty((n_classes, image.shape[0] * image.shape[1]), np.float32)

    def call() -> Any:
        np.maximum(probs.reshape(n_classes, -1), SMALLEST, out=unary)
        np.log(unary, out=unary)
        np.negative(unary, out=unary)
        model = _model(module, image, n_classes, gaussian, bilateral)
        model.setUnaryEnergy(unary)
        return np.asarray(model.inference(n_iter)).reshape(probs.shape)

    return call


def lattice(image: Image, n_classes: int, gaussian: Gaussian, bilateral: Bilateral) -> Call:
    """Set-up alone."""
    module = import_module("pydensecrf.densecrf")
    return lambda: _model(module, image, n_classes, gaussian, bilateral)
