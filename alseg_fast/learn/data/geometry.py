"""One geometry for picture, mask and padding: a box of the source that becomes a box of the output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...ops.resize import resize_normalize

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Span:
    """Along one axis: the share [start, stop) of the picture becomes pixels [low, high) of the output."""

    start: float
    stop: float
    low: int
    high: int

    def source(self, length: int) -> tuple[int, int]:
        """Whole pixels of a source with `length` pixels; at least one."""
        first = min(length - 1, max(0, round(self.start * length)))
        return first, max(first + 1, min(length, round(self.stop * length)))


def draw_span(scaled: int, out: int, position: float) -> Span:
    """Where a picture of `scaled` pixels lies on an output of `out`.

    Larger than the output: a crop; smaller: it is placed, the rest is padding. position 0 .. 1 shifts the crop or the
    place from one end to the other.
    """
    if scaled >= out:
        first = min(scaled - out, int(position * (scaled - out + 1)))
        return Span(first / scaled, (first + out) / scaled, 0, out)
    first = min(out - scaled, int(position * (out - scaled + 1)))
    return Span(0.0, 1.0, first, first + scaled)


def nearest_indices(first: int, stop: int, n: int) -> npt.NDArray[np.int64]:
    """Source pixel whose area holds the centre of each of n output pixels spread over [first, stop)."""
    return first + ((2 * np.arange(n, dtype=np.int64) + 1) * (stop - first)) // (2 * n)


def resize_nearest(mask: Pixels, size: tuple[int, int]) -> Pixels:
    """[H, W] ids at another size; every output pixel takes the id at its centre, with corners not aligned."""
    if mask.shape == size:
        return mask
    rows, columns = (nearest_indices(0, length, n) for length, n in zip(mask.shape, size, strict=True))
    return mask[rows[:, None], columns]


def resize_image(image: Pixels, size: tuple[int, int]) -> Pixels:
    """[h, w, 3] at another size by the engine's antialiased resize."""
    if image.shape[:2] == size:
        return image
    out = np.empty((*size, 3), np.uint8)
    resize_normalize(image, out, channels_last=True, num_threads=1)
    return out


def cut_image(image: Pixels, vertical: Span, horizontal: Span) -> Pixels:
    """The spans of a picture at the size they have in the output."""
    (y0, y1), (x0, x1) = vertical.source(image.shape[0]), horizontal.source(image.shape[1])
    return resize_image(image[y0:y1, x0:x1], (vertical.high - vertical.low, horizontal.high - horizontal.low))


def cut_mask(mask: Pixels, vertical: Span, horizontal: Span) -> Pixels:
    """The spans of a mask; the mask may have another resolution than the picture."""
    (y0, y1), (x0, x1) = vertical.source(mask.shape[0]), horizontal.source(mask.shape[1])
    return resize_nearest(mask[y0:y1, x0:x1], (vertical.high - vertical.low, horizontal.high - horizontal.low))
