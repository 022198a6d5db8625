"""The fully connected CRF without a lattice, in float64: kernels between all pairs of pixels, mean field, energies.

Kernels after Krahenbuhl and Koltun (2011), equation 3, each normalised symmetrically: k_ij / sqrt(n_i n_j) with
n_i = sum over j of k_ij, the pixel itself included, as pydensecrf does. O(N^2) memory: for small pictures only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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


def _kernel(features: Matrix) -> Matrix:
    """[N, D] features in units of their deviations -> normalised kernel [N, N]."""
    squares = (features**2).sum(axis=1)
    distance = squares[:, None] + squares[None] - 2 * features @ features.T
    kernel = np.exp(-np.maximum(distance, 0) / 2)
    norm = 1 / np.sqrt(kernel.sum(axis=1))
    return np.asarray(kernel * norm[:, None] * norm)


def pair_weights(image: NDArray[np.uint8], gaussian: Gaussian, bilateral: Bilateral) -> Matrix:
    """[N, N]: the weighted sum of both kernels, N = H W pixels in raster order."""
    height, width = image.shape[:2]
    places = np.mgrid[:height, :width].reshape(2, -1).T.astype(np.float64)
    colours = image.reshape(-1, 3).astype(np.float64)
    weights = gaussian.weight * _kernel(places / gaussian.sigma_xy)
    both = np.concatenate([places / bilateral.sigma_xy, colours / bilateral.sigma_rgb], axis=1)
    return np.asarray(weights + bilateral.weight * _kernel(both))


def unary_energy(probs: Probs) -> Matrix:
    """[C, H, W] -> [C, N]: -log p."""
    flat = np.asarray(probs, np.float64).reshape(len(probs), -1)
    return np.asarray(-np.log(np.maximum(flat, SMALLEST)))


def _softmax(scores: Matrix) -> Matrix:
    e = np.exp(scores - scores.max(axis=0))
    return np.asarray(e / e.sum(axis=0))


def mean_field(weights: Matrix, probs: Probs, n_iter: int) -> Matrix:
    """[C, H, W]: Q <- softmax(-U + weights Q), Potts compatibility, all pixels at once; begins at softmax(-U)."""
    unary = unary_energy(probs)
    q = _softmax(-unary)
    for _ in range(n_iter):
        q = _softmax(q @ weights - unary)
    return q.reshape(probs.shape)


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
