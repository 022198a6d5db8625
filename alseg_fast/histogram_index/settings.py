"""What decides how an index stores and compares its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .inputs import PUBLISHED


@dataclass(frozen=True, eq=False)
class Settings:
    """As the arguments of HistogramIndex, checked."""

    dim: int
    channels: int
    weights: str | NDArray[np.float64] | None
    dtype: str
    cells: str | int | None
    seed: int
    max_rows_exact: int

    def fixed_weights(self) -> NDArray[np.float64]:
        """[C] of the distances; equal ones where they are computed from the class."""
        if isinstance(self.weights, np.ndarray):
            return self.weights
        return np.full(self.channels, 1 / self.channels)

    @property
    def published(self) -> bool:
        """Whether the weights are those of each class."""
        return isinstance(self.weights, str)

    def to_json(self) -> dict[str, Any]:
        """As index.json has them."""
        weights = self.weights.tolist() if isinstance(self.weights, np.ndarray) else self.weights
        return {"metric": "js", **asdict(self), "weights": weights}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Settings:
        """What to_json wrote. Raises: KeyError, TypeError, ValueError: it is not that."""
        weights, cells = facts["weights"], facts["cells"]
        dim, channels = int(facts["dim"]), int(facts["channels"])
        fixed = None if weights in (None, PUBLISHED) else np.array(weights, np.float64)
        if facts["dtype"] not in ("float32", "float16") or dim < 1 or channels < 1 or dim % channels:
            raise ValueError("unknown settings")
        if fixed is not None and (fixed.shape != (channels,) or not (np.isfinite(fixed) & (fixed > 0)).all()):
            raise ValueError("unknown weights")
        return cls(
            dim=dim,
            channels=channels,
            weights=weights if fixed is None else fixed,
            dtype=facts["dtype"],
            cells=cells if cells in ("auto", None) else int(cells),
            seed=int(facts["seed"]),
            max_rows_exact=int(facts["max_rows_exact"]),
        )
