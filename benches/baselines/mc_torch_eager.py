"""MC dropout with PyTorch, without compilation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from .mc_signature import MEASURES, Call, Outputs
from .torch_eager import bind, set_threads

__all__ = ["batched", "batched_measures", "set_threads", "streamed"]


def batched_measures(z: torch.Tensor, size: tuple[int, int]) -> Outputs:
    """[N, T, C, h, w] on any device -> the measures [N, H, W], all passes at once, as everybody writes it."""
    n, passes, n_classes = z.shape[:3]
    up = functional.interpolate(z.flatten(0, 1).float(), size=size, mode="bilinear", align_corners=False)
    p = torch.softmax(up, dim=1).view(n, passes, n_classes, *size)
    mean = p.mean(dim=1)
    entropy = -(mean * torch.log(mean)).sum(dim=1)
    expected = -(p * torch.log(p)).sum(dim=2).mean(dim=1)
    variance = p.var(dim=1, unbiased=False).mean(dim=1)
    return dict(zip(MEASURES, (entropy, expected, entropy - expected, variance), strict=True))


def batched(logits: NDArray[np.float32], size: tuple[int, int]) -> Call:
    """All passes at once, as everybody writes it."""
    return bind(batched_measures, torch.from_numpy(logits), size)


def streamed(logits: NDArray[np.float32], size: tuple[int, int]) -> Call:
    """Pass by pass, every intermediate preallocated.

    The class mean of the variance needs one plane for the squares: (sum_tc p^2 / T - sum_c mean_c^2) / C.
    """
    z = torch.from_numpy(logits)
    passes, n_classes = z.shape[1:3]
    up, log_p = torch.empty((1, n_classes, *size)), torch.empty((1, n_classes, *size))
    sums = torch.empty((1, n_classes, *size))
    one, entropy, expected, information, variance = (torch.empty((1, *size)) for _ in range(5))

    def call() -> Outputs:
        with torch.inference_mode():
            sums.zero_()
            expected.zero_()
            variance.zero_()
            for t in range(passes):
                torch.ops.aten.upsample_bilinear2d.out(z[:, t], list(size), False, None, None, out=up)
                torch.ops.aten._log_softmax.out(up, 1, False, out=log_p)
                p = torch.exp(log_p, out=up)
                sums.add_(p)
                expected.sub_(torch.sum(log_p.mul_(p), dim=1, out=one))
                variance.add_(torch.sum(p.mul_(p), dim=1, out=one))
            expected.div_(passes)
            mean = sums.div_(passes)
            torch.log(mean, out=log_p)
            torch.sum(log_p.mul_(mean), dim=1, out=entropy).neg_()
            torch.sub(entropy, expected, out=information)
            variance.div_(passes).sub_(torch.sum(mean.mul_(mean), dim=1, out=one)).div_(n_classes)
            return dict(zip(MEASURES, (entropy, expected, information, variance), strict=True))

    return call
