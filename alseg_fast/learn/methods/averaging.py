"""The assignment network of CoSA: a copy whose parameters follow the trained network's as a moving average."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import nn

from ...checks import check_choice
from ...errors import RangeError
from ..networks.build import build_network
from ..networks.weak_network import WeakNetwork

TeacherStart = Literal["copy", "separate_heads"]
Buffers = Literal["copy", "average"]


def make_teacher(network: WeakNetwork, start: TeacherStart = "copy", *, seed: int = 0) -> WeakNetwork:
    """A second network that is never trained: no gradients, always in eval mode.

    Args:
        network: the one that is trained.
        start: "copy", all parameters are the trained network's; "separate_heads", as the published code of CoSA
            builds it: the encoder is copied, the heads begin with another random initialisation (at decay 0.9994
            2.7 % of it is left after 6,000 steps).
        seed: of that other initialisation.
    """
    check_choice("make_teacher", "start", start, ("copy", "separate_heads"))
    if start == "copy":
        teacher = copy.deepcopy(network)
    else:
        teacher = build_network(**network.config, seed=seed).to(next(network.parameters()).device)
        teacher.encoder.load_state_dict(network.encoder.state_dict())
    return teacher.requires_grad_(False).eval()


@torch.no_grad()
def follow(teacher: nn.Module, network: nn.Module, decay: float, *, buffers: Buffers = "copy") -> None:
    """One step of the moving average: teacher <- decay * teacher + (1 - decay) * network.

    Args:
        teacher, network: two networks with the same parameters and buffers.
        decay: 0..1; CoSA 0.9994.
        buffers: CoSA averages parameters only, and its transformer has no buffers, so what to do with the running
            statistics of batch normalisation is left open. "copy" (default): the trained network's, which are moving
            averages already. "average": like the parameters (integers are copied).
    """
    if not 0.0 <= decay <= 1.0:
        raise RangeError(f"follow: decay must lie in [0, 1]; got {decay!r}. CoSA uses 0.9994.")
    check_choice("follow", "buffers", buffers, ("copy", "average"))
    for mine, its in zip(teacher.parameters(), network.parameters(), strict=True):
        mine.mul_(decay).add_(its, alpha=1.0 - decay)
    for kept, latest in zip(teacher.buffers(), network.buffers(), strict=True):
        if buffers == "average" and kept.is_floating_point():
            kept.mul_(decay).add_(latest, alpha=1.0 - decay)
        else:
            kept.copy_(latest)
