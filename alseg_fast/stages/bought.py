"""What a batch bought, as one mask an image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..atomic import make_directory, write_atomic
from ..errors import DataError, RunError
from ..ops.rle import decode_rle
from .run_layout import png_path
from .run_reader import Run
from .score import encode_png

BOUGHT = 255
_ADVICE = "make room or fix the access there, or change --masks"


@dataclass
class Purchase:
    """What a batch has of one image.

    Attributes:
        rles: COCO RLE strings, best rank first; None: the whole image.
        single_regions: for each string whether it is one region, and not single pixels.
        cost: of all its rows together, in the unit of the batch.
    """

    image_id: str
    rles: list[str] | None = field(default_factory=list)
    single_regions: list[bool] = field(default_factory=list)
    cost: float = 0.0

    def masks(self, size: tuple[int, int]) -> Iterator[tuple[NDArray[np.bool_], bool]]:
        """([H, W] bool, whether it is one region) of each row.

        Raises: RunError: a string does not fit the size.
        """
        if self.rles is None:
            yield np.ones(size, bool), False
            return
        for rle, single in zip(self.rles, self.single_regions, strict=True):
            try:
                yield decode_rle(rle, size), single
            except DataError as exc:
                raise RunError(
                    f"the batch's rle of {self.image_id} does not fit {size[1]} x {size[0]} pixels: {exc}; use the "
                    "images and masks of the RUN that the batch was selected from"
                ) from exc


def purchases(batch: pa.Table) -> list[Purchase]:
    """What a batch has of each image, images by their best rank.

    Raises: RunError: a row is a region without an rle.
    """
    found: dict[str, Purchase] = {}
    names = ["image_id", "region_id", "cost", "rle"]
    ranks = batch.column("rank").to_numpy()
    if (np.diff(ranks) < 0).any():
        batch = batch.sort_by("rank")
    for row in (row for part in batch.select(names).to_batches() for row in part.to_pylist()):
        purchase = found.setdefault(row["image_id"], Purchase(row["image_id"]))
        purchase.cost += row["cost"]
        if row["rle"] is None:
            if row["region_id"] is not None:
                what = f"region {row['region_id']} of {row['image_id']}"
                raise RunError(f"the batch has {what} without an rle; select again")
            purchase.rles = None
        elif purchase.rles is not None:
            purchase.rles.append(row["rle"])
            purchase.single_regions.append(row["region_id"] is not None)
    return list(found.values())


def write_masks(run: Run, batch: pa.Table, directory: str | os.PathLike[str]) -> int:
    """Write DIR/<image_id>.png for every image of a batch: 0 = not bought, 255 = bought, at the image's own size.

    Files appear whole or not at all. Returns: how many.
    Raises: RunError: a file cannot be written.
    """
    folder = Path(directory)
    make_directory(folder)
    wanted = {purchase.image_id: purchase for purchase in purchases(batch)}
    written = 0
    for rows in run.score_batches(["image_id", "height", "width"]):
        for row in rows.to_pylist():
            purchase = wanted.get(row["image_id"])
            if purchase is None:
                continue
            mask = np.zeros((row["height"], row["width"]), np.uint8)
            for part, _ in purchase.masks(mask.shape):
                mask[part] = BOUGHT
            try:
                path = png_path(folder, row["image_id"])
            except DataError as exc:
                raise RunError(f"cannot write a mask: {exc}") from exc
            make_directory(path.parent)
            write_atomic(path, encode_png(mask), advice=_ADVICE)
            written += 1
    return written
