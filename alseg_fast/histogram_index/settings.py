"""What decides how an index stores and compares its rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
