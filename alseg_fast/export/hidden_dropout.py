"""Finds dropout calls that a module makes in training mode only, and so hides from an export in eval mode."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from ..errors import ModelError
from .dropout_calls import DropoutCall, ReplacedDropout


def check_nothing_hidden(function: str, module: nn.Module, channels: int, size: tuple[int, int]) -> None:
    """Run a ``prepared`` module on a blank image in eval and in training mode and compare the dropouts called.

    Normalisations stay in eval mode, buffers and torch's generator are put back.

    Raises:
        ModelError: submodules call more dropouts in training mode; the message names them.
    """
    x = torch.zeros(1, channels, *size)
    visible = _callers(module, x)
    flags = {m: m.training for m in module.modules()}
    buffers = [(b, b.clone()) for b in module.buffers()]
    everything = visible
    # A module that cannot run in training mode without targets shows nothing, and hides nothing known.
    with torch.random.fork_rng(devices=()), contextlib.suppress(Exception):
        try:
            for m in flags:
                m.training = not isinstance(m, _NormBase)
            everything = _callers(module, x)
        finally:
            for m, flag in flags.items():
                m.training = flag
            for buffer, value in buffers:
                buffer.copy_(value)
    hidden = everything - visible
    if hidden:
        listed = ", ".join(map(repr, hidden))
        raise ModelError(
            f"{function}: dropout must be called in eval mode too; submodules {listed} call theirs in training mode "
            "only. Give training=[...] with these names, or of the modules around them that decide, to make it active; "
            "training=[] leaves it out."
        )


def _callers(module: nn.Module, x: torch.Tensor) -> Counter[str]:
    """Names of the submodules that call a dropout, as often as they do."""
    names = {m: name for name, m in module.named_modules()}
    stack: list[nn.Module] = []
    found: Counter[str] = Counter()

    def note(value: torch.Tensor, call: DropoutCall) -> torch.Tensor:
        # Whether nn.Dropout itself is called is up to the module around it.
        callers = [m for m in stack if not isinstance(m, _DropoutNd)]
        found[names.get(callers[-1], "") if callers else ""] += 1
        return value

    with _stacked(stack), ReplacedDropout(note):
        module(x)
    return found


@contextlib.contextmanager
def _stacked(stack: list[nn.Module]) -> Iterator[None]:
    """Keep the modules whose forward is running on a stack."""

    def push(module: nn.Module, args: Any) -> None:
        stack.append(module)

    def pop(module: nn.Module, args: Any, result: Any) -> None:
        stack.pop()

    hooks = [register_module_forward_pre_hook(push), register_module_forward_hook(pop, always_call=True)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
