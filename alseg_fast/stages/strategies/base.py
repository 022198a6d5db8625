"""What a selection strategy is given and what it returns, and the hash that stands for a random draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


class Ranking(Protocol):
    """Keeps the best of the candidates it is offered, as many as its budgets pay for."""

    def add(self, table: pa.Table, scores: npt.NDArray[np.float64]) -> None:
        """Offer [n] candidates with their scores, none of them NaN."""
        ...

    def ranked(self) -> pa.Table | None:
        """The picks, best first: image_id, uri, region_id, score, cost, rle where the candidates have it, and
        optionally `standing`, a text that says the rank among what a pick competed with; None if there are none.
        """
        ...


@dataclass(frozen=True)
class Request:
    """One selection: how much may be spent, and on what grounds.

    Attributes:
        budget: in the cost unit of the candidates (images: 1 each).
        column: the score column to rank by.
        seed: repeats every random decision.
        item: plural of what is selected, for the reasons ("images").
        ranking: what keeps the best where the budget is not one sum over the pool; None: one sum.
    """

    budget: float
    column: str
    seed: int
    item: str
    ranking: Ranking | None = None


@dataclass(frozen=True)
class Candidates:
    """A block of what may be selected; blocks come in no order that a strategy may rely on.

    Attributes:
        table: [n] rows: image_id, uri, region_id, cost, tie, and the columns that the strategy asked for; regions
            have their rle, too. An image's regions are all in one block.
            cost is float64 in the unit of the budget; tie is uint64, a hash of the id and the seed: a random
            number that depends neither on the order of the rows nor on how they are cut into parts.
    """

    table: pa.Table

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        """A column as [n] float64; null becomes NaN, -0.0 becomes 0.0."""
        column = self.table.column(name).cast(pa.float64(), safe=False).to_numpy()  # 64-bit hashes round
        return np.asarray(column, np.float64) + 0.0


@dataclass(frozen=True)
class Picks:
    """What a strategy chose, best first.

    Attributes:
        table: image_id, uri, region_id, score float64, cost float64, optionally rle.
        reasons: one text a row.
        considered: how many candidates it chose from.
    """

    table: pa.Table
    reasons: Sequence[str]
    considered: int


class Strategy(Protocol):
    """A way to choose. One pass over the candidates; what it keeps must be bounded by the budget."""

    name: str

    def columns(self, request: Request) -> Sequence[str]:
        """The score columns it needs."""
        ...

    def pick(self, stream: Iterable[Candidates], request: Request) -> Picks:
        """The picks, whose costs add up to no more than the budget."""
        ...


def id_hashes(ids: pa.Array | pa.ChunkedArray, seed: int) -> npt.NDArray[np.uint64]:
    """[n] uint64 hashes of strings: equal on every machine and for every layout of the table.

    The string's UTF-8 bytes are cut into little-endian 64-bit words, the last one padded with zeros. From
    h = mix(seed * golden + length), each word w gives h = mix(h XOR w); mix is the finaliser of SplitMix64.
    Source: Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators".
    """
    array = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    array = array.cast(pa.large_string())
    if len(array) == 0:
        return np.empty(0, np.uint64)
    _, offset_buffer, data = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[array.offset : array.offset + len(array) + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    padded = np.zeros(last - first + 8, np.uint8)
    if data is not None:
        padded[:-8] = np.frombuffer(data, np.uint8)[first:last]
    # [bytes + 1] the 64-bit word that begins at each byte, unaligned, without a copy
    words = np.ndarray(last - first + 1, np.dtype("<u8"), padded.data, strides=(1,))
    starts, lengths = offsets[:-1] - first, np.diff(offsets)  # [n]
    hashes = _mix(np.uint64(seed * _GOLDEN & _MASK) + lengths.astype(np.uint64))
    rows = np.arange(len(array))
    for position in range(0, int(lengths.max()), 8):
        rows = rows[lengths[rows] > position]
        left = np.minimum(lengths[rows] - position, 8).astype(np.uint64)
        mask = np.uint64(_MASK) >> (np.uint64(64) - left * np.uint64(8))
        hashes[rows] = _mix(hashes[rows] ^ (words[starts[rows] + position].astype(np.uint64) & mask))
    return hashes


def numbered_hashes(states: npt.NDArray[np.uint64], numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Hashes of parts (regions, pixels) of things with the hashes `states`: number `numbers` of SplitMix64.

    mix(state + (number + 1) * golden), so that the parts of one thing never share a hash. Both broadcast.
    """
    return _mix(states + (numbers + np.uint64(1)) * np.uint64(_GOLDEN))


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
