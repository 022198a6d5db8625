"""What a propagation is asked to do, checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..checks import check_choice
from ..errors import RangeError, UsageError

DIRECTIONS = ("unlabelled", "labelled")
CLAIMS = ("one", "many")
WEIGHTS = ("published", "equal")
TABLE = (1, 5, 10, 20, 40)


@dataclass(frozen=True)
class PropagateOptions:
    """How labels reach images. "Neighbours" are images of the same class, an image itself is none of its own.

    Attributes:
        k: neighbours that count, at least 1.
        direction: "unlabelled" (as published): an unlabelled image passes if a labelled one is among its k nearest
            neighbours, labelled and unlabelled alike. "labelled": it passes if it is among the k nearest unlabelled
            neighbours of a labelled image.
        claims: with direction "labelled", what an image gets that several labelled images claim: the nearest of them
            ("one") or a pair for each ("many"). With direction "unlabelled" the partner is always one.
        max_distance: also the distance in nats must be at most this; None: any.
        weights: of the histogram's channels in the distance: "published" (1 / Z_c, Z_c the sum of the channel's
            divergences over all ordered pairs of the class; of a class of more than 4,096 images over a sample of so
            many, see ``HistogramIndex``) or "equal".
        exact: the true neighbours, with proof. False: of the candidates of an approximate search.
        table: the values of k to report how many images pass for.
    """

    k: int
    direction: str = "unlabelled"
    claims: str = "one"
    max_distance: float | None = None
    weights: str = "published"
    exact: bool = True
    table: tuple[int, ...] = TABLE

    def __post_init__(self) -> None:
        name = "propagate"
        for what, values in (("k", (self.k,)), ("table", self.table)):
            for value in values:
                if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                    raise RangeError(
                        f"{name}: {what} must be {'an integer' if what == 'k' else 'integers'} >= 1; got {value!r}. "
                        "It counts neighbours."
                    )
        check_choice(name, "direction", self.direction, DIRECTIONS)
        check_choice(name, "claims", self.claims, CLAIMS)
        check_choice(name, "weights", self.weights, WEIGHTS)
        if self.direction == "unlabelled" and self.claims == "many":
            raise UsageError(
                f"{name}: claims must be 'one' with direction 'unlabelled', where the first labelled neighbour is the "
                "only partner; got 'many'. Use direction 'labelled'."
            )
        if self.max_distance is not None and not 0 <= self.max_distance < np.inf:
            raise RangeError(
                f"{name}: max_distance must be None or at least 0; got {self.max_distance!r}. It is in nats, 0 .. ln 2."
            )

    @property
    def ks(self) -> tuple[int, ...]:
        """The values of k to report, ascending, `k` among them."""
        return tuple(sorted({*map(int, self.table), int(self.k)}))

    def cap(self, unlabelled: int) -> int:
        """How many closer images are counted in a class with so many unlabelled images; 0: none.

        A k of at least their number lets every image pass whatever the histograms say: nothing is counted for it.
        """
        if self.direction == "labelled":
            return max(self.ks)
        return max((k for k in {*self.table, self.k} if k in self.table or k < unlabelled), default=0)

    def vacuous(self, k: int, unlabelled: int) -> bool:
        """Whether every image of a class with labels passes for this k."""
        return k >= unlabelled

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "table": list(self.table)}
