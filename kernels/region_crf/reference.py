"""The definition, in float64 NumPy: parallel updates with dense [S, S] weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def edge_weights(
    colors: NDArray[np.float32], pairs: NDArray[np.int32], lengths: NDArray[np.int64], weight: float, sigma: float
) -> F64:
    """w_ij = weight L_ij / sqrt(P_i P_j) exp(-|c_i - c_j|^2 / (2 sigma^2)), P_i = sum_j L_ij; symmetric [S, S]."""
    c = colors.astype(np.float64)
    border = np.zeros((len(c), len(c)))
    np.add.at(border, (pairs[:, 0], pairs[:, 1]), lengths)
    border += border.T
    length = np.maximum(border.sum(axis=1), 1)
    contrast = ((c[:, None] - c) ** 2).sum(axis=2)
    return np.asarray(weight * border / np.sqrt(np.outer(length, length)) * np.exp(-contrast / (2 * sigma**2)))


def region_crf(
    probs: NDArray[np.float32],
    colors: NDArray[np.float32],
    pairs: NDArray[np.int32],
    lengths: NDArray[np.int64],
    n_iter: int,
    weight: float,
    sigma: float,
    penalty: NDArray[np.float32] | None,
    clamp: NDArray[np.int32] | None,
    num_threads: int = 0,
) -> NDArray[np.float32]:
    """probs [S, C], colors [S, 3], pairs [E, 2], lengths [E], penalty [C, C] or None, clamp [S] or None -> [S, C]."""
    w = edge_weights(colors, pairs, lengths, weight, sigma)
    n_classes = probs.shape[1]
    mu = 1 - np.eye(n_classes) if penalty is None else penalty.astype(np.float64)
    p = np.maximum(probs.astype(np.float64), 1e-5)
    p /= p.sum(axis=1, keepdims=True)

    def clamped(q: F64) -> F64:
        if clamp is not None:
            q[clamp >= 0] = np.eye(n_classes)[clamp[clamp >= 0]]
        return q

    q = clamped(p.copy())
    for _ in range(n_iter):
        exponent = np.log(p) - w @ q @ mu.T
        e = np.exp(exponent - exponent.max(axis=1, keepdims=True))
        q = clamped(e / e.sum(axis=1, keepdims=True))
    return q.astype(np.float32)
