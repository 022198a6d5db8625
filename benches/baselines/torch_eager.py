"""PyTorch without compilation, from what everybody writes to what an expert would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from .signature import Call, Outputs


def set_threads(threads: int) -> None:
    """For everything that torch runs in this process from now on."""
    torch.set_num_threads(threads)


def naive_measures(z: torch.Tensor, size: tuple[int, int]) -> Outputs:
    """[N, C, h, w] on any device -> entropy, p1 - p2, labels, as everybody writes it."""
    up = functional.interpolate(z, size=size, mode="bilinear", align_corners=False)
    p = torch.softmax(up, dim=1)
    entropy = -(p * torch.log(p)).sum(dim=1)
    top = torch.topk(p, 2, dim=1).values
    return entropy, top[:, 0] - top[:, 1], p.argmax(dim=1)


def tuned_measures(z: torch.Tensor, size: tuple[int, int]) -> Outputs:
    """The same with log_softmax, in place, no topk."""
    up = functional.interpolate(z, size=size, mode="bilinear", align_corners=False)
    log_p = torch.log_softmax(up, dim=1)
    p = log_p.exp()
    first, labels = p.max(dim=1)
    entropy = log_p.mul_(p).sum(dim=1).neg_()
    p.scatter_(1, labels[:, None], -1.0)
    return entropy, first.sub_(p.amax(dim=1)), labels


def naive(logits: NDArray[np.float32], size: tuple[int, int]) -> Call:
    """As everybody writes it."""
    return bind(naive_measures, torch.from_numpy(logits), size)


def tuned(logits: NDArray[np.float32], size: tuple[int, int]) -> Call:
    """log_softmax, in place, no topk."""
    return bind(tuned_measures, torch.from_numpy(logits), size)


def bind(measures: Callable[..., Any], z: torch.Tensor, size: tuple[int, int]) -> Callable[[], Any]:
    """A call of `measures` on these logits, without autograd."""

    def call() -> Any:
        with torch.inference_mode():
            return measures(z, size)

    return call


def planes(logits: NDArray[np.float32], size: tuple[int, int]) -> Call:
    """Plane by plane, every intermediate preallocated."""
    z = torch.from_numpy(logits)
    n_classes = z.shape[1]
    up = torch.empty((1, n_classes, *size))
    first, second, t, e, total, moment, entropy, gap = (torch.empty(size) for _ in range(8))
    above = torch.empty(size, dtype=torch.bool)
    labels = torch.empty(size, dtype=torch.uint8)

    def call() -> Outputs:
        with torch.inference_mode():
            torch.ops.aten.upsample_bilinear2d.out(z, list(size), False, None, None, out=up)
            first.copy_(up[0, 0])
            second.fill_(-torch.inf)
            labels.zero_()
            for c in range(1, n_classes):
                plane = up[0, c]
                torch.gt(plane, first, out=above)
                labels.masked_fill_(above, c)
                torch.minimum(plane, first, out=t)
                torch.maximum(second, t, out=second)
                torch.maximum(first, plane, out=first)
            total.zero_()
            moment.zero_()
            for c in range(n_classes):
                torch.sub(up[0, c], first, out=t)
                torch.exp(t, out=e)
                total.add_(e)
                moment.addcmul_(t, e)
            torch.log(total, out=entropy)
            entropy.sub_(moment.div_(total))
            torch.sub(second, first, out=gap)
            gap.exp_().neg_().add_(1.0).div_(total)
            return entropy[None], gap[None], labels[None]

    return call
