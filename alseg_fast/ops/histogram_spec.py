"""HistogramSpec: which colour histogram is meant, as one short text that commands and files share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError

SPACES = ("rgb", "hsv", "lab")
BELHARBI = "belharbi"  # a recipe of its own: 3 channels of 256 bins
DEFAULT_BINS, BELHARBI_BINS = 32, 256
LEAST_BINS, MOST_BINS = 8, 256  # of a channel
LEAST_JOINT_BINS, MOST_JOINT_BINS = 2, 32  # of each axis, to the third power in all

_FORMS = "SPACE, SPACE:BINS or SPACE:BINS:joint with SPACE rgb, hsv or lab, or belharbi"


def bin_limits(joint: bool) -> tuple[int, int]:
    """Least and most bins a channel."""
    return (LEAST_JOINT_BINS, MOST_JOINT_BINS) if joint else (LEAST_BINS, MOST_BINS)


@dataclass(frozen=True)
class HistogramSpec:
    """What ``alseg.color_histogram`` is to count.

    Attributes:
        space: "rgb" | "hsv" | "lab" | "belharbi".
        bins: of each channel.
        joint: one histogram over all three channels, bins^3, instead of one a channel.
    """

    space: str
    bins: int = DEFAULT_BINS
    joint: bool = False

    def __post_init__(self) -> None:
        if self.space == BELHARBI:
            if self.bins != BELHARBI_BINS or self.joint:
                raise UsageError(f"histogram belharbi has {BELHARBI_BINS} bins a channel; got {self!s}")
            return
        if self.space not in SPACES:
            raise UsageError(f"histogram must be {_FORMS}; got space {self.space!r}")
        least, most = bin_limits(self.joint)
        if not least <= self.bins <= most:
            what = "a joint histogram" if self.joint else "a histogram"
            raise UsageError(f"{what} must have {least} to {most} bins a channel; got {self!s}")

    @classmethod
    def parse(cls, text: str) -> HistogramSpec:
        """`rgb` (32 bins), `rgb:32`, `hsv:16`, `lab:8:joint`, `belharbi`.

        Raises: UsageError: anything else.
        """
        space, *rest = text.split(":")
        if space == BELHARBI and not rest:
            return cls(BELHARBI, BELHARBI_BINS)
        digits = rest[0] if rest else str(DEFAULT_BINS)
        well_formed = rest[1:] in ([], ["joint"]) and digits.isascii() and digits.isdigit() and len(digits) < 6
        if space not in SPACES or not well_formed:
            raise UsageError(f"histogram must be {_FORMS}; got {text!r}")
        return cls(space, int(digits), joint=len(rest) > 1)

    def __str__(self) -> str:
        if self.space == BELHARBI and self.bins == BELHARBI_BINS and not self.joint:
            return BELHARBI
        return f"{self.space}:{self.bins}{':joint' if self.joint else ''}"

    @property
    def dim(self) -> int:
        """Numbers a histogram has."""
        return self.bins**3 if self.joint else 3 * self.bins

    @property
    def channels(self) -> int:
        """Parts of it that sum to 1 each."""
        return 1 if self.joint else 3

    def compute(
        self, rgb: NDArray[np.uint8], mask: NDArray[Any] | None = None, *, num_threads: int | None = 1
    ) -> NDArray[np.float32]:
        """[D] float32 histogram of one [H, W, 3] uint8 picture; see ``alseg.color_histogram``."""
        from .color_histogram import color_histogram

        rows = color_histogram(rgb, self.bins, self.space, self.joint, mask=mask, num_threads=num_threads)
        row: NDArray[np.float32] = rows[0]
        return row
