"""The nearest neighbours of histograms by scipy, and histograms that make them hard to find."""

import numpy as np


def channel_distances(queries, rows, channels):
    """[Q, n, C] Jensen-Shannon divergence in nats, a channel at a time."""
    from scipy.spatial.distance import jensenshannon

    p = np.asarray(queries, np.float64).reshape(len(queries), 1, channels, -1)
    q = np.asarray(rows, np.float64).reshape(1, len(rows), channels, -1)
    with np.errstate(invalid="ignore"):  # scipy takes the root of a sum that may be -1e-17
        root = jensenshannon(*np.broadcast_arrays(p, q), axis=3)
    return np.nan_to_num(root) ** 2


def brute_force(distances, ids, rows, k):
    """(ids, distances) of the k nearest of some rows, by (distance, id)."""
    names = ids if isinstance(ids, list) else ids.tolist()
    best = sorted((distances[i], names[i]) for i in rows)[:k]
    return [name for _, name in best], np.array([d for d, _ in best])


def make_histograms(rng, n, dim, channels):
    """[n, dim] float32: spread, sparse and concentrated rows, a tenth of them copies of others."""
    kind = rng.integers(0, 3)
    hist = rng.gamma([0.1, 1, 0.5][kind], size=(n, channels, dim // channels)).astype(np.float32)
    hist[rng.random(hist.shape) < [0, 0.7, 0.3][kind]] = 0
    empty = hist.sum(axis=2) == 0
    hist[empty, rng.integers(0, hist.shape[2])] = 1
    hist = hist.reshape(n, dim)
    copies = rng.random(n) < 0.1
    hist[copies] = hist[rng.integers(0, n, copies.sum())]
    return hist
