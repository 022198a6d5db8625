"""MC dropout with torch.compile, in its best forms found.

The last one is the strongest peer known: torch's own interpolation of one pass into memory that is kept, and one
compiled update of running sums whose loop over the classes is unrolled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .mc_signature import MEASURES, Call, Outputs
from .mc_torch_eager import batched_measures
from .torch_compiled import compile_whole, set_threads
from .torch_eager import bind

__all__ = ["batched", "set_threads", "streamed", "update_planes"]


def batched(logits: NDArray[np.float32], size: tuple[int, int]) -> Call:
    """All passes in one graph."""
    return bind(compile_whole(batched_measures), torch.from_numpy(logits), size)


def update_planes(up: Any, sums: list[Any], expected: Any, squares: Any) -> None:
    """Add one pass [1, C, H, W] to the running sums of p (C planes), of its entropy, and of p^2 over classes."""
    planes = up.unbind(1)
    first = planes[0]
    for plane in planes[1:]:
        first = torch.maximum(first, plane)
    total, moment, square = (torch.zeros_like(first) for _ in range(3))
    exponentials = []
    for plane in planes:
        t = plane - first
        e = t.exp()
        exponentials.append(e)
        total = total + e
        moment = moment + t * e
        square = square + e * e
    inverse = 1 / total
    for plane, e in zip(sums, exponentials, strict=True):
        plane.add_(e * inverse)
    expected.add_(total.log() - moment * inverse)
    squares.add_(square * inverse * inverse)


def finish_planes(
    sums: list[Any], expected: Any, squares: Any, entropy: Any, information: Any, variance: Any, passes: int
) -> None:
    """Running sums -> measures; `expected` becomes its mean."""
    h, s = torch.zeros_like(expected), torch.zeros_like(expected)
    for plane in sums:
        mean = plane / passes
        h = h - mean * torch.log(mean)
        s = s + mean * mean
    mean_entropy = expected / passes
    entropy.copy_(h)
    information.copy_(h - mean_entropy)
    variance.copy_((squares / passes - s) / len(sums))
    expected.copy_(mean_entropy)


def streamed(logits: NDArray[np.float32], size: tuple[int, int]) -> Call:
    """Pass by pass into kept memory: torch interpolates, one compiled update adds to running sums."""
    return stream(torch.from_numpy(logits), size)


def stream(z: torch.Tensor, size: tuple[int, int]) -> Call:
    """`streamed` for a tensor on any device; sums and outputs are float32."""
    n, passes, n_classes = z.shape[:3]
    up = torch.empty((n, n_classes, *size), device=z.device)
    sums = [torch.empty((n, *size), device=z.device) for _ in range(n_classes)]
    expected, squares, entropy, information, variance = (torch.empty((n, *size), device=z.device) for _ in range(5))
    update, finish = compile_whole(update_planes), compile_whole(finish_planes)

    def call() -> Outputs:
        with torch.inference_mode():
            for plane in (*sums, expected, squares):
                plane.zero_()
            for t in range(passes):
                torch.ops.aten.upsample_bilinear2d.out(z[:, t].float(), list(size), False, None, None, out=up)
                update(up, sums, expected, squares)
            finish(sums, expected, squares, entropy, information, variance, passes)
            return dict(zip(MEASURES, (entropy, expected, information, variance), strict=True))

    return call
