"""The regions of a RUN as candidates: what each costs, and what is left of it without pixels never to buy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..errors import RunError
from .exclusions import Exclusions
from .never_buy import NeverBuy, cut_regions
from .run_reader import Run
from .strategies import Candidates, id_hashes, numbered_hashes

_COST_COLUMNS = {"pixels": "area", "clicks": "cost_clicks", "seconds": "cost_seconds"}
_COST_STEPS = 65536.0
"""Costs are rounded to multiples of 2^-16, so that sums are exact and do not depend on the order."""


def region_candidates(
    run: Run,
    unit: str,
    columns: Sequence[str],
    excluded: Exclusions,
    never: NeverBuy,
    seed: int,
    *,
    with_rle: bool = True,
) -> Iterator[Candidates]:
    """The regions of a RUN that may be bought, a block a part.

    Pixels in `never` are cut off: area and rle are those of the rest, clicks and seconds shrink with the area, and
    a region of which nothing is left is no candidate. Scores stay those of the whole region.

    Args:
        unit: "regions" (cost 1 each), "pixels", "clicks" or "seconds".
        columns: what the strategy needs; `area` is always there.
        excluded: whole images and single regions to leave out.
        with_rle: False leaves `rle` out, for a pass that only counts.
    """
    cut = bool(never)
    wanted = ["image_id", "region_id", "area", *columns]
    wanted += [_COST_COLUMNS[unit]] if unit in _COST_COLUMNS else []
    wanted += ["rle"] if with_rle or cut else []
    for index, regions in run.region_parts(list(dict.fromkeys(wanted))):
        images = run.score_part(index, ["image_id", "uri", "width", "height"])
        ids = images.column("image_id").combine_chunks()
        place = _places(run, index, regions, ids)  # [n] row in images
        hashes = id_hashes(ids, seed)  # [images]
        keep = excluded.keep_mask(ids, hashes)[place]
        numbers = regions.column("region_id").to_numpy()
        keep &= _keep_regions(excluded, ids, place, numbers)
        if not keep.all():
            kept = np.flatnonzero(keep)
            regions, place, numbers = regions.take(kept), place[kept], numbers[kept]
        if cut:
            regions, left = _cut(regions, place, images, never)
            place, numbers = place[left], numbers[left]
        if regions.num_rows == 0:
            continue
        cost = _costs(regions, unit)
        table = regions.append_column("uri", images.column("uri").combine_chunks().take(pa.array(place)))
        table = _large_strings(table.append_column("cost", pa.array(cost)))
        ties = numbered_hashes(hashes[place], numbers.astype(np.uint64))
        yield Candidates(table.append_column("tie", pa.array(ties)).combine_chunks())


def _large_strings(table: pa.Table) -> pa.Table:
    """Texts with 64-bit offsets: the picks of a large pool have more than 2 GiB of them."""
    large = [f.with_type(pa.large_string()) if pa.types.is_string(f.type) else f for f in table.schema]
    return table.cast(pa.schema(large))


def _places(run: Run, index: int, regions: pa.Table, ids: pa.Array) -> NDArray[np.int64]:
    place = pc.index_in(regions.column("image_id"), value_set=ids).combine_chunks()
    if place.null_count:
        raise RunError(
            f"part {index} of {run.path} has regions of images without scores; score the pool into another --out"
        )
    return np.asarray(place.to_numpy(), np.int64)


def _keep_regions(
    excluded: Exclusions, ids: pa.Array, place: NDArray[np.int64], numbers: NDArray[np.int64]
) -> NDArray[np.bool_]:
    keep = np.ones(len(place), bool)
    if excluded.parts.regions:
        for row, image_id in enumerate(ids.to_pylist()):
            if image_id in excluded.parts.regions:
                own = np.flatnonzero(place == row)
                good = excluded.parts.keep_regions(image_id, numbers[own])
                if good is not None:
                    keep[own] = good
    return keep


def _cut(
    regions: pa.Table, place: NDArray[np.int64], images: pa.Table, never: NeverBuy
) -> tuple[pa.Table, NDArray[np.int64]]:
    """The regions without pixels never to buy, and the rows of those of which something is left."""
    before = regions.column("area").to_numpy()
    area = before.copy()
    rles = regions.column("rle").to_pylist()
    sizes = zip(*(images.column(name).to_pylist() for name in ("image_id", "height", "width")), strict=True)
    changed = False
    for row, (image_id, height, width) in enumerate(sizes):
        own = np.flatnonzero(place == row)
        mask = never.mask(image_id, (height, width)) if len(own) else None
        if mask is None:
            continue
        area[own], cut = cut_regions([rles[i] for i in own.tolist()], mask, image_id)
        for i, rle in zip(own.tolist(), cut, strict=True):
            rles[i] = rle
        changed = True
    if not changed:
        return regions, np.arange(len(before))
    for name in ("cost_clicks", "cost_seconds"):
        if name in regions.column_names:
            costs = regions.column(name).to_numpy().astype(np.float64) * (area / np.maximum(before, 1))
            regions = _replaced(regions, name, pa.array(costs))
    regions = _replaced(_replaced(regions, "area", pa.array(area)), "rle", pa.array(rles, pa.string()))
    left = np.flatnonzero(area > 0)
    return regions.take(left), left


def _replaced(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    # Not nullable, as it was: blocks must agree on their schema.
    return table.set_column(table.column_names.index(name), pa.field(name, column.type, nullable=False), column)


def _costs(regions: pa.Table, unit: str) -> NDArray[np.float64]:
    if unit == "regions":
        return np.ones(regions.num_rows)
    costs = np.asarray(regions.column(_COST_COLUMNS[unit]).to_numpy(), np.float64)
    return np.asarray(np.maximum(np.rint(costs * _COST_STEPS), 1.0) / _COST_STEPS)
