"""PyTorch on the GPU. ``make(z, size) -> call`` with z [N, C, h, w] or [N, T, C, h, w] on the device, any float dtype;
``call()`` gives what the baselines of the CPU give.

Low-resolution logits become float32 first, which costs nothing beside the rest: in bfloat16 to the end, probabilities
would have two or three digits, and no gate could pass them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .mc_torch_compiled import stream
from .mc_torch_eager import batched_measures
from .torch_compiled import compile_whole, measure_planes, unrolled_measures, whole_measures
from .torch_eager import bind, naive_measures, tuned_measures

Call = Callable[[], Any]
Size = tuple[int, int]


def eager(z: torch.Tensor, size: Size) -> Call:
    """As everybody writes it."""
    return bind(lambda z, size: naive_measures(z.float(), size), z, size)


def eager_tuned(z: torch.Tensor, size: Size) -> Call:
    """log_softmax, in place, no topk."""
    return bind(lambda z, size: tuned_measures(z.float(), size), z, size)


def compiled(z: torch.Tensor, size: Size) -> Call:
    """Everything in one graph, by reductions over the classes."""
    return bind(compile_whole(whole_measures), z, size)


def compiled_unrolled(z: torch.Tensor, size: Size) -> Call:
    """Everything in one graph, with the loop over the classes unrolled."""
    return bind(compile_whole(unrolled_measures), z, size)


def interpolate_then_compiled(z: torch.Tensor, size: Size) -> Call:
    """torch's interpolation into kept memory, then one compiled pass over the planes."""
    up = torch.empty((*z.shape[:2], *size), device=z.device)
    compiled = compile_whole(measure_planes)

    def call() -> Any:
        with torch.inference_mode():
            torch.ops.aten.upsample_bilinear2d.out(z.float(), list(size), False, None, None, out=up)
            return compiled(up)

    return call


def mc_eager(z: torch.Tensor, size: Size) -> Call:
    """All passes at once, as everybody writes it."""
    return bind(batched_measures, z, size)


def mc_compiled(z: torch.Tensor, size: Size) -> Call:
    """All passes in one graph."""
    return bind(compile_whole(batched_measures), z, size)


def mc_streamed(z: torch.Tensor, size: Size) -> Call:
    """Pass by pass into kept memory: torch interpolates, one compiled update adds to running sums."""
    return stream(z, size)


def forget_compiled() -> None:
    """Drop compiled code, which torch keeps for a limited number of shapes and dtypes."""
    torch._dynamo.reset()
