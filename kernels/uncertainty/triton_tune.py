"""The shape of a tile: a prediction, or the fastest of a few candidates, timed on a key's first call and kept."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

REPEATS = 5


@dataclass(frozen=True)
class Tile:
    """A program's pixels: `rows` of a band times `cols` columns; a warp is 32 threads side by side along x."""

    rows: int
    cols: int
    warps: int


_chosen: dict[Hashable, Tile] = {}


def clear() -> None:
    """Forgets every choice."""
    _chosen.clear()


def choices() -> dict[Hashable, Tile]:
    """What has been chosen so far, by key."""
    return dict(_chosen)


def tile_of(rows: int, pixels: int, warps: int, width: int) -> Tile:
    """A tile no wider than the picture needs; one row alone takes up to four columns a thread, to have work in flight.

    Args:
        rows: of the tile.
        pixels: most pixels a thread.
    """
    while warps > 1 and 32 * (warps // 2) >= width:
        warps //= 2
    columns = min(4, pixels) if rows == 1 else 1
    while columns > 1 and 32 * warps * (columns // 2) >= width:
        columns //= 2
    return Tile(rows, 32 * warps * columns, warps)


def candidates(rows: Callable[[int], int], pixels: tuple[int, ...], width: int) -> list[Tile]:
    """The grid that is searched: 4 or 8 warps with the first of `pixels`, and 4 with the others; best guess first.

    Args:
        rows: the best number of rows up to a limit.
        pixels: pixels a thread; the usual number first.
        width: of the picture.
    """
    pairs = [(pixels[0], 4), (pixels[0], 8), *((p, 4) for p in pixels[1:])]
    return list(dict.fromkeys(tile_of(rows(most), most, warps, width) for most, warps in pairs))


def choose(key: Hashable, tiles: Iterable[Tile], run: Callable[[Tile], Any], device: torch.device) -> Tile:
    """The tile for a key. Times the candidates on the key's first call on a CUDA device; elsewhere takes the first.

    `run` must be harmless to repeat. A call inside a CUDA graph's capture is not timed and nothing is kept.
    """
    tiles = list(tiles)
    if device.type != "cuda" or len(tiles) == 1:
        return tiles[0]
    if key not in _chosen:
        if torch.cuda.is_current_stream_capturing():
            return tiles[0]
        _chosen[key] = min(tiles, key=lambda tile: _milliseconds(run, tile))
    return _chosen[key]


def _milliseconds(run: Callable[[Tile], Any], tile: Tile) -> float:
    run(tile)  # compiles
    times = []
    for _ in range(REPEATS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run(tile)
        end.record()
        end.synchronize()
        times.append(float(start.elapsed_time(end)))
    return min(times)
