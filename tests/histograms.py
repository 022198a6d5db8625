"""Sets of histograms that are hard to search: sparse, equal, nearly equal, with tiny masses."""

import numpy as np

from alseg_fast.kernels.js_knn.common import Block, Cells, embed
from alseg_fast.kernels.nearest_centroid import nearest_centroid

KINDS = ("flat", "sparse", "mixed", "equal", "near", "tiny", "permuted", "disjoint")


def scale_of(hist, channels):
    n, dim = hist.shape
    return 1 / hist.astype(np.float64).reshape(n, channels, dim // channels).sum(axis=2)


def draw_histograms(rng, n, dim, channels, kind="mixed", dtype=np.float32):
    """[n, dim] rows of which each channel has the sum 1, up to rounding."""
    few = max(1, n // 6)
    h = rng.gamma({"flat": 1.0, "sparse": 0.05}.get(kind, 0.3), size=(n, dim))
    if kind in ("equal", "near", "permuted"):
        h = h[rng.integers(0, few, n)]
    if kind == "near":
        h *= 1 + 1e-6 * rng.random((n, dim))
    if kind == "permuted":
        h = rng.permuted(h.reshape(n * channels, -1), axis=1)
    if kind == "tiny":
        h = np.where(rng.random((n, dim)) < 0.5, 1e-8, h)
    if kind == "disjoint":
        h = h * (rng.integers(0, 2, (n, 1)) == np.arange(dim) % 2)
    h = h.reshape(n, channels, -1).astype(np.float32)
    h[h.sum(axis=2) < 1e-6, 0] = 1
    h /= h.sum(axis=2, keepdims=True)
    return np.ascontiguousarray(h.reshape(n, dim).astype(dtype))


def with_cells(block, centroids, weights, rng=None):
    """The block's rows in the order of their cells: those with the nearest centroid, or, drawn by rng, any."""
    rows, centroids = embed(block.hist, block.scale, weights), centroids.astype(np.float32)
    cell, _ = nearest_centroid("cpu", block.hist, block.scale, weights, centroids)
    if rng is not None:
        cell = np.where(rng.random(len(cell)) < 0.3, rng.integers(0, len(centroids), len(cell)), cell)
    distance = np.sqrt(((rows - centroids[cell].astype(np.float64)) ** 2).sum(axis=1))
    order = np.lexsort((distance, cell))
    counts = np.bincount(cell, minlength=len(centroids))
    cells = Cells(
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        centroids=centroids,
        distance=distance[order].astype(np.float32),
        weights=weights,
        nearest=rng is None,
    )
    alive = None if block.alive is None else block.alive[order]
    return Block(block.hist[order], block.scale[order], block.key[order], alive, cells)
