"""The definition of the format: counts of alternating pixels, first of 0, in column-major order, as text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .common import CHARACTER, COUNT, TOTAL, TRUNCATED


def write_number(value: int) -> str:
    """Groups of 5 bits, lowest first, each + 48; 32 says that another follows, 16 of the last one is the sign."""
    text = ""
    while True:
        group = value & 31
        value >>= 5
        more = value != (-1 if group & 16 else 0)
        text += chr(48 + group + (32 if more else 0))
        if not more:
            return text


def encode_mask(mask: NDArray[np.bool_]) -> str:
    """mask [H, W] -> string."""
    pixels = mask.ravel(order="F").astype(np.int8)
    ends = np.flatnonzero(np.diff(pixels)) + 1
    starts = [0] if pixels[0] == 0 else [0, 0]  # a mask that begins with 1 has no 0 before it
    counts = np.diff([*starts, *ends.tolist(), pixels.size]).tolist()
    # From the fourth on, a count is written as its difference from the count two before.
    return "".join(write_number(c - counts[i - 2] if i > 2 else c) for i, c in enumerate(counts))


def encode_rle(ids: NDArray[np.int32], n_segments: int) -> list[str] | None:
    """ids [H, W], -1 or 0..S-1 -> one string an id; None: an id is out of range."""
    if ids.min() < -1 or ids.max() >= n_segments:
        return None
    return [encode_mask(ids == i) for i in range(n_segments)]


def read_counts(text: str) -> list[int] | int:
    """The counts, or the fault."""
    counts: list[int] = []
    at = 0
    while at < len(text):
        value, shift, more = 0, 0, True
        while more:
            if at == len(text):
                return TRUNCATED
            if shift > 40:
                return COUNT
            group = ord(text[at]) - 48
            if not 0 <= group <= 63:
                return CHARACTER
            value |= (group & 31) << shift
            shift += 5
            at += 1
            more = bool(group & 32)
        if group & 16:
            value -= 1 << shift
        if len(counts) > 2:
            value += counts[-2]
        if value < 0:
            return COUNT
        counts.append(value)
    return counts


def decode_rle(text: str, size: tuple[int, int]) -> tuple[NDArray[np.bool_], int]:
    """string -> mask [H, W], fault (0: none)."""
    mask = np.zeros(size[0] * size[1], bool)
    counts = read_counts(text)
    if isinstance(counts, int):
        return mask.reshape(size), counts
    ends = np.cumsum([0, *counts])
    if ends[-1] != mask.size:
        return mask.reshape(size), TOTAL
    for i in range(1, len(counts), 2):
        mask[ends[i] : ends[i + 1]] = True
    return mask.reshape(size, order="F"), 0


def decode_regions(texts: Sequence[str], size: tuple[int, int]) -> tuple[NDArray[np.int32], int, int]:
    """strings -> ids [H, W] (-1: in none), fault, string at fault (fault 0: it covers a pixel of an earlier one)."""
    ids = np.full(size, -1, np.int32)
    for i, text in enumerate(texts):
        mask, fault = decode_rle(text, size)
        if fault or (ids[mask] >= 0).any():
            return ids, fault, i
        ids[mask] = i
    return ids, 0, -1
