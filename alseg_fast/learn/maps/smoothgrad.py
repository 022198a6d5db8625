"""SmoothGrad: the gradient of a class score with respect to the picture, averaged over noisy copies."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...checks import check_choice
from ...errors import DataError, ModelError, RangeError, ShapeError
from .inputs import check_images, is_present
from .teacher import evaluating

CHANNELS = ("sum", "max", "none")


class SaliencyMaps(NamedTuple):
    """One map for each tag that is present in each picture, in the order of (picture, tag).

    Attributes:
        maps: [P, H, W] float32, or [P, 3, H, W] with channels="none".
        images: [P] int64, the picture of each map.
        tags: [P] int64, its tag.
    """

    maps: Tensor
    images: Tensor
    tags: Tensor

    def dense(self, n_images: int, n_tags: int) -> Tensor:
        """[B, K, ...] with zeros for tags that are absent."""
        full = self.maps.new_zeros((n_images, n_tags, *self.maps.shape[1:]))
        full[self.images, self.tags] = self.maps
        return full


def smoothgrad(
    network: nn.Module,
    images: Tensor,
    tags: Tensor,
    *,
    n: int = 50,
    sigma: float = 0.15,
    squared: bool = False,
    seed: int = 0,
    channels: str = "sum",
    chunk: int = 10,
) -> SaliencyMaps:
    """Mean over n noisy copies of dS_c/dI, S_c the logit of a tag that is present; squared: the mean of its square.

    ::

        M_c = 1/n sum_i dS_c/dI (I + e_i),  e_i ~ N(0, s^2),  s = sigma * (max(I) - min(I)) of that picture

    The noise depends on the seed, the copy's number and the picture's size alone: neither on the other pictures of
    the batch nor on `chunk`. A constant picture has s = 0; all its copies are the same, so that its map is the plain
    gradient, from one copy. A picture without tags has no map. The network runs in evaluation mode and its weights
    get no gradient.

    Args:
        network: answers `NetworkOutputs` with tag_logits.
        images: [B, 3, H, W] normalised.
        tags: [B, K], nonzero where a map is wanted: the known labels.
        n: copies. sigma: noise as a share of the picture's range; 0 gives the plain gradient. The paper's figures
            are 10 to 20 % and about 50 copies; its authors' library has 0.15 and 25.
        squared: square each gradient before the mean (SmoothGrad-Squared); the authors' library adds up, which is
            n times as much.
        channels: how three colour gradients become one value, after the mean: "sum" of absolute values (the
            authors' library), "max" of absolute values (Simonyan et al. 2014), or "none": [P, 3, H, W] with signs.
        chunk: noisy copies in one pass: what bounds the memory, together with the network.

    Raises: ShapeError, DtypeError, RangeError: an argument is wrong. ModelError: the network has no tag logits.
        DataError: gradients are NaN or inf.
    Source: Smilkov et al. (2017), SmoothGrad.
    """
    name = "smoothgrad"
    check_images(name, images)
    check_choice(name, "channels", channels, CHANNELS)
    for argument, value in (("n", n), ("chunk", chunk)):
        if value < 1:
            raise RangeError(f"{name}: {argument} must be at least 1; got {value!r}. 1 copy at a time needs least.")
    if not 0.0 <= sigma < float("inf"):
        raise RangeError(f"{name}: sigma must be a finite number >= 0; got {sigma!r}. It is a share of the range.")
    present = is_present(name, tags, (len(images), tags.shape[-1] if tags.ndim else 0), images.device)
    wanted = present.nonzero().cpu()  # [P, 2]
    maps: list[Tensor] = []
    with evaluating(network), torch.enable_grad():
        for b in range(len(images)):
            chosen = wanted[wanted[:, 0] == b, 1].tolist()
            if chosen:
                copies = _NoisyCopies(images[b].detach(), n, sigma, seed)
                maps.append(_mean_gradients(name, network, copies, chosen, tags.shape[1], squared, chunk))
    flat = torch.cat(maps) if maps else images.new_zeros((0, *images.shape[1:]), dtype=torch.float32)
    if not bool(torch.isfinite(flat).all()):
        raise DataError(f"{name}: gradients must be finite; got NaN or inf. Look for a broken picture or network.")
    if channels != "none":
        flat = flat.abs().sum(dim=1) if channels == "sum" else flat.abs().amax(dim=1)
    which = wanted.to(images.device)
    return SaliencyMaps(flat, which[:, 0], which[:, 1])


class _NoisyCopies:
    """The copies of one picture [3, H, W], made when they are needed."""

    def __init__(self, image: Tensor, n: int, sigma: float, seed: int) -> None:
        self.image = image
        self.deviation = sigma * float(image.max() - image.min())
        self.n = n if self.deviation > 0 else 1
        # The noise comes from the CPU's generator, so that a GPU sees the same copies.
        self._noise = torch.Generator().manual_seed(seed)

    def take(self, count: int) -> Tensor:
        """The next `count` copies, [count, 3, H, W]."""
        shape = self.image.shape
        noise = [torch.randn(shape, generator=self._noise, dtype=torch.float32) for _ in range(count)]
        stacked = torch.stack(noise).to(self.image.device, self.image.dtype)
        return self.image + self.deviation * stacked


def _mean_gradients(
    name: str, network: nn.Module, copies: _NoisyCopies, chosen: list[int], n_tags: int, squared: bool, chunk: int
) -> Tensor:
    """[len(chosen), 3, H, W] float32."""
    total = torch.zeros((len(chosen), *copies.image.shape), device=copies.image.device)
    done = 0
    while done < copies.n:
        noisy = copies.take(min(chunk, copies.n - done)).requires_grad_(True)
        out: Any = network(noisy)
        if out.tag_logits is None:
            raise ModelError(f"{name}: the network has no tag logits; build it with n_tags > 0")
        if out.tag_logits.shape[1] != n_tags:
            raise ShapeError(
                f"{name}: tags must have one column a tag of the network, {out.tag_logits.shape[1]}; got {n_tags}. "
                "Pass the tags that the network was trained on."
            )
        for i, tag in enumerate(chosen):
            # Copies do not influence each other in evaluation mode: the gradient of the sum is each one's own.
            (gradient,) = torch.autograd.grad(out.tag_logits[:, tag].sum(), noisy, retain_graph=i + 1 < len(chosen))
            gradient = gradient.float()
            total[i] += (gradient.square() if squared else gradient).sum(dim=0)
        done += len(noisy)
    return total / copies.n
