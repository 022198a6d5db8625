"""From pictures and masks to tensors: `View` for evaluation, `Augment` for training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ...checks import check_choice, check_size
from ...errors import DtypeError, RangeError, ShapeError
from ...ops.resize import resize_normalize
from .colour import StrongRanges, blur, jitter, strong_view
from .dataset import IGNORE
from .geometry import cut_image, cut_mask, draw_span, resize_nearest

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
FITS = ("stretch", "cover", "contain", "native")

Pixels = npt.NDArray[np.uint8]
Hide = Callable[[Tensor, np.random.Generator], Tensor]


class Augmented(NamedTuple):
    """One sample as the losses see it; see `Batch`.

    Attributes:
        image: [3, H, W] float32, normalised. strong: the same with a strong colour operation, or `image` itself.
        rgb: [3, H, W] uint8 before normalisation. mask: [H, W] int64 ids, 255 where no label or no picture.
        valid: [H, W] bool, inside the picture.
    """

    image: Tensor
    strong: Tensor
    rgb: Tensor
    mask: Tensor
    valid: Tensor


class Transform(Protocol):
    """What `Batches` asks of an augmentation."""

    def stored_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) that a picture of this (H, W) may be reduced to before it is kept; never larger."""
        ...

    def __call__(
        self, image: Pixels, mask: Pixels | None, rng: np.random.Generator, *, size: tuple[int, int] | None = None
    ) -> Augmented:
        """One random view; `size` is the (H, W) of the picture's file, None: that of `image`."""
        ...


def check_normalisation(
    function: str, mean: Sequence[float], std: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """mean and std as three finite numbers each, std positive. Raises: RangeError."""
    values = tuple(float(v) for v in mean), tuple(float(v) for v in std)
    if any(len(v) != 3 or not np.isfinite(v).all() for v in values) or min(values[1], default=0) <= 0:
        raise RangeError(
            f"{function}: mean and std must be three finite numbers, std > 0; got {mean}, {std}. "
            "They are shares of the pixel range, 0..1."
        )
    return values


def check_pixels(function: str, image: Pixels, mask: Pixels | None) -> None:
    """image [H, W, 3] uint8 and mask [H, W] uint8 of the same size. Raises: ShapeError, DtypeError."""
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ShapeError(f"{function}: image must be [H, W, 3]; got {list(image.shape)}. Use read_image.")
    for name, array in (("image", image), ("mask", mask)):
        if array is not None and array.dtype != np.uint8:
            raise DtypeError(f"{function}: {name} must be uint8; got {array.dtype}. Use read_image and read_mask.")
    if mask is not None and mask.shape != image.shape[:2]:
        raise ShapeError(
            f"{function}: mask must be [H, W] = {list(image.shape[:2])} as the image; got {list(mask.shape)}. "
            "Pass the mask of the same picture."
        )


def normalised(image: Pixels, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """[h, w, 3] uint8 -> [3, H, W] float32 (p / 255 - mean) / std, stretched to size with antialiasing."""
    out = np.empty((3, *size), np.float32)
    resize_normalize(image, out, mean=tuple(mean), std=tuple(std), scale=1 / 255, num_threads=1)
    return torch.from_numpy(out)


class View:
    """The whole picture stretched to one size, without chance: for evaluation and for teachers.

    Args:
        size: (H, W) in pixels.
        mean, std: of the channels R, G, B as shares of the pixel range; the defaults are ImageNet's.
    """

    def __init__(
        self,
        size: tuple[int, int],
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        self.size = check_size("View", "size", size)
        self.mean, self.std = check_normalisation("View", mean, std)

    def tensor(self, image: Pixels) -> Tensor:
        """[h, w, 3] uint8 -> [3, H, W] float32: stretched with antialiasing, then (p / 255 - mean) / std."""
        check_pixels("View.tensor", image, None)
        return normalised(image, self.size, self.mean, self.std)

    def mask(self, mask: Pixels) -> Tensor:
        """[h, w] ids -> [H, W] int64: the id at the centre of each pixel."""
        if mask.ndim != 2 or 0 in mask.shape:
            raise ShapeError(f"View.mask: mask must be [H, W]; got {list(mask.shape)}. Use read_mask.")
        return torch.from_numpy(resize_nearest(mask, self.size).astype(np.int64))

    def restore(self, values: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, C, h, w] logits or maps of views -> [B, C, H, W] in the frame of pictures of that size (bilinear)."""
        return functional.interpolate(values, size=size, mode="bilinear", align_corners=False)


class Augment:
    """One random view of a picture and its mask, which always get the same geometry.

    In this order: the picture is fitted to `size` (`fit`), scaled, cropped or padded to `size`, flipped, jittered,
    blurred; the strong view then gets one more colour operation; both are normalised; `hide` sees the normalised
    tensors. Crop and padding become boxes of whole source pixels, so a scale is met up to the rounding of the box.
    Colours are changed before padding is added, so no statistic counts padding. Padding is `valid` False, mask 255, and
    filled with the mean, which is about 0 after normalisation.

    Args:
        size: (H, W) of the output, in pixels.
        scale: (low, high), a factor drawn uniformly; 1 = the fitted size.
        fit: what scale 1 means: "stretch" the picture has `size` (its shape is not kept); "cover" it just covers
            `size`, "contain" it just fits inside, both with its shape kept; "native" its own pixels.
        place: "random": the crop, or the place on the padding, is drawn; "centre".
        hflip, vflip: probabilities of mirroring left-right and top-bottom; True is 0.5, False 0.
        colour: (brightness, contrast, colour, hue) as in `colour.jitter`; 0 = unchanged.
        blur_probability, blur_radius: Gaussian blur of both views; the standard deviation in pixels is uniform in
            the range (CoSA as released: probability 0.5, 0.1 .. 2).
        strong: also make the strong view: one of nine colour operations (`colour.STRONG`) on the same geometry.
        strong_ranges: magnitudes of these operations.
        hide: called as hide(normalised [1, 3, H, W], rng) -> the same shape, for Hide-and-Seek; with a strong view it
            is called for both with generators in the same state, so that the same cells are hidden.
        mean, std: of the channels, as shares of the pixel range.
    Raises: ShapeError, RangeError: an argument is wrong; the message names it.
    """

    def __init__(
        self,
        size: tuple[int, int],
        *,
        scale: tuple[float, float] = (1.0, 1.0),
        fit: str = "stretch",
        place: str = "random",
        hflip: bool | float = True,
        vflip: bool | float = False,
        colour: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0),
        blur_probability: float = 0.0,
        blur_radius: tuple[float, float] = (0.1, 2.0),
        strong: bool = False,
        strong_ranges: StrongRanges | None = None,
        hide: Hide | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        self.size = check_size("Augment", "size", size)
        self.mean, self.std = check_normalisation("Augment", mean, std)
        self.scale = _check_range("scale", scale, above=0.0)
        self.fit = check_choice("Augment", "fit", fit, FITS)
        self.place = check_choice("Augment", "place", place, ("random", "centre"))
        self.hflip, self.vflip = _check_probability("hflip", hflip), _check_probability("vflip", vflip)
        self.blur_probability = _check_probability("blur_probability", blur_probability)
        self.blur_radius = _check_range("blur_radius", blur_radius)
        self.colour = _check_colour(colour)
        self.strong = bool(strong)
        self.strong_ranges = strong_ranges or StrongRanges()
        self.hide = hide
        self._fill = np.array([min(255, max(0, round(255 * m))) for m in self.mean], np.uint8)

    def stored_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) that a picture of this (H, W) may be reduced to: the largest that `scale` asks for."""
        height, width = self._scaled(size, self.scale[1])
        return min(size[0], height), min(size[1], width)

    def __call__(
        self, image: Pixels, mask: Pixels | None, rng: np.random.Generator, *, size: tuple[int, int] | None = None
    ) -> Augmented:
        """One random view.

        Args:
            image: [h, w, 3] uint8. mask: [h, w] uint8 ids, or None: no pixel has a label.
            rng: the same state gives the same view; each call takes the same numbers for geometry.
            size: (H, W) of the picture before it was reduced; only `fit="native"` depends on it.
        """
        check_pixels("Augment", image, mask)
        position = rng.random(5)
        if self.place == "centre":
            position[1:3] = 0.5
        low, high = self.scale
        height, width = self._scaled(size or (image.shape[0], image.shape[1]), low + float(position[0]) * (high - low))
        spans = (
            draw_span(height, self.size[0], float(position[1])),
            draw_span(width, self.size[1], float(position[2])),
        )
        down, across = (-1 if v < p else 1 for v, p in zip(position[3:], (self.vflip, self.hflip), strict=True))
        flips = slice(None, None, down), slice(None, None, across)
        weak = jitter(np.ascontiguousarray(cut_image(image, *spans)[flips]), rng, self.colour)
        radius, chance = float(rng.random()), float(rng.random())
        if chance < self.blur_probability:
            weak = blur(weak, self.blur_radius[0] + radius * (self.blur_radius[1] - self.blur_radius[0]))
        strong = strong_view(weak, rng, self.strong_ranges) if self.strong else None

        box = slice(spans[0].low, spans[0].high), slice(spans[1].low, spans[1].high)
        ids = np.full(self.size, IGNORE, np.int64)
        if mask is not None:
            ids[box] = cut_mask(mask, *spans)[flips]
        valid = np.zeros(self.size, np.bool_)
        valid[box] = True
        canvas = self._on_canvas(weak, box)
        seen = normalised(canvas, self.size, self.mean, self.std)
        also = seen if strong is None else normalised(self._on_canvas(strong, box), self.size, self.mean, self.std)
        if self.hide is not None:
            seen, also = _hidden(self.hide, seen, also, int(rng.integers(2**63)))
        rgb = torch.from_numpy(np.ascontiguousarray(canvas.transpose(2, 0, 1)))
        return Augmented(seen, also, rgb, torch.from_numpy(ids), torch.from_numpy(valid))

    def _scaled(self, size: tuple[int, int], factor: float) -> tuple[int, int]:
        """(H, W) of the scaled picture."""
        down, across = self.size[0] / size[0], self.size[1] / size[1]
        if self.fit == "cover":
            down = across = max(down, across)
        elif self.fit == "contain":
            down = across = min(down, across)
        elif self.fit == "native":
            down = across = 1.0
        return max(1, round(size[0] * down * factor)), max(1, round(size[1] * across * factor))

    def _on_canvas(self, pixels: Pixels, box: tuple[slice, slice]) -> Pixels:
        if pixels.shape[:2] == self.size:
            return pixels
        canvas = np.empty((*self.size, 3), np.uint8)
        canvas[:] = self._fill
        canvas[box] = pixels
        return canvas


def _hidden(hide: Hide, seen: Tensor, also: Tensor, state: int) -> tuple[Tensor, Tensor]:
    def once(tensor: Tensor) -> Tensor:
        out = hide(tensor[None], np.random.default_rng(state))
        if out.shape != (1, *tensor.shape):
            raise ShapeError(
                f"Augment: hide must return [1, 3, H, W] = {[1, *tensor.shape]}; got {list(out.shape)}. "
                "Return the tensor it is given, with cells set to 0."
            )
        return out[0]

    first = once(seen)
    return first, first if also is seen else once(also)


def _check_probability(name: str, value: float) -> float:
    if isinstance(value, bool):
        return 0.5 * value
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise RangeError(f"Augment: {name} must be in 0 .. 1; got {value!r}. Give a probability.")
    return float(value)


def _check_range(name: str, value: tuple[float, float], above: float | None = None) -> tuple[float, float]:
    low, high = (float(v) for v in value) if len(value) == 2 else (1.0, 0.0)
    if not (np.isfinite([low, high]).all() and low <= high and (low >= 0 if above is None else low > above)):
        raise RangeError(
            f"Augment: {name} must be (low, high) with {'0 <=' if above is None else '0 <'} low <= high; got {value}. "
            "Give two numbers."
        )
    return low, high


def _check_colour(value: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    amounts = tuple(float(v) for v in value)
    if len(amounts) != 4 or not np.isfinite(amounts).all() or min(amounts) < 0 or amounts[3] > 0.5:
        raise RangeError(
            "Augment: colour must be (brightness, contrast, colour, hue), all >= 0 and hue <= 0.5; "
            f"got {value}. 0 leaves that part out."
        )
    return amounts
