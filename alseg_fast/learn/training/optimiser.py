"""Optimisers and learning rates of a stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ...errors import UsageError
from .config import StageConfig


def rate_at(stage: StageConfig, step: int) -> float:
    """Learning rate of a step, counted from 0, before the factors of parameter groups.

    During the warm-up the rate is rate * (step + 1) / warmup; the schedule counts from step 0 too, so it takes over
    where the warm-up ends without starting anew.
    """
    if step < stage.warmup:
        return stage.rate * (step + 1) / stage.warmup
    progress = step / max(stage.steps, 1)
    if stage.schedule == "constant":
        rate = stage.rate
    elif stage.schedule == "step":
        rate = stage.rate * stage.gamma ** (step // stage.step_every)
    elif stage.schedule == "poly":
        rate = stage.rate * (1.0 - progress) ** stage.power
    else:
        rate = stage.min_rate + 0.5 * (stage.rate - stage.min_rate) * (1.0 + math.cos(math.pi * progress))
    return max(rate, stage.min_rate)


def make_optimiser(groups: Sequence[dict[str, Any]], stage: StageConfig) -> torch.optim.Optimizer:
    """The stage's optimiser over a method's parameter groups ("params", perhaps "lr_factor" and "weight_decay").

    Raises: UsageError: no parameter is to be trained.
    """
    made = []
    for group in groups:
        params = [p for p in group["params"] if p.requires_grad]
        factor = float(group.get("lr_factor", 1.0))
        if params:
            made.append({**group, "params": params, "lr_factor": factor, "lr": stage.rate * factor})
    if not made:
        raise UsageError("train_stage: parameter_groups must name a parameter with a gradient; got none. Unfreeze one.")
    if stage.optimiser == "adamw":
        return torch.optim.AdamW(made, lr=stage.rate, weight_decay=stage.weight_decay)
    nesterov = stage.nesterov and stage.momentum > 0
    return torch.optim.SGD(
        made, lr=stage.rate, momentum=stage.momentum, nesterov=nesterov, weight_decay=stage.weight_decay
    )


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the rate times its factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["lr_factor"]


def parameters_of(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    """All that is trained."""
    return [p for group in optimiser.param_groups for p in group["params"]]
