"""What every method that trains one network does alike: parameter groups, training mode, state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..networks.weak_network import WeakNetwork
from ..training.method import Losses


class OneNetwork:
    """Base of the methods: one network is trained, and it is all there is to remember.

    Args:
        network: trained in place; parameters that need no gradient are left out.
        head_lr_factor: learning rate of everything but the encoder, relative to the encoder's.
    """

    def __init__(self, network: WeakNetwork, *, head_lr_factor: float = 1.0) -> None:
        self.network = network
        self.head_lr_factor = head_lr_factor

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The encoder's parameters and the others'; without a group that would be empty."""
        encoder = {id(p) for p in self.network.encoder.parameters()}
        trained = [p for p in self.network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if id(p) in encoder], "lr_factor": 1.0},
            {"params": [p for p in trained if id(p) not in encoder], "lr_factor": self.head_lr_factor},
        ]
        return [group for group in groups if group["params"]]

    def start(self) -> None:
        self.network.train()

    def after_step(self, step: int) -> None:
        """Nothing to do after the optimiser's step."""

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])


def add_up(parts: Mapping[str, Tensor]) -> Losses:
    """The total of weighted parts, and the parts as the log shows them."""
    total = torch.stack([part.reshape(()) for part in parts.values()]).sum()
    return Losses(total, {name: part.detach() for name, part in parts.items()})
