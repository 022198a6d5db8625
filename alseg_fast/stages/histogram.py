"""The colour histogram of a picture, whatever size a model has it decoded at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_choice
from ..ops import HistogramSpec
from ..types import NO_HISTOGRAM
from .decode import DecodeBuffer, Decoded, decode_image

DTYPES = ("float16", "float32")


@dataclass(frozen=True)
class HistogramPlan:
    """Which histogram is wanted, and how it is kept."""

    spec: HistogramSpec
    dtype: str

    def of_array(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """[D] of [H, W, 3] uint8 RGB."""
        return self.spec.compute(image).astype(self.dtype, copy=False)

    def of_bytes(self, data: bytes, decoded: Decoded, max_pixels: int, buffer: DecodeBuffer) -> NDArray[Any]:
        """[D] of an encoded picture at its own size, upright.

        What the model sees may have been decoded smaller, by a factor that depends on the model. The histogram must
        not: those of one pool are compared across models and runs, and with ``alseg.color_histogram`` of the decoded
        picture. So such a picture is decoded once more in full, which leaves the model's input, and with it every
        other column, as they are without a histogram. For a JPEG of 12 megapixels and a model of 512 pixels that is
        about 30 ms a picture on top of 18; where the model has the picture in full, nothing is decoded twice.

        Args:
            decoded: the picture as the model has it.
            buffer: memory for the picture in full; not the one behind `decoded`.
        """
        if decoded.image.shape[:2] != (decoded.height, decoded.width):
            decoded = decode_image(data, max_pixels=max_pixels, buffer=buffer)
        return self.of_array(decoded.image)


def parse_histogram(text: str, dtype: str = "float16") -> HistogramPlan | None:
    """`rgb:32`, `hsv:16`, `lab:8:joint`, `belharbi`; None for `none`.

    Raises: UsageError, RangeError: anything else.
    """
    check_choice("histogram", "dtype", dtype, DTYPES)
    return None if text == NO_HISTOGRAM else HistogramPlan(HistogramSpec.parse(text), dtype)
