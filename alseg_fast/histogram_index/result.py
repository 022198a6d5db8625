"""What a search returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class SearchStats:
    """What a search had to do, of each query.

    Attributes:
        visited: [Q] int64 rows whose embedded distance was computed; of some implementations also removed and
            excluded ones.
        reranked: [Q] int64 rows whose divergence was computed.
        rounds: [Q] int32 how often the candidates were widened; 0: the first ones sufficed.
        rows: [Q] int64 rows of the query's class that could be its neighbours (alive, not excluded).
        certified: [Q] bool as in the result.
    """

    visited: NDArray[np.int64]
    reranked: NDArray[np.int64]
    rounds: NDArray[np.int32]
    rows: NDArray[np.int64]
    certified: NDArray[np.bool_]

    def summary(self) -> dict[str, Any]:
        """Of all queries together.

        queries; certified_share; visited_share (visited rows / rows of the classes); full_scans (queries that
        visited every row: no cells, or cells that would not have saved anything); reranked_per_query;
        widened (queries whose candidates had to be widened); most_rounds. Shares are None without a query or a row.
        """
        queries = len(self.rows)
        rows = int(self.rows.sum())
        return {
            "queries": queries,
            "certified_share": float(self.certified.mean()) if queries else None,
            "visited_share": float(np.minimum(self.visited, self.rows).sum() / rows) if rows else None,
            "full_scans": int((self.visited >= self.rows).sum()),
            "reranked_per_query": float(self.reranked.mean()) if queries else None,
            "widened": int((self.rounds > 0).sum()),
            "most_rounds": int(self.rounds.max(initial=0)),
        }


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The nearest rows of each query, nearest first, of equal distances the smaller id first.

    Attributes:
        ids: [Q, k] int64, or objects (str); -1 or None behind the last neighbour of a query that has fewer.
        distances: [Q, k] float64 in nats; inf there.
        certified: [Q] bool, proven to be the true answer.
        stats: what the search had to do.
    """

    ids: NDArray[Any]
    distances: NDArray[np.float64]
    certified: NDArray[np.bool_]
    stats: SearchStats
