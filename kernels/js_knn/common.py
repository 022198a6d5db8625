"""What the implementations of the nearest-neighbour search share: the rows they search and what they return.

Definitions, for histograms of `dim` bins in C channels of dim / C bins each:

* a row is stored as it was given; `scale` divides each of its channels by that channel's sum;
* the distance of a query and a row is sum over channels of w_c * JSD_c in nats, where the weights w_c sum to 1: it
  lies in [0, ln 2];
* the embedding of a row is s_j = sqrt(w_c * scale_c * p_j): a vector of length 1. With h2 = 1/2 |s - t|^2 = 1 - s.t of
  two of them, ln 2 * h2 <= distance <= h2 (both bounds are attained).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LN2 = 0.6931471805599453
NO_KEY = np.iinfo(np.int64).min  # no row: fills what a query has less than k of, and "exclude nothing"


@dataclass(frozen=True, eq=False)
class Cells:
    """A partition of a block's rows, which are stored cell after cell, in order of `distance` inside each.

    offsets: [L + 1] int64, rows of cell i are offsets[i] .. offsets[i + 1] - 1.
    centroids: [L, D] float32, any points of the embedding space (not of length 1 in general).
    distance: [n] float32, Euclidean distance of each embedded row to the centroid of its cell; rounded, so its users
        allow for an error of 1e-5.
    weights: [C] float64, sum 1: the channel weights of the embedding that the cells were made in. A search with
        other weights w has distances at least sqrt(min_c w_c / weights_c) times these.
    nearest: True promises that no row has a nearer centroid than that of its cell, as `nearest_centroid` finds them
        in float32: a search can then also rule out the rows on the far side of the plane between two centroids.
    """

    offsets: NDArray[np.int64]
    centroids: NDArray[np.float32]
    distance: NDArray[np.float32]
    weights: NDArray[np.float64]
    nearest: bool = False


@dataclass(frozen=True, eq=False)
class Block:
    """Rows that are searched together; the arrays may be read-only memory maps. Identity is what compares blocks.

    hist: [n, D] float32 or float16, C-contiguous, finite, >= 0, each channel of each row with a positive sum.
    scale: [n, C] float64, 1 / sum of the channel.
    key: [n] int64, unique over all blocks of a search: decides ties (the smaller one wins), names rows in results.
    alive: [n] bool, or None where every row is.
    cells: None: the block is scanned from end to end.
    """

    hist: NDArray[Any]
    scale: NDArray[np.float64]
    key: NDArray[np.int64]
    alive: NDArray[np.bool_] | None = None
    cells: Cells | None = None


@dataclass(frozen=True, eq=False)
class KnnResult:
    """keys [Q, k] int64 (NO_KEY behind the last), distances [Q, k] float64 ascending (inf there), of ties the smaller
    key first; certified [Q] bool: proven to be the true answer; visited [Q] int64: rows whose embedded distance was
    computed; reranked [Q] int64: rows whose divergence was computed; rounds [Q] int32: how often the candidates of
    the query were widened (0: never).
    """

    keys: NDArray[np.int64]
    distances: NDArray[np.float64]
    certified: NDArray[np.bool_]
    visited: NDArray[np.int64]
    reranked: NDArray[np.int64]
    rounds: NDArray[np.int32]


def embed(hist: NDArray[Any], scale: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n, D] rows -> [n, D] float64 embedding, see the top of this file."""
    n, dim = hist.shape
    channels = scale.shape[1]
    mass = hist.astype(np.float64).reshape(n, channels, dim // channels) * (scale * weights)[:, :, None]
    return np.asarray(np.sqrt(mass).reshape(n, dim))
