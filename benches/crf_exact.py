"""The fully connected CRF over all pairs of pixels, in float64: its mean field, by the reference, and its energies.

Kernels are normalised symmetrically, the pixel itself included, as pydensecrf does. O(N^2) memory: small pictures only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import alseg_fast as alseg
from alseg_fast.dispatch import use_backend
from alseg_fast.kernels.dense_crf import reference
from alseg_fast.kernels.dense_crf.common import Lattice

Probs = NDArray[np.floating]
Matrix = NDArray[np.float64]
SMALLEST = 1e-5  # probabilities are raised to this before their logarithm is taken, as all ways do


class Gaussian(NamedTuple):
    """A term of positions alone: deviation in pixels, weight."""

    sigma_xy: float = 3.0
    weight: float = 3.0


class Bilateral(NamedTuple):
    """A term of positions and colours: deviations in pixels and in grey levels 0..255, weight."""

    sigma_xy: float = 80.0
    sigma_rgb: float = 13.0
    weight: float = 10.0


def pair_weights(image: NDArray[np.uint8], gaussian: Gaussian, bilateral: Bilateral) -> Matrix:
    """[N, N]: the weighted sum of both kernels, N = H W pixels in raster order."""
    return np.asarray(reference.pair_weights(Lattice(image, gaussian, bilateral, symmetric=True)))


def mean_field(image: NDArray[np.uint8], probs: Probs, n_iter: int, gaussian: Gaussian, bilateral: Bilateral) -> Probs:
    """[C, H, W], Potts compatibility."""
    with use_backend("reference"):
        q: Probs = alseg.dense_crf(image, probs, n_iter, gaussian, bilateral)
    return q


def unary_energy(probs: Probs) -> Matrix:
    """[C, H, W] -> [C, N]: -log p."""
    flat = np.asarray(probs, np.float64).reshape(len(probs), -1)
    return np.asarray(-np.log(np.maximum(flat, SMALLEST)))


def gibbs_energy(weights: Matrix, probs: Probs, labels: NDArray[np.integer]) -> float:
    """Of a labelling [H, W]: unaries plus the weights between all pairs of pixels with different labels."""
    flat = labels.ravel()
    unary = unary_energy(probs)[flat, np.arange(flat.size)].sum()
    one_hot = (flat == np.arange(len(probs))[:, None]).astype(np.float64)
    within = float(((one_hot @ weights) * one_hot).sum())  # both orders, and each pixel with itself
    return float(unary) + (float(weights.sum()) - within) / 2


def free_energy(weights: Matrix, probs: Probs, q: Probs) -> float:
    """Expected energy minus entropy of independent pixels with marginals q [C, H, W]: what the mean field lowers."""
    flat = np.asarray(q, np.float64).reshape(len(q), -1)
    expected = float((flat * (unary_energy(probs) + np.log(np.maximum(flat, 1e-300)))).sum())
    between = weights - np.diag(np.diag(weights))
    return expected + (float(between.sum()) - float(((flat @ between) * flat).sum())) / 2
