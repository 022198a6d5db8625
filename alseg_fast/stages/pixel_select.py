"""Picks single pixels: exactly as many as the budget says, of the highest values, ties drawn by lot.

Over the pool this takes up to three passes over the images: how often each value occurs, which gives the value of
the last pixel bought; of the pixels with just this value a histogram of their hashes, which gives the hash of the
last one; and the picks. Memory is one image, the histograms and the picks. The hash of a pixel is that of its
image, its number y * width + x and the seed, so a draw among equal values favours no place and no part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..ops.rle import decode_rle, encode_mask
from .budget import Budget, Tally
from .exclusions import Exclusions
from .never_buy import NeverBuy
from .pixel_values import PixelValues, PoolImage
from .run_reader import Run
from .strategies import Picks, id_hashes, numbered_hashes
from .strategies.top import ORDER

_BINS = 20  # bits of the hash; of the pixels in one bin every hash is held
_SHIFT = np.uint64(64 - _BINS)


@dataclass(frozen=True)
class PixelRequest:
    """One selection of pixels: see `select`."""

    run: Run
    values: PixelValues
    budget: Budget
    excluded: Exclusions
    never: NeverBuy
    seed: int
    label: str  # of the value, for the reasons

    def images(self) -> Iterator[PoolImage]:
        """The images that are not excluded, in pool order."""
        for batch in self.run.score_batches(["image_id", "uri", "width", "height"]):
            ids = batch.column("image_id")
            states = id_hashes(ids, self.seed)
            keep = self.excluded.keep_mask(ids, states)
            for i, row in enumerate(batch.to_pylist()):
                if keep[i]:
                    yield PoolImage(row["image_id"], row["uri"], row["height"], row["width"], states[i : i + 1])

    def pixels(self) -> Iterator[tuple[PoolImage, NDArray[np.int64], NDArray[np.uint16]]]:
        """(image, numbers [n] of its pixels that may be bought, their levels [n]); n >= 1."""
        for image in self.images():
            never = self.never.mask(image.image_id, image.size)
            levels = self.values.levels(image).reshape(-1)
            if never is None:
                yield image, np.arange(levels.size), levels
            elif not never.all():
                numbers = np.flatnonzero(~never.reshape(-1))
                yield image, numbers, levels[numbers]


@dataclass
class _Pick:
    """What is bought of one image."""

    image: PoolImage
    considered: int
    rle: str
    sure: float = 0.0  # sum of the values above the last level, or of the draws
    tied: int = 0  # pixels of the last level
    count: int = 0


@dataclass
class _Draw:
    """Which pixels of the last level are bought: all with a hash in a bin before `bin`, and some in it."""

    bin: int
    rest: int
    hashes: list[NDArray[np.uint64]] = field(default_factory=list)
    picks: list[NDArray[np.int64]] = field(default_factory=list)
    numbers: list[NDArray[np.int64]] = field(default_factory=list)


def pick_pixels(request: PixelRequest) -> tuple[Picks, Tally]:
    """One row an image: cost = pixels bought there, score = their mean value, rle = which they are."""
    picks, tally = _pick_per_image(request) if request.budget.scope == "image" else _pick_over_pool(request)
    return _as_table(picks, request, tally), tally


def _hashes(image: PoolImage, numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    return numbered_hashes(image.state, numbers.astype(np.uint64))


def _last_level(histogram: NDArray[np.int64], amount: int) -> tuple[int, int]:
    """(level of the last pixel bought, how many of this level) for 1 <= amount <= the histogram's sum."""
    from_top = np.cumsum(histogram[::-1])
    place = int(np.searchsorted(from_top, amount, side="left"))
    level = len(histogram) - 1 - place
    return level, amount - int(from_top[place] - histogram[level])


def _encode(image: PoolImage, numbers: NDArray[np.int64]) -> str:
    mask = np.zeros(image.size, bool)
    mask.reshape(-1)[numbers] = True
    return encode_mask(mask)


def _sum_above(request: PixelRequest, levels: NDArray[np.uint16], last: int) -> float:
    counts = np.bincount(levels, minlength=len(request.values.values))[last + 1 :]
    return float((counts * request.values.values[last + 1 :]).sum())


def _is_draw(request: PixelRequest) -> bool:
    return len(request.values.values) == 1


def _draws(hashes: NDArray[np.uint64]) -> float:
    """Sum of the numbers drawn, 0 to 1, the highest first."""
    return float((1.0 - hashes.astype(np.float64) * 2.0**-64).sum())


def _pick_per_image(request: PixelRequest) -> tuple[list[_Pick], Tally]:
    picks, tally = [], Tally(smallest=1.0, largest=1.0)
    for image, numbers, levels in request.pixels():
        tally.count += 1
        tally.total += len(numbers)
        asked = request.budget.amount(len(numbers))
        tally.images += 1
        tally.exhausted += asked > len(numbers)
        amount = int(min(asked, len(numbers)))
        if amount == 0:
            continue
        last, need = _last_level(np.bincount(levels, minlength=len(request.values.values)), amount)
        tied = numbers[levels == last]
        hashes = _hashes(image, tied)
        order = _lowest(hashes, need)
        bought = np.concatenate([numbers[levels > last], tied[order]])
        sure = _draws(np.sort(hashes[order])) if _is_draw(request) else _sum_above(request, levels, last)
        picks.append(_Pick(image, len(numbers), _encode(image, bought), sure, need, amount))
        _finish(request, picks[-1], last)
    return picks, tally


def _finish(request: PixelRequest, pick: _Pick, last: int) -> None:
    """Add the tied pixels to the sum."""
    if not _is_draw(request):
        pick.sure += pick.tied * float(request.values.values[last])


def _pick_over_pool(request: PixelRequest) -> tuple[list[_Pick], Tally]:
    histogram = np.zeros(len(request.values.values), np.int64)
    tally = Tally(smallest=1.0, largest=1.0)
    for _, _, levels in request.pixels():
        tally.count += 1
        histogram += np.bincount(levels, minlength=len(histogram))
    total = int(histogram.sum())
    tally.total = float(total)
    amount = int(min(request.budget.amount(total), total))
    if amount == 0:
        return [], tally
    last, need = _last_level(histogram, amount)
    draw = _draw(request, last, need) if need < histogram[last] else _Draw(1 << _BINS, 0)
    picks: list[_Pick] = []
    for image, numbers, levels in request.pixels():
        _buy(request, image, numbers, levels, last, draw, picks)
    _settle(request, draw, picks, last)
    picks = [pick for pick in picks if pick.count]
    for pick in picks:
        _finish(request, pick, last)
    return picks, tally


def _draw(request: PixelRequest, last: int, need: int) -> _Draw:
    """The bin in which the `need`-th hash of the last level lies."""
    histogram = np.zeros(1 << _BINS, np.int64)
    for image, numbers, levels in request.pixels():
        tied = numbers[levels == last]
        if len(tied):
            _count(histogram, (_hashes(image, tied) >> _SHIFT).astype(np.int64))
    paid = np.cumsum(histogram)
    place = int(np.searchsorted(paid, need, side="left"))
    return _Draw(place, need - int(paid[place] - histogram[place]))


def _count(histogram: NDArray[np.int64], places: NDArray[np.int64]) -> None:
    """histogram[place] += 1 for each of them; few are sorted, many are counted over the whole length."""
    if len(places) * 16 < len(histogram):
        found, counts = np.unique(places, return_counts=True)
        histogram[found] += counts
    else:
        histogram += np.bincount(places, minlength=len(histogram))


def _lowest(hashes: NDArray[np.uint64], count: int) -> NDArray[np.int64]:
    """Indices of the `count` lowest hashes, 1 <= count; of equal ones the first."""
    if count >= len(hashes):
        return np.arange(len(hashes))
    limit = np.partition(hashes, count - 1)[count - 1]
    below = np.flatnonzero(hashes < limit)
    return np.concatenate([below, np.flatnonzero(hashes == limit)[: count - len(below)]])


def _buy(
    request: PixelRequest,
    image: PoolImage,
    numbers: NDArray[np.int64],
    levels: NDArray[np.uint16],
    last: int,
    draw: _Draw,
    picks: list[_Pick],
) -> None:
    """What is bought of one image for sure; its pixels in the last bin wait for those of the others."""
    tied = numbers[levels == last]
    hashes = _hashes(image, tied)
    places = (hashes >> _SHIFT).astype(np.int64)
    waiting = places == draw.bin
    drawn = places < draw.bin
    bought = np.concatenate([numbers[levels > last], tied[drawn]])
    if len(bought) == 0 and not waiting.any():
        return
    sure = _draws(np.sort(hashes[drawn])) if _is_draw(request) else _sum_above(request, levels, last)
    draw.hashes.append(hashes[waiting])
    draw.numbers.append(tied[waiting])
    draw.picks.append(np.full(int(waiting.sum()), len(picks)))
    picks.append(_Pick(image, len(numbers), _encode(image, bought), sure, int(drawn.sum()), len(bought)))


def _settle(request: PixelRequest, draw: _Draw, picks: list[_Pick], last: int) -> None:
    """Buy the lowest hashes of the last bin. Equal ones, which hardly occur, go by image_id and pixel."""
    if draw.rest == 0:
        return
    hashes, numbers, owners = (np.concatenate(parts) for parts in (draw.hashes, draw.numbers, draw.picks))
    _, names = np.unique(np.array([picks[i].image.image_id for i in owners.tolist()], object), return_inverse=True)
    chosen = np.lexsort((numbers, names, hashes))[: draw.rest]
    for owner in np.unique(owners[chosen]).tolist():
        own = chosen[owners[chosen] == owner]
        pick = picks[owner]
        mask = decode_rle(pick.rle, pick.image.size)
        mask.reshape(-1)[numbers[own]] = True
        pick.rle = encode_mask(mask)
        pick.tied += len(own)
        pick.count += len(own)
        if _is_draw(request):
            pick.sure += _draws(np.sort(hashes[own]))


def _as_table(picks: list[_Pick], request: PixelRequest, tally: Tally) -> Picks:
    table = pa.table(
        {
            "image_id": pa.array([pick.image.image_id for pick in picks], pa.large_string()),
            "uri": pa.array([pick.image.uri for pick in picks], pa.large_string()),
            "region_id": pa.nulls(len(picks), pa.int64()),
            "score": pa.array([pick.sure / pick.count for pick in picks], pa.float64()),
            "cost": pa.array([float(pick.count) for pick in picks], pa.float64()),
            "rle": pa.array([pick.rle for pick in picks], pa.large_string()),
            "tie": pa.array([int(pick.image.state[0]) for pick in picks], pa.uint64()),
            "considered": pa.array([pick.considered for pick in picks], pa.int64()),
        }
    ).sort_by(ORDER)
    rows = zip(*(table.column(name).to_pylist() for name in ("cost", "considered", "score")), strict=True)
    reasons = [f"{int(cost)} of {of} pixels, {request.label} {score:.4f} on average" for cost, of, score in rows]
    return Picks(table, reasons, int(tally.total))
