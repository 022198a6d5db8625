"""The pre-processing of the published runs on GlaS and CUB (Belharbi et al.).

Upscale so that the shorter side has at least 432 pixels (Lanczos), reflect 1 % of each side as padding; for training a
random crop of 416 x 416, scaled by 0.9 to 374 x 374, flips; for evaluation the whole picture, scaled by 0.9. Mean
and standard deviation are 0.5. In the released loader flips reached the picture but not the mask; here both are
flipped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ...errors import RangeError
from .colour import Pixels
from .dataset import IGNORE
from .geometry import resize_image, resize_nearest
from .transforms import Augmented, check_pixels, normalised

MEAN = STD = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Recipe:
    """The numbers of the published pre-processing.

    Attributes:
        min_side: pixels of the shorter side, in pixels; smaller pictures are enlarged.
        pad: share of each side that is reflected at both of its ends; rounded to whole pixels.
        crop: side of the square training crop. ratio: scale after cropping; 416 * 0.9 = 374.4 is rounded down to 374.
    """

    min_side: int = 432
    pad: float = 0.01
    crop: int = 416
    ratio: float = 0.9

    def __post_init__(self) -> None:
        if not (self.min_side >= self.crop >= 1 and 0 <= self.pad < 0.5 and 0 < self.ratio <= 1):
            raise RangeError(
                "Recipe: min_side >= crop >= 1, 0 <= pad < 0.5 and 0 < ratio <= 1 must hold; "
                f"got {self}. Correct the numbers."
            )

    def enlarged(self, size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) with a shorter side of at least min_side, in the same proportion."""
        factor = max(1.0, self.min_side / min(size))
        return max(self.min_side, round(size[0] * factor)) if factor > 1 else size[0], (
            max(self.min_side, round(size[1] * factor)) if factor > 1 else size[1]
        )

    def padding(self, size: tuple[int, int]) -> tuple[int, int]:
        """Pixels reflected at the upper and lower end, and at the left and right end."""
        return round(size[0] * self.pad), round(size[1] * self.pad)

    def reduced(self, size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) after the last scaling."""
        return max(1, int(size[0] * self.ratio)), max(1, int(size[1] * self.ratio))

    def prepare(self, pixels: Pixels) -> Pixels:
        """A picture [H, W, 3] enlarged and padded, or a mask [H, W] likewise (nearest)."""
        size = self.enlarged((pixels.shape[0], pixels.shape[1]))
        if pixels.ndim == 2:
            large = resize_nearest(pixels, size)
        elif pixels.shape[:2] == size:
            large = pixels
        else:
            large = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.LANCZOS))
        down, across = self.padding(size)
        around = ((down, down), (across, across), *(((0, 0),) if pixels.ndim == 3 else ()))
        return np.pad(large, around, mode="reflect")


class BelharbiAugment:
    """A random training view of 374 x 374; see the module. It serves wherever an `Augment` does.

    Args:
        hflip, vflip: mirror with probability 1/2; published: both for GlaS, left-right only for CUB.
        recipe: the numbers of the pre-processing.
    """

    mean, std = MEAN, STD

    def __init__(self, *, hflip: bool = True, vflip: bool = True, recipe: Recipe | None = None) -> None:
        self.hflip, self.vflip = bool(hflip), bool(vflip)
        self.recipe = recipe or Recipe()
        self.size = self.recipe.reduced((self.recipe.crop, self.recipe.crop))

    def stored_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Pictures are kept as they are: the crop is taken at full size."""
        return size

    def __call__(
        self, image: Pixels, mask: Pixels | None, rng: np.random.Generator, *, size: tuple[int, int] | None = None
    ) -> Augmented:
        """One random view; `size` is not used, the pixels are taken as they are."""
        check_pixels("BelharbiAugment", image, mask)
        crop = self.recipe.crop
        large = self.recipe.prepare(image)
        y, x = (int(rng.integers(n - crop + 1)) for n in large.shape[:2])
        flips = tuple(
            slice(None, None, -1 if rng.random() < 0.5 and wanted else 1) for wanted in (self.vflip, self.hflip)
        )
        rgb = np.ascontiguousarray(resize_image(large[y : y + crop, x : x + crop], self.size)[flips])
        ids = np.full(self.size, IGNORE, np.int64)
        if mask is not None:
            ids[:] = resize_nearest(self.recipe.prepare(mask)[y : y + crop, x : x + crop], self.size)[flips]
        seen = normalised(rgb, self.size, MEAN, STD)
        return Augmented(
            seen,
            seen,
            torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))),
            torch.from_numpy(ids),
            torch.ones(self.size, dtype=torch.bool),
        )


class BelharbiView:
    """The whole picture enlarged, padded and scaled by 0.9, as published; its size differs from picture to picture.

    `tensor` and `mask` as those of `View`; `restore` brings predicted logits back to the picture's own frame. Views of
    pictures of different sizes cannot be stacked: use a batch size of 1.
    """

    mean, std = MEAN, STD

    def __init__(self, *, recipe: Recipe | None = None) -> None:
        self.recipe = recipe or Recipe()

    def tensor(self, image: Pixels) -> Tensor:
        """[h, w, 3] uint8 -> [3, H, W] float32."""
        check_pixels("BelharbiView.tensor", image, None)
        large = self.recipe.prepare(image)
        return normalised(large, self.recipe.reduced((large.shape[0], large.shape[1])), MEAN, STD)

    def mask(self, mask: npt.NDArray[np.uint8]) -> Tensor:
        """[h, w] ids -> [H, W] int64."""
        large = self.recipe.prepare(mask)
        return torch.from_numpy(
            resize_nearest(large, self.recipe.reduced((large.shape[0], large.shape[1]))).astype(np.int64)
        )

    def restore(self, values: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, C, h, w] logits of views -> [B, C, H, W] in the frame of a picture of that size (bilinear).

        The scaling is undone, the padding cut off, and the rest resized to the picture, in this order.
        """
        enlarged = self.recipe.enlarged(size)
        down, across = self.recipe.padding(enlarged)
        padded = enlarged[0] + 2 * down, enlarged[1] + 2 * across
        large = functional.interpolate(values, size=padded, mode="bilinear", align_corners=False)
        inner = large[..., down : down + enlarged[0], across : across + enlarged[1]]
        return functional.interpolate(inner, size=size, mode="bilinear", align_corners=False)


def belharbi_augment(*, hflip: bool = True, vflip: bool = True, recipe: Recipe | None = None) -> BelharbiAugment:
    """The published training view; see `BelharbiAugment`."""
    return BelharbiAugment(hflip=hflip, vflip=vflip, recipe=recipe)


def belharbi_view(*, recipe: Recipe | None = None) -> BelharbiView:
    """The published evaluation view; see `BelharbiView`."""
    return BelharbiView(recipe=recipe)
