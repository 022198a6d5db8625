"""Flip test-time augmentation: the names of the flips and the axes they turn."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UsageError

FLIP_AXES: dict[str, tuple[int, ...]] = {"horizontal": (-1,), "vertical": (-2,), "both": (-2, -1)}


def check_flips(function: str, flips: Sequence[str]) -> tuple[str, ...]:
    """The flips as a tuple.

    Raises:
        UsageError: an unknown flip, or one named twice.
    """
    names = (flips,) if isinstance(flips, str) else tuple(flips)
    if len(set(names)) < len(names) or not set(names) <= set(FLIP_AXES):
        raise UsageError(f"{function}: flips must be different ones of {', '.join(FLIP_AXES)}; got {flips!r}.")
    return names
