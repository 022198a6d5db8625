"""What the training loop asks of a method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from ..data.batch import Batch
from ..data.dataset import Dataset


@dataclass(frozen=True)
class Losses:
    """The loss of one batch.

    Attributes:
        total: scalar with a gradient.
        parts: named scalars as they enter the total, weights included, detached: for the log.
    """

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


class Method(Protocol):
    """One stage of training: what is learned, from which loss, and how its result is judged.

    The loop owns steps, optimiser, schedule, batches, checkpoints, logs and early stopping; the method owns its
    networks and whatever it remembers between steps. Random numbers that a method draws come from torch's global
    generator, which the loop keeps in its checkpoints.
    """

    @property
    def network(self) -> nn.Module:
        """The network that is trained and, at the end, exported."""
        ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """For the optimiser: dicts with "params" and perhaps "lr_factor" (times the stage's rate)."""
        ...

    def start(self) -> None:
        """Set training modes (frozen parts stay in eval mode); called before the first step and after evaluation."""
        ...

    def losses(self, batch: Batch, step: int) -> Losses:
        """Loss of one batch; `step` counts from 0."""
        ...

    def after_step(self, step: int) -> None:
        """After the optimiser's step: moving averages and the like."""
        ...

    def evaluate(self, data: Dataset) -> dict[str, float]:
        """Named figures in [0, 1]; "score" is what early stopping and the best checkpoint go by (higher = better)."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that must survive a kill: networks (teachers too), memories, thresholds."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        ...
