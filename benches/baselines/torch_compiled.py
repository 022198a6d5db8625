"""PyTorch with torch.compile, in its best forms found.

The last one is the strongest peer known: torch's own interpolation into memory that is kept, and one compiled pass
over the planes whose loop over the classes is unrolled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from .signature import Call, Outputs
from .torch_eager import bind


def set_threads(threads: int) -> None:
    """Generated code holds the number of threads, so what was compiled for another one is dropped."""
    torch.set_num_threads(threads)
    torch._dynamo.reset()


def compile_whole(function: Any) -> Any:
    # fullgraph: where something cannot be compiled, fail rather than run it eagerly.
    return torch.compile(function, dynamic=False, fullgraph=True)


def measure_planes(up: Any) -> Outputs:
    """[1, C, H, W] upsampled logits -> entropy, p1 - p2, labels, with the loop over classes unrolled."""
    planes = up.unbind(1)
    first = planes[0]
    second = torch.full_like(first, -torch.inf)
    label = torch.zeros_like(first)  # as float: mixed element sizes would keep the compiler from using vectors
    for c, plane in enumerate(planes[1:], start=1):
        second = torch.maximum(second, torch.minimum(first, plane))
        label = torch.where(plane > first, float(c), label)
        first = torch.maximum(first, plane)
    total = torch.zeros_like(first)
    moment = torch.zeros_like(first)
    for plane in planes:
        t = plane - first
        e = t.exp()
        total = total + e
        moment = moment + t * e
    return total.log() - moment / total, (1 - (second - first).exp()) / total, label.to(torch.uint8)


def whole_measures(z: Any, size: tuple[int, int]) -> Outputs:
    """[N, C, h, w] on any device -> entropy, p1 - p2, labels, by reductions over the classes."""
    up = functional.interpolate(z.float(), size=size, mode="bilinear", align_corners=False)
    first, label = up.max(dim=1, keepdim=True)
    ids = torch.arange(z.shape[1], device=z.device)[None, :, None, None]
    second = torch.where(ids == label, -torch.inf, up).amax(dim=1, keepdim=True)
    t = up - first
    e = t.exp()
    total = e.sum(dim=1)
    entropy = total.log() - (t * e).sum(dim=1) / total
    return entropy, (1 - (second - first).exp())[:, 0] / total, label[:, 0]


def unrolled_measures(z: Any, size: tuple[int, int]) -> Outputs:
    """The same with the loop over the classes unrolled."""
    return measure_planes(functional.interpolate(z.float(), size=size, mode="bilinear", align_corners=False))


def whole(logits: NDArray[np.float32], size: tuple[int, int]) -> Call:
    """Everything in one graph, by reductions over the classes."""
    return bind(compile_whole(whole_measures), torch.from_numpy(logits), size)


def whole_unrolled(logits: NDArray[np.float32], size: tuple[int, int]) -> Call:
    """Everything in one graph, with the loop over the classes unrolled."""
    return bind(compile_whole(unrolled_measures), torch.from_numpy(logits), size)


def interpolate_then_compiled(logits: NDArray[np.float32], size: tuple[int, int]) -> Call:
    """torch's interpolation into kept memory, one compiled pass, fresh outputs."""
    z = torch.from_numpy(logits)
    up = torch.empty((1, z.shape[1], *size))
    compiled = compile_whole(measure_planes)

    def call() -> Outputs:
        with torch.inference_mode():
            torch.ops.aten.upsample_bilinear2d.out(z, list(size), False, None, None, out=up)
            outputs: Outputs = compiled(up)
            return outputs

    return call


def interpolate_then_compiled_out(logits: NDArray[np.float32], size: tuple[int, int]) -> Call:
    """The same, with the outputs in kept memory too."""
    z = torch.from_numpy(logits)
    up = torch.empty((1, z.shape[1], *size))
    outputs = torch.empty((1, *size)), torch.empty((1, *size)), torch.empty((1, *size), dtype=torch.uint8)

    def measure(up: Any, entropy: Any, gap: Any, labels: Any) -> None:
        values = measure_planes(up)
        entropy.copy_(values[0])
        gap.copy_(values[1])
        labels.copy_(values[2])

    compiled = compile_whole(measure)

    def call() -> Outputs:
        with torch.inference_mode():
            torch.ops.aten.upsample_bilinear2d.out(z, list(size), False, None, None, out=up)
            compiled(up, *outputs)
            return outputs

    return call
