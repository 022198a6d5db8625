"""Pixels that are never bought: those a caller ignores, and those of earlier batches."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, RunError
from ..ops.rle import decode_regions, decode_rle, encode_rle
from .masks import check_directory, find_png, read_png

_ADVICE = "correct the mask, or take it out of the --ignore directory"


class NeverBuy:
    """The pixels of each image that are left out, from a directory of masks and from earlier purchases.

    Args:
        ignore: directory of PNG masks, non-zero = never buy; see `masks.find_png` for their names. None: none.
        bought: image_id -> COCO RLE strings of pixels that an earlier batch has.
    """

    def __init__(self, ignore: str | os.PathLike[str] | None, bought: Mapping[str, Sequence[str]]) -> None:
        self._ignore = None if ignore is None else check_directory(Path(ignore), "ignore")
        self._bought = bought
        self.met: set[str] = set()

    def __bool__(self) -> bool:
        return self._ignore is not None or bool(self._bought)

    def mask(self, image_id: str, size: tuple[int, int]) -> NDArray[np.bool_] | None:
        """[H, W] True where the image is never bought; None if that is nowhere.

        Raises: RunError: a mask has another size than the image, or cannot be read.
        """
        never: NDArray[np.bool_] | None = None
        if self._ignore is not None:
            try:
                path = find_png(self._ignore, image_id)
            except DataError:
                path = None  # an id that cannot name a file has none
            found = None if path is None else read_png(path, "ignore mask", _ADVICE, size)
            never = None if found is None else found != 0
        for rle in self._bought.get(image_id, ()):
            self.met.add(image_id)
            try:
                part = decode_rle(rle, size)
            except DataError as exc:
                raise RunError(
                    f"an exclude file has a wrong rle for {image_id}: {exc}; select that batch again"
                ) from exc
            never = part if never is None else never | part
        return never if never is not None and never.any() else None


def cut_regions(rles: Sequence[str], never: NDArray[np.bool_], image_id: str) -> tuple[NDArray[np.int64], list[str]]:
    """What is left of an image's regions without some pixels: ([S] areas, S RLE strings).

    Raises: RunError: the strings are not those of regions of this image.
    """
    try:
        ids = decode_regions(rles, never.shape)
    except DataError as exc:
        raise RunError(f"the regions of {image_id} do not fit the image: {exc}; score the pool again") from exc
    ids[never] = -1
    return np.bincount(ids[ids >= 0], minlength=len(rles)), encode_rle(ids, len(rles))
