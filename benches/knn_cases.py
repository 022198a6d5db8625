"""Ways of searching that `bench knn` times: ours and the peers', and what all of them are held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

import alseg_fast as alseg
from alseg_fast.dispatch import use_backend

from .knn_data import Data
from .rivals import OURS as OUR_ROLE
from .rivals import PEER, Call, Rival

NATIVE, SCAN, FAISS = "alseg", "alseg, full scan", "alseg, FAISS and Numba"
GPU = "alseg, FAISS on the GPU"
SIMSIMD, POLYNOMIAL, LOG, SCIPY = "simsimd cdist", "Numba, polynomial log", "Numba, np.log", "scipy cdist"
K = 40


@dataclass(frozen=True)
class Peer:
    """A baseline by where its function lives, and how many queries it is given at a million rows."""

    name: str
    target: str  # "module:function" in baselines/
    queries: int

    def make(self, rows: Any, queries: Any, k: int, threads: int) -> Call:
        module, function = self.target.split(":")
        loaded: Any = import_module(f".baselines.{module}", __package__)
        call: Call = getattr(loaded, function)(rows, queries, k, threads)
        return call


SCANS = (
    Peer(SIMSIMD, "knn_simd:simsimd", 50),
    Peer("numkong cdist", "knn_simd:numkong", 25),
    Peer(POLYNOMIAL, "knn_numba:with_polynomial", 50),
    Peer(LOG, "knn_numba:with_log", 10),
    Peer(SCIPY, "knn_libraries:scipy", 4),
    Peer("FAISS METRIC_JensenShannon", "knn_libraries:faiss", 4),
    Peer("usearch, exact", "knn_libraries:usearch", 8),
)
GRAPHS = (
    Peer("nmslib hnsw", "knn_graphs:nmslib", 1000),
    Peer("pynndescent", "knn_graphs:pynndescent", 1000),
)


@dataclass(frozen=True)
class Truth:
    """Distances of the k nearest rows of the first queries [n, k], ascending, and of any row of them."""

    nearest: NDArray[np.float64]
    distance: Callable[[NDArray[np.int64]], NDArray[np.float64]]  # rows [m <= n, k], -1 for none -> [m, k]

    def recall(self, found: NDArray[np.int64]) -> float:
        """Share of true neighbours among the answers; a row as near as the k-th is one."""
        m = min(len(found), len(self.nearest))
        d = self.distance(np.ascontiguousarray(found[:m, : self.nearest.shape[1]], np.int64))
        return float((d <= self.nearest[:m, -1:] + 1e-12).mean())


def find_truth(data: Data, k: int, n_queries: int, threads: int) -> Truth:
    """The divergence of every row in float64, by the Numba rerank: no bound, no candidates."""
    from alseg_fast.kernels.js_rerank.numba_cpu import js_rerank

    def scales(hist: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(1 / hist.astype(np.float64).reshape(len(hist), data.channels, -1).sum(axis=2))

    chosen, weights = data.queries[:n_queries], np.full(data.channels, 1 / data.channels)
    own = scales(chosen)
    best = np.empty((len(chosen), 0))
    for first in range(0, len(data.rows), 65536):
        rows = data.rows[first : first + 65536]
        every = np.broadcast_to(np.arange(len(rows)), (len(chosen), len(rows)))
        d = js_rerank(chosen, own, rows, scales(rows), weights, np.ascontiguousarray(every), threads)
        best = np.sort(np.concatenate([best, d], axis=1), axis=1)[:, :k]

    def distance(found: NDArray[np.int64]) -> NDArray[np.float64]:
        rows, place = np.unique(found, return_inverse=True)
        index = np.where(found >= 0, place.reshape(found.shape), -1)
        taken = np.ascontiguousarray(data.rows[rows])
        return js_rerank(chosen[: len(found)], own[: len(found)], taken, scales(taken), weights, index, threads)

    return Truth(best, distance)


def build_index(data: Data, cells: str | None = "auto", dtype: str = "float32", device: str = "cpu") -> Any:
    """One class; ids are row numbers."""
    index = alseg.HistogramIndex(data.rows.shape[1], device=device, channels=data.channels, dtype=dtype, cells=cells)
    index.add(np.arange(len(data.rows)), data.rows)
    return index


def our_search(index: Any, queries: Any, k: int, threads: int | None, backend: str | None = None) -> Any:
    """One exact search, by the back end that is preferred or by the one that is named."""
    if backend is None:
        return index.search(queries, k=k, num_threads=threads)
    with use_backend(backend):
        return index.search(queries, k=k, num_threads=threads)


def our_rivals(data: Data, k: int, threads: int, truth: Truth, device: str) -> list[Rival]:
    """Ours, certified, with cells and without, and by FAISS; on a GPU FAISS alone."""
    n = len(data.queries)

    def check(result: Any) -> str | None:
        if not result.certified.all():
            return f"{int((~result.certified).sum())} queries are not certified"
        recall = truth.recall(result.ids)
        off = float(np.abs(result.distances[: len(truth.nearest)] - truth.nearest).max())
        return None if recall == 1 and off < 1e-12 else f"recall {recall:.4f}, distances off by {off:.2g}"

    def facts(result: Any) -> dict[str, Any]:
        summary = result.stats.summary()
        return {
            "recall": truth.recall(result.ids),
            "certified": float(result.certified.mean()),
            "visited": summary["visited_share"],
            "reranked": summary["reranked_per_query"],
        }

    def rival(name: str, index: Any, backend: str | None) -> Rival:
        return Rival(
            name,
            OUR_ROLE,
            lambda: lambda: our_search(index, data.queries, k, threads, backend),
            check,
            facts,
            scale=1 / n,
            columns={"queries": n},
        )

    if device != "cpu":
        return [rival(GPU, build_index(data, cells=None, device=device), None)]
    celled, plain = build_index(data), build_index(data, cells=None)
    return [rival(NATIVE, celled, None), rival(SCAN, plain, None), rival(FAISS, plain, "faiss")]


def peer_rivals(data: Data, k: int, threads: int, truth: Truth, peers: tuple[Peer, ...]) -> list[Rival]:
    """Peers on as many queries as they get through; their time is given for one."""
    rows = data.joined()

    def rival(peer: Peer) -> Rival:
        # A scan costs rows times queries: what is given at a million rows is more at fewer.
        share = 1 if peer in GRAPHS else max(1, 1_000_000 // len(rows))
        n = min(len(data.queries), peer.queries * share)
        queries = data.joined("queries", n)
        return Rival(
            peer.name,
            PEER,
            lambda: peer.make(rows, queries, k, threads),
            lambda found: None if found.shape == (n, k) else f"shape {list(found.shape)}",
            lambda found: {"recall": truth.recall(found)},
            scale=1 / n,
            columns={"queries": n},
        )

    return [rival(peer) for peer in peers]
