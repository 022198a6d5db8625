"""The definition, in float64 NumPy: every pair of pixels is looked at, so memory and time grow as (H W)^2.

E(x) = sum_i u_i(x_i) + sum_{i<j} mu(x_i, x_j) k'_ij, u = -ln p, and for each term k' = w k or w D^-1/2 k D^-1/2;
mean field: Q_i(l) proportional to exp(-u_i(l) - sum_m mu(l, m) sum_j k'_ij Q_j(m)), all pixels at once. As in the
authors' program the sum over j and D = k 1 include j = i, and Q starts at p.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .common import BAD_LABEL, NEGATIVE, NOT_FINITE, NOT_NORMALISED, Lattice, Problem


def prepare(lattice: Lattice, num_threads: int = 0) -> None:
    """Nothing is worth keeping."""


def pair_weights(lattice: Lattice) -> NDArray[np.float64]:
    """k' of both terms together, [H W, H W]."""
    height, width, channels = lattice.image.shape
    colors = lattice.image.reshape(-1, channels).astype(np.float64)
    places = np.argwhere(np.ones((height, width))).astype(np.float64)
    total = np.zeros((height * width, height * width))
    terms = []
    if lattice.gaussian is not None:
        sigma, weight = lattice.gaussian
        terms.append((weight, places / sigma))
    if lattice.bilateral is not None:
        sigma, sigma_color, weight = lattice.bilateral
        terms.append((weight, np.hstack([places / sigma, colors / sigma_color])))
    for weight, features in terms:
        k = np.exp(-0.5 * ((features[:, None] - features[None]) ** 2).sum(axis=2))
        root = np.sqrt(k.sum(axis=1)) if lattice.symmetric else np.ones(len(k))
        total += weight * k / root[:, None] / root[None]
    return total


def unary_probs(problem: Problem) -> tuple[NDArray[np.float64], int]:
    """Unary as probabilities [C, H, W], and the status."""
    n, source = problem.n_classes, problem.source
    c = np.asarray(problem.confidence, np.float64)
    status = 0
    if problem.unary == "labels":
        silent = source == problem.unsure
        if ((source < 0) | (source >= n))[~silent].any():
            status = BAD_LABEL
        given = np.arange(n)[:, None, None] == source
        p = np.where(given, c, (1 - c) / (n - 1)) if n > 1 else np.ones((1, *source.shape))
        p = np.where(silent, 1 / n, p)
    elif not np.isfinite(source).all():
        return np.full(source.shape, np.nan), NOT_FINITE
    else:
        p = source.astype(np.float64)
        if problem.unary == "logits":
            p = np.exp(p - p.max(axis=0))
            p /= p.sum(axis=0)
        else:
            status |= NEGATIVE if (p < 0).any() else 0
            status |= NOT_NORMALISED if (np.abs(p.sum(axis=0) - 1) > problem.tolerance).any() else 0
        p = c * p + (1 - c) / n
    p = np.maximum(p, problem.clip)
    return p / p.sum(axis=0), status


def dense_crf(
    lattice: Lattice, problem: Problem, num_threads: int = 0, out: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float32], int]:
    """-> marginals [C, H, W] (in `out` where it is given), status bits."""
    p, status = unary_probs(problem)
    shape, n = p.shape, problem.n_classes
    fixed = np.zeros(shape[1:], bool) if problem.clamp is None else problem.clamp >= 0
    one_hot = np.arange(n)[:, None, None] == (0 if problem.clamp is None else problem.clamp)
    penalty = 1 - np.eye(n) if problem.penalty is None else problem.penalty.astype(np.float64)
    k = pair_weights(lattice)
    q = np.where(fixed, one_hot, p)
    for _ in range(problem.n_iter if status == 0 else 0):
        z = np.log(p) - (penalty @ (q.reshape(n, -1) @ k)).reshape(shape)
        q = np.exp(z - z.max(axis=0))
        q = np.where(fixed, one_hot, q / q.sum(axis=0))
    result = q.astype(np.float32)
    if out is None:
        return result, status
    out[...] = result
    return out, status


def filter_planes(
    lattice: Lattice, planes: NDArray[np.float32], transpose: bool, num_threads: int = 0
) -> NDArray[np.float32]:
    """planes [C, H, W] -> sum_j k'_ij planes_j; k' is symmetric, so that `transpose` changes nothing."""
    k = pair_weights(lattice)
    return (planes.reshape(len(planes), -1).astype(np.float64) @ k).reshape(planes.shape).astype(np.float32)
