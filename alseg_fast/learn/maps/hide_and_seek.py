"""Hide-and-Seek: parts of the training picture are hidden, so that the classifier has to find more of the object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...errors import DtypeError, RangeError, ShapeError
from .inputs import share

CELL_SIZES = (0, 16, 32, 44, 56)


def hide_and_seek(
    images: Tensor,
    rng: np.random.Generator,
    *,
    sizes: Sequence[int] = CELL_SIZES,
    probability: float = 0.5,
    fill: float | Sequence[float] = 0.0,
) -> Tensor:
    """The pictures with grid cells hidden, a grid of its own for each; for training only.

    Each picture draws a cell size, then each of its cells is hidden independently. A picture that would vanish
    altogether keeps one cell, drawn at random (the published code has no such rule; small pictures of one cell need
    it, and are therefore never hidden).

    Args:
        images: [B, 3, H, W] or [3, H, W], normalised; not modified.
        rng: the source of every draw, so that a batch can be drawn again from its seed.
        sizes: sides of the cells in pixels to draw from with equal chances; 0 hides nothing. The default is the
            authors' for 224 x 224; cells at the right and lower border are cut off.
        probability: of a cell being hidden; 0.5 is published.
        fill: value of hidden pixels, one or one a channel, in the unit of `images`. 0 is the mean colour of pictures
            normalised with the data set's own mean, as published; any other value shifts what the first layers see.

    Returns: a new tensor of the same shape and dtype.
    Raises: ShapeError, DtypeError, RangeError: an argument is wrong.
    Source: Singh and Lee (2017), Hide-and-Seek.
    """
    name = "hide_and_seek"
    if images.ndim not in (3, 4) or images.shape[-3] != 3 or 0 in images.shape:
        raise ShapeError(
            f"{name}: images must have shape [B, 3, H, W] or [3, H, W], none of them 0; got {list(images.shape)}. "
            "Pass RGB pictures."
        )
    if not images.is_floating_point():
        raise DtypeError(f"{name}: images must be floating point; got {images.dtype}. Normalise the pictures first.")
    cells = [int(s) for s in sizes]
    if not cells or min(cells) < 0:
        raise RangeError(f"{name}: sizes must be at least one integer >= 0; got {sizes!r}. 0 hides nothing.")
    hidden_share = share(name, "probability", probability)
    batch = images[None] if images.ndim == 3 else images
    height, width = batch.shape[-2:]
    hidden = np.stack([_hidden(height, width, cells, hidden_share, rng) for _ in range(len(batch))])
    mask = torch.from_numpy(hidden).to(images.device)[:, None]  # [B, 1, H, W]
    made = torch.where(mask, fill_values(name, fill, images)[:, None, None], batch)
    return made.reshape(images.shape)


def fill_values(name: str, fill: float | Sequence[float], images: Tensor) -> Tensor:
    """[3], of the dtype and device of `images`."""
    values = np.asarray(fill, np.float64)
    if values.shape not in ((), (3,)) or not np.isfinite(values).all():
        raise RangeError(f"{name}: fill must be one or three finite numbers; got {fill!r}. 0 is the mean colour.")
    return torch.as_tensor(np.broadcast_to(values, 3).copy(), dtype=images.dtype, device=images.device)


def _hidden(
    height: int, width: int, sizes: list[int], probability: float, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """[H, W], True where one picture is hidden."""
    side = sizes[int(rng.integers(len(sizes)))]
    if side == 0:
        return np.zeros((height, width), np.bool_)
    grid = rng.random((-(-height // side), -(-width // side))) < probability
    if grid.all():
        grid.flat[int(rng.integers(grid.size))] = False
    return np.repeat(np.repeat(grid, side, 0), side, 1)[:height, :width]
