"""A torch module as the export needs it: checked, in eval mode with its dropout visible, and put back after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..errors import ModelError, UsageError
from .dropout_calls import DropoutCall, Place, ReplacedDropout, Replacement

OutputKey = str | int | None


@contextmanager
def prepared(module: nn.Module, training: Sequence[str] = ()) -> Iterator[None]:
    """Eval mode without gradients; ``nn.MultiheadAttention`` and the modules named keep their training branch.

    ``nn.MultiheadAttention`` passes its dropout on in training mode only, and has no other use of the flag.
    Flags are set directly, not by ``train()``, which a module may override; all are restored.
    """
    named = dict(module.named_modules())
    for name in training:
        if name not in named:
            raise UsageError(f"export: training must name submodules; got {name!r}. See module.named_modules().")
    before = {m: m.training for m in named.values()}
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        for name, m in named.items():
            m.training = isinstance(m, nn.MultiheadAttention) or name in training
        # The fused encoder layer knows no dropout.
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for m, flag in before.items():
            m.training = flag


def check_module(module: Any) -> None:
    """Refuse what cannot be exported, or whose dropout cannot be seen.

    Raises:
        UsageError: not a torch module.
        ModelError: scripted parts, recurrent layers with dropout, parameters off the CPU or not float32.
    """
    if not isinstance(module, nn.Module):
        raise UsageError(f"export: module must be a torch.nn.Module; got {type(module).__name__}.")
    for name, m in module.named_modules():
        where = f"submodule {name!r}" if name else "it"
        if isinstance(m, torch.jit.ScriptModule):
            raise ModelError(f"export: module must be eager Python; {where} is TorchScript. Give the eager module.")
        if hasattr(m, "_orig_mod"):
            raise ModelError(
                f"export: module must be eager Python; {where} is compiled. Give what torch.compile was given "
                "(its attribute _orig_mod)."
            )
        if isinstance(m, nn.RNNBase) and m.dropout > 0 and m.num_layers > 1:
            raise ModelError(
                f"export: dropout between recurrent layers must be a module of its own; {where} is a "
                f"{type(m).__name__} with dropout {m.dropout}. Use one layer each with nn.Dropout between."
            )
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.device.type != "cpu" or (tensor.is_floating_point() and tensor.dtype != torch.float32):
            raise ModelError(
                f"export: parameters must be float32 on the CPU; got {name} {tensor.dtype} on {tensor.device}. "
                "Call module.cpu().float() first."
            )


def run(
    module: nn.Module, x: torch.Tensor, replacement: Replacement, output: OutputKey = None
) -> tuple[torch.Tensor, list[DropoutCall]]:
    """One forward pass with every dropout replaced: the logits, and the dropout calls met."""
    with ReplacedDropout(replacement) as mode:
        result = module(x)
    return pick_output(result, output), mode.calls


def pick_output(result: Any, output: OutputKey) -> torch.Tensor:
    """The tensor of a module's result: by key or index, or the first tensor of a dict, tuple or list.

    Raises:
        ModelError: there is no such tensor.
    """
    if isinstance(result, torch.Tensor) and output is None:
        return result
    if isinstance(result, Mapping):
        found = dict(result)
    elif isinstance(result, (tuple, list)):
        found = dict(enumerate(result))
    else:
        found = {}
    tensors = {key: value for key, value in found.items() if isinstance(value, torch.Tensor)}
    if output is None and tensors:
        return next(iter(tensors.values()))
    if output in tensors:
        return tensors[output]
    has = f"{type(result).__name__} with tensors {', '.join(map(repr, tensors)) or 'none'}"
    wanted = "a tensor" if output is None else f"a tensor at output {output!r}"
    raise ModelError(f"export: module must give {wanted}; got {has}. Name one with output=.")


@dataclass(frozen=True)
class Probe:
    """What forward passes of one and of two images show: dropout places, and the score's (C, h, w)."""

    places: tuple[Place, ...]
    scores: tuple[int, int, int]


def probe(module: nn.Module, channels: int, size: tuple[int, int], output: OutputKey = None) -> Probe:
    """Run ``prepared`` module on one and on two blank images, dropout off.

    Raises:
        ModelError: the output is not (N, C, h, w), or a dropout's input has no clear batch axis.
    """
    one, scores = _record(module, torch.zeros(1, channels, *size), output)
    two, doubled = _record(module, torch.zeros(2, channels, *size), output)
    if len(scores) != 4 or doubled != (2, *scores[1:]) or scores[0] != 1:
        raise ModelError(
            f"export: module must give scores (N, C, h, w); got {list(scores)} for one image and {list(doubled)} "
            "for two. Give the segmentation network without post-processing, or name its output with output=."
        )
    if [call for call, _ in one] != [call for call, _ in two]:
        raise ModelError("export: module must call the same dropouts for any batch; it does not for 1 and 2 images.")
    places = tuple(_place(call, shape, other) for (call, shape), (_, other) in zip(one, two, strict=True))
    return Probe(places, (scores[1], scores[2], scores[3]))


_Seen = list[tuple[DropoutCall, tuple[int, ...]]]


def _record(module: nn.Module, x: torch.Tensor, output: OutputKey) -> tuple[_Seen, tuple[int, ...]]:
    seen: _Seen = []

    def note(value: torch.Tensor, call: DropoutCall) -> torch.Tensor:
        seen.append((call, tuple(value.shape)))
        return value

    logits, _ = run(module, x, note, output)
    return seen, tuple(logits.shape)


def _place(call: DropoutCall, one: tuple[int, ...], two: tuple[int, ...]) -> Place:
    noise, doubled = call.noise_shape(one), call.noise_shape(two)
    grown = [a for a in range(min(len(one), len(two))) if noise[a] != doubled[a]]
    if len(one) != len(two) or len(grown) > 1 or any(doubled[a] != 2 * noise[a] for a in grown):
        raise ModelError(
            f"export: the input of dropout {call.index} must have one axis that grows with the batch; got "
            f"{list(one)} for one image and {list(two)} for two. Move the dropout before the reshape."
        )
    return Place(call, one, noise, grown[0] if grown else None)
