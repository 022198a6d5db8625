"""Dense energy loss: neighbours in place and colour should have the same label."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from ...checks import check_choice, check_threads
from ...errors import DataError, DtypeError, RangeError, ShapeError
from ...ops import CrfLattice
from ...ops.map_inputs import NUMBERS

_NAME = "dense_energy_loss"
NORMALIZATIONS = ("symmetric", "none")


def dense_energy_loss(
    rgb: Tensor,
    probs: Tensor,
    *,
    valid: Tensor | None = None,
    sigma_rgb: float = 15.0,
    sigma_xy: float = 100.0,
    scale: float = 0.5,
    normalization: str = "symmetric",
    num_threads: int | None = None,
) -> Tensor:
    """Potts energy of soft labels under a bilateral kernel, the regulariser that CoSA has from ToCo.

    For each image, with p_c the probabilities of class c as a vector over the pixels R that are valid::

        E = sum over classes c and pixels i, j in R of p_c(i) K_ij (1 - p_c(j))
        K_ij = exp(-|s_i - s_j|^2 / (2 (scale sigma_xy)^2) - |I_i - I_j|^2 / (2 sigma_rgb^2))

    - normalization="symmetric": K is divided by sqrt(d_i d_j), d = K 1, and E by |R|: the share of a pixel's
      neighbourhood that disagrees with it, in about 0..1, whatever the resolution. The default.
    - normalization="none": K as it is, E a sum over pairs. The released codes use this scale with a weight of 1e-7,
      which is not included here; it grows with the square of the number of pixels.

    The result is the mean over images; an image without a valid pixel has E = 0 and no gradient. Where probabilities
    sum to 1, E is a constant minus sum_c p_c K p_c. The gradient is that of E as it is computed: K 1 - (K + K^T) p_c,
    with K the operator of the engine's permutohedral lattice and K^T its exact transpose (up to rounding). The lattice
    approximates the kernel: E is within some percent of the sum over all pairs with "symmetric"; with "none" its scale
    may be off by a quarter, where colours are few. No gradient with respect to `rgb`.

    Args:
        rgb: [B, 3, H, W] uint8, before normalisation.
        probs: [B, C, H, W] float probabilities, as after softmax; C = 1: of the foreground, as after a sigmoid (the
            background is then 1 - p, and a class of its own). Another size than that of `rgb` is resized (bilinear,
            corners not aligned).
        valid: [B, H, W] bool; None: all pixels. A pixel of the smaller picture counts if all of its pixels do.
        sigma_rgb: grey levels of 0..255. sigma_xy: pixels of `rgb`.
        scale: in (0, 1]: picture, mask and probabilities are averaged (area) to H * scale x W * scale first.
        num_threads: None uses every CPU of the process; same bits for any number.
    Returns: scalar of the dtype of `probs` (float32 for half precision), on its device. The lattice itself runs on the
        CPU in float32; the interpreter's lock is released.
    Raises: ShapeError, DtypeError, RangeError, DataError (probabilities that are NaN or infinite).
    Sources: Tang et al., On Regularized Losses for Weakly-supervised CNN Segmentation, ECCV 2018; ToCo, CVPR 2023 and
    CoSA, ECCV 2024 (sigma_rgb 15, sigma_xy 100, half resolution). Which resampling they use is not known: area here.
    """
    check_choice(_NAME, "normalization", normalization, NORMALIZATIONS)
    for argument, value, most in (("sigma_rgb", sigma_rgb, 1e6), ("sigma_xy", sigma_xy, 1e6), ("scale", scale, 1.0)):
        if isinstance(value, bool) or not isinstance(value, NUMBERS) or not 1e-3 <= value <= most:
            raise RangeError(f"{_NAME}: {argument} must be in 0.001..{most:g}; got {value!r}. The defaults are usual.")
    threads = check_threads(_NAME, num_threads) or None
    _check_tensors(rgb, probs, valid)
    size = tuple(max(1, round(n * scale)) for n in rgb.shape[2:])
    small = functional.interpolate(rgb.float(), size=size, mode="area").round().to(torch.uint8)
    soft = probs.float() if probs.dtype in (torch.float16, torch.bfloat16) else probs
    if tuple(soft.shape[2:]) == tuple(rgb.shape[2:]):
        soft = functional.interpolate(soft, size=size, mode="area")
    else:
        soft = functional.interpolate(soft, size=size, mode="bilinear", align_corners=False)
    if soft.shape[1] == 1:
        soft = torch.cat([1 - soft, soft], dim=1)
    inside = torch.ones((soft.shape[0], *size), dtype=torch.bool)
    if valid is not None:
        inside = functional.interpolate(valid[:, None].float().cpu(), size=size, mode="area")[:, 0] > 1 - 1e-4
    bilateral = (float(sigma_xy) * float(scale), float(sigma_rgb), 1.0)
    loss: Tensor = _Energy.apply(soft, small, inside, bilateral, normalization, threads)  # type: ignore[no-untyped-call]
    return loss


def _check_tensors(rgb: Tensor, probs: Tensor, valid: Tensor | None) -> None:
    if rgb.ndim != 4 or rgb.shape[1] != 3 or 0 in rgb.shape:
        raise ShapeError(f"{_NAME}: rgb must have shape [B, 3, H, W]; got {list(rgb.shape)}. Pass pictures.")
    if rgb.dtype != torch.uint8:
        raise DtypeError(f"{_NAME}: rgb must be uint8; got {rgb.dtype}. Pass the pictures before normalisation.")
    if probs.ndim != 4 or probs.shape[0] != rgb.shape[0] or 0 in probs.shape:
        raise ShapeError(
            f"{_NAME}: probs must have shape [B, C, H, W] with B = {rgb.shape[0]}; got {list(probs.shape)}. "
            "Pass a map a class."
        )
    if not probs.dtype.is_floating_point:
        raise DtypeError(f"{_NAME}: probs must be floating; got {probs.dtype}. Pass probabilities, not labels.")
    if valid is not None:
        if tuple(valid.shape) != (rgb.shape[0], *rgb.shape[2:]):
            wanted = [rgb.shape[0], *rgb.shape[2:]]
            raise ShapeError(
                f"{_NAME}: valid must have shape [B, H, W] = {wanted}; got {list(valid.shape)}. Resize it."
            )
        if valid.dtype != torch.bool:
            raise DtypeError(f"{_NAME}: valid must be bool; got {valid.dtype}. Compare first.")


class _Energy(torch.autograd.Function):
    """E of probabilities [B, C, h, w] on pictures [B, 3, h, w] of the same size."""

    @staticmethod
    def forward(
        ctx: Any,
        probs: Tensor,
        rgb: Tensor,
        inside: Tensor,
        bilateral: tuple[float, float, float],
        normalization: str,
        num_threads: int | None,
    ) -> Tensor:
        soft = probs.detach().cpu().numpy()
        if not np.isfinite(soft).all():
            raise DataError(f"{_NAME}: probs must be finite; they hold NaN or inf. Look for the step that made them.")
        pictures = rgb.permute(0, 2, 3, 1).cpu().numpy()
        masks = inside.numpy()
        total = 0.0
        kept: list[Any] = []  # of each image, or None where no pixel is valid
        for image, planes, mask in zip(pictures, soft, masks, strict=True):
            count = int(mask.sum())
            if not count:
                kept.append(None)
                continue
            lattice = CrfLattice(image, None, bilateral, normalization, num_threads)
            own = np.where(mask, planes, 0).astype(np.float32)
            both = np.concatenate([own, mask[None].astype(np.float32)])
            filtered = lattice.filter(both, num_threads=num_threads).astype(np.float64)
            apart = filtered[-1] - filtered[:-1]  # K (1 - p)
            share = 1.0 / len(soft) / (count if normalization == "symmetric" else 1)
            total += share * math.fsum((own * apart).sum(axis=(1, 2)).tolist())
            kept.append((lattice, own, apart, mask, share))
        ctx.kept, ctx.num_threads = kept, num_threads
        ctx.shape, ctx.dtype, ctx.device = tuple(probs.shape), probs.dtype, probs.device
        return torch.tensor(total, dtype=probs.dtype, device=probs.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        out = np.zeros(ctx.shape)
        for i, parts in enumerate(ctx.kept):
            if parts is None:
                continue
            lattice, own, apart, mask, share = parts
            back = lattice.filter(own, transpose=True, num_threads=ctx.num_threads)
            out[i] = share * np.where(mask, apart - back, 0)
        gradient = torch.from_numpy(out).to(ctx.device, ctx.dtype) * grads[0]
        return gradient, None, None, None, None, None
