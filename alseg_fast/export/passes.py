"""T stochastic passes of the whole torch module, one after the other: what an exported graph must equal."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..errors import ModelError, ShapeError, UsageError
from .dropout_calls import DropoutCall
from .flips import FLIP_AXES, check_flips
from .hidden_dropout import check_nothing_hidden
from .masks import gain, keep_mask
from .module_state import OutputKey, check_module, prepared, run

MAX_SEED = 2**64 - 1
MAX_PASSES = 65_535


def stochastic_passes(
    module: nn.Module,
    x: torch.Tensor,
    *,
    n_passes: int,
    seed: int = 0,
    flips: Sequence[str] = (),
    output: OutputKey = None,
    training: Sequence[str] | None = None,
) -> torch.Tensor:
    """Scores of T full passes of a module with the masks that `to_onnx` writes for the same seed.

    Each image goes through the whole module alone, T times a view, so that nothing is shared and no image can
    depend on its neighbours. Slow; for checks and for pools too small to matter. Dropout is on also for
    ``n_passes=1``. The module is left as it was.

    Args:
        x: [N, channels, H, W] float32 on the CPU, normalised. Not modified.
        n_passes: T, passes of each view.
        seed: 0 .. 2^64 - 1; pass t of a seed is the same for every T.
        flips: adds flipped views, see `to_onnx`.
        output: key or index of the scores where the module gives several tensors; None = the first.
        training: names of submodules to run in training mode, see `to_onnx`. None: their dropout is an error.
    Returns: [N, T * (1 + len(flips)), C, h, w] float32; view f, pass t is at index f * T + t.
    Raises:
        UsageError, ShapeError: an argument is not as said.
        ModelError: the module has no dropout, or one that is not supported.
    """
    names = check_flips("stochastic_passes", flips)
    check_count("stochastic_passes", "n_passes", n_passes, MAX_PASSES)
    check_seed("stochastic_passes", seed)
    check_module(module)
    if x.ndim != 4 or x.dtype != torch.float32 or x.shape[0] == 0:
        raise ShapeError(f"stochastic_passes: x must be [N, channels, H, W] float32; got {list(x.shape)} {x.dtype}.")
    with prepared(module, training or ()):
        if training is None:
            check_nothing_hidden("stochastic_passes", module, x.shape[1], (x.shape[2], x.shape[3]))
        per_image = [
            torch.stack(
                [
                    one_pass(module, image[None], seed=seed, index=t, flip=flip, output=output)
                    for flip in (None, *names)
                    for t in range(n_passes)
                ]
            )
            for image in x
        ]
    return torch.stack(per_image)


def one_pass(
    module: nn.Module, image: torch.Tensor, *, seed: int, index: int | None, flip: str | None, output: OutputKey
) -> torch.Tensor:
    """Scores [C, h, w] of one image [1, channels, H, W] through a ``prepared`` module; index None = dropout off."""
    axes = FLIP_AXES[flip] if flip else ()
    view = torch.flip(image, axes) if axes else image.clone()

    def mask(x: torch.Tensor, call: DropoutCall) -> torch.Tensor:
        if index is None:
            return x
        keep = torch.from_numpy(keep_mask(seed, call.index, index, call.noise_shape(x.shape), call.p))
        noise = keep * gain(call.p)
        return x.mul_(noise) if call.inplace else x * noise

    logits, calls = run(module, view, mask, output)
    if index is not None and not calls:
        raise no_dropout("stochastic_passes")
    return torch.flip(logits[0], axes) if axes else logits[0]


def no_dropout(function: str) -> ModelError:
    """The error for a module in which no dropout call with p > 0 is seen."""
    return ModelError(
        f"{function}: module must have a dropout with p above 0 on the way to its scores; it has none in eval "
        "mode. Add nn.Dropout2d before its last convolution, name submodules that hide theirs in training=, "
        "or ask for one pass."
    )


def check_count(function: str, name: str, value: object, most: int) -> None:
    """Raises UsageError unless value is an int of 1 .. most."""
    if type(value) is not int or not 1 <= value <= most:
        raise UsageError(f"{function}: {name} must be an integer of 1 to {most}; got {value!r}.")


def check_seed(function: str, seed: object) -> None:
    """Raises UsageError unless seed is an int of 0 .. 2^64 - 1."""
    if type(seed) is not int or not 0 <= seed <= MAX_SEED:
        raise UsageError(f"{function}: seed must be an integer of 0 to 2^64 - 1; got {seed!r}.")
