"""A histogram index that compares every pair: the interface of `HistogramIndex`, the results of its definition."""

from types import SimpleNamespace

import numpy as np

from alseg_fast.kernels.js_knn.common import NO_KEY, Block
from alseg_fast.kernels.js_knn.reference import js_knn


class PlainIndex:
    def __init__(
        self, dim, metric="js", device="auto", *, channels=1, weights=None, dtype="float32", cells="auto", seed=0
    ):
        self.dim, self.channels, self.weights = dim, channels, weights
        self._groups = {}

    def add(self, ids, hist, labels=None):
        ids, hist = np.asarray(ids, np.int64), np.asarray(hist, np.float32)
        labels = np.asarray(["" if labels is None else x for x in labels])
        for label in np.unique(labels):
            assert label not in self._groups
            self._groups[str(label)] = (ids[labels == label], np.ascontiguousarray(hist[labels == label]))

    def _scale(self, hist):
        return 1 / hist.reshape(len(hist), self.channels, -1).sum(axis=2, dtype=np.float64)

    def channel_weights(self, label):
        if self.weights is None:
            return np.full(self.channels, 1 / self.channels)
        if self.weights != "published":
            return np.array(self.weights) / np.sum(self.weights)
        _, hist = self._groups[label]
        p = hist.reshape(len(hist), self.channels, -1) * self._scale(hist)[:, :, None]
        m = (p[:, None] + p[None]) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            half = np.where(p[:, None] > 0, p[:, None] * np.log(p[:, None] / m), 0).sum(axis=3)
        z = (half + half.transpose(1, 0, 2)).sum(axis=(0, 1)) / 2
        w = np.divide(1, z, out=np.zeros_like(z), where=z > 1e-15)
        return w / w.sum() if w.sum() else np.full(self.channels, 1 / self.channels)

    def search(
        self, queries, labels=None, k=40, exact=True, *, multiplier=8, exclude=None, within=None, num_threads=None
    ):
        (label,) = set(labels)
        ids, hist = self._groups[label]
        queries = np.asarray(queries, np.float32)
        block = Block(hist, self._scale(hist), ids)
        exclude = np.full(len(queries), NO_KEY) if exclude is None else np.asarray(exclude, np.int64)
        within = None if within is None else np.broadcast_to(np.asarray(within, np.float64), len(queries))
        w = self.channel_weights(label)
        found = js_knn(queries, self._scale(queries), [block], k, w, exclude, within, 0 if exact else multiplier * k)
        return SimpleNamespace(ids=found.keys, distances=found.distances, certified=found.certified)
