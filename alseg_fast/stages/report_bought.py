"""Regions and pixels of a batch in a report: one card an image, what is bought drawn into its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..ops import decode_rle
from .batch import batch_facts
from .regions import at_size

_OUTLINE = np.array([255, 214, 0], np.uint8)
_THUMB_SIDE = 256  # outlines are this many times finer than the picture's longer side
_DIM = 0.45


def by_image(batch: pa.Table) -> tuple[pa.Table, dict[str, list[str]]]:
    """One row an image instead of one a region.

    Returns: (rows in the order of each image's first rank, with the sum of the costs, the highest score, and a reason
        that counts the regions; {image_id: RLE of each bought part}). A batch of whole images comes back as it is.
    """
    if "rle" not in batch.column_names or batch.column("rle").null_count == batch.num_rows:
        return batch, {}
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in batch.sort_by("rank").to_pylist():
        parts.setdefault(row["image_id"], []).append(row)
    unit = batch_facts(batch).get("unit", "")
    rows = [_joined(picks, "" if unit == "regions" else f", {{:,.6g}} {unit}") for picks in parts.values()]
    masks = {name: [row["rle"] for row in picks if row["rle"] is not None] for name, picks in parts.items()}
    return pa.Table.from_pylist(rows, batch.schema), masks


def _joined(picks: Sequence[Mapping[str, Any]], spent: str) -> dict[str, Any]:
    first = dict(picks[0])
    if first["region_id"] is None:
        return first
    cost = sum(pick["cost"] for pick in picks)
    regions = f"{len(picks)} region{'s' if len(picks) > 1 else ''}{spent.format(cost)}; the first: {first['reason']}"
    return {**first, "region_id": None, "cost": cost, "reason": regions}


def draw_bought(image: NDArray[np.uint8], rles: Sequence[str], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture with what is bought outlined and the rest dimmed.

    Args:
        image: [h, w, 3] uint8, of any size.
        rles: COCO compressed RLE of each part, over the picture's own size.
        size: (height, width) of the picture's own.
    """
    ids = np.zeros(size, np.int32)
    for number, rle in enumerate(rles, 1):
        ids[decode_rle(rle, size)] = number
    shape = image.shape[:2]
    ids = at_size(ids, shape)
    border = np.zeros(shape, bool)
    reach = max(1, round(max(shape) / _THUMB_SIDE))
    for step in range(1, reach + 1):
        border[step:] |= ids[step:] != ids[:-step]
        border[:, step:] |= ids[:, step:] != ids[:, :-step]
    drawn = np.where(ids[..., None] > 0, image, (image * np.float32(_DIM)).astype(np.uint8))
    drawn[border] = _OUTLINE
    return drawn
