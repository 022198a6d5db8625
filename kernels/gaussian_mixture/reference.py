"""The definition: integer NumPy for the bins, plain expectation maximisation in float64 for the mixture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .common import BAD_VALUE, BAD_WEIGHT, SLACK, VALUE_BITS

F64 = NDArray[np.float64]


def value_moments(
    values: NDArray[np.float32],
    weights: NDArray[np.float32] | None,
    bin_bits: int,
    least: float,
    num_threads: int = 0,
) -> tuple[F64, int]:
    """values [G, I, K, P], weights [G, I, P] -> sums [G, bins, 3], status.

    The largest of the K planes, if it is at least `least`, is a whole number q of 2^-24; its bin is q's upper
    `bin_bits`, its offset the rest. The sums are those of weight, weight * offset and weight * offset^2.
    """
    bins, shift = 1 << bin_bits, VALUE_BITS - bin_bits
    sums = np.zeros((len(values), bins, 3))
    if not ((values >= -SLACK) & (values <= 1 + SLACK)).all():
        return sums, BAD_VALUE
    if weights is not None and not ((weights >= 0) & (weights <= 1e30)).all():
        return sums, BAD_WEIGHT
    for g, group in enumerate(values):
        largest = group.max(axis=1).ravel()
        keep = largest >= np.float32(least)
        top = 1 - 2.0**-VALUE_BITS
        q = (np.clip(largest[keep].astype(np.float64), 0, top) * 2**VALUE_BITS).astype(np.int64)
        w = np.ones(len(q)) if weights is None else weights[g].ravel()[keep].astype(np.float64)
        offset = (q & (1 << shift) - 1).astype(np.float64)
        for moment in range(3):
            sums[g, :, moment] = np.bincount(q >> shift, w * offset**moment, minlength=bins)
    return sums, 0


def gaussian_mixture(
    x: F64,
    weight: F64,
    starts: F64,
    tolerance: float,
    max_iter: int,
    variance_floor: float,
    plain: bool,
    num_threads: int = 0,
) -> tuple[F64, F64]:
    """Points x [n] with weights that sum to 1, starts [S, K, 3] of share, mean and variance -> components [S, K, 3] and
    facts [S, 3]: the mean log-likelihood before the last iteration, iterations, whether they converged.

    An iteration: r_ik ~ share_k N(x_i; mean_k, variance_k), sum_k r_ik = 1; share_k = sum_i w_i r_ik; mean and variance
    are those of x under w_i r_ik, the variance plus `variance_floor`. It stops when no share, mean or standard
    deviation changes by more than `tolerance`; `plain`: when the log-likelihood changes by less than it.
    """
    found, facts = [], []
    for start in starts:
        share, mean, variance = start.T
        likelihood, converged, n = -np.inf, False, 0
        while n < max_iter and not converged:
            before = likelihood
            with np.errstate(divide="ignore"):
                log = np.log(share) - np.log(2 * np.pi * variance) / 2 - (x[:, None] - mean) ** 2 / (2 * variance)
            total = np.logaddexp.reduce(log, axis=1)
            likelihood = float(weight @ total)
            part = weight[:, None] * np.exp(log - total[:, None])  # [n, K]
            new = part.sum(axis=0)
            safe = np.where(new > 1e-300, new, 1)
            new_mean = np.where(new > 1e-300, x @ part / safe, mean)
            spread = ((x[:, None] - new_mean) ** 2 * part).sum(axis=0) / safe + variance_floor
            new_variance = np.where(new > 1e-300, spread, variance)
            changes = [new - share, new_mean - mean, np.sqrt(new_variance) - np.sqrt(variance)]
            share, mean, variance, n = new, new_mean, new_variance, n + 1
            converged = bool(abs(likelihood - before) < tolerance if plain else np.abs(changes).max() <= tolerance)
        found.append(np.stack([share, mean, variance], axis=1))
        facts.append([likelihood, n, converged])
    return np.stack(found), np.array(facts, np.float64)
