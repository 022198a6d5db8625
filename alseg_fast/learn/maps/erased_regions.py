"""What adversarial erasing found so far: one bit a pixel, per picture and tag, in memory and on disk."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...atomic import write_atomic
from ...errors import DataError, RangeError, ShapeError
from .erasing import resize_region

_FORMAT = 1
Bits = npt.NDArray[np.uint8]


class ErasedRegions:
    """Union of the hot regions of all rounds, for each picture and tag, at the resolution they were added in.

    Args:
        n_tags: K.

    Attributes:
        rounds: how many rounds are finished; counted by the loop, kept in the file.
    """

    def __init__(self, n_tags: int) -> None:
        if n_tags < 1:
            raise RangeError(f"ErasedRegions: n_tags must be at least 1; got {n_tags!r}. Give the number of tags.")
        self.n_tags = n_tags
        self.rounds = 0
        self._sizes: dict[str, tuple[int, int]] = {}
        self._bits: dict[tuple[str, int], Bits] = {}

    def add(self, image_ids: Sequence[str], regions: Tensor, allowed: Tensor | None = None) -> int:
        """Unite with [B, K, H, W] bool regions of one round.

        Args:
            allowed: [B, K] bool, `still_recognised`; other regions are not taken. None: all are.
        Returns: pixels that are new, over all pictures and tags; 0 means that erasing has come to its end.
        Raises: ShapeError: the regions do not fit the ids, the tags, or what was added before.
        """
        if regions.dtype != torch.bool or regions.ndim != 4 or regions.shape[:2] != (len(image_ids), self.n_tags):
            raise ShapeError(
                f"ErasedRegions.add: regions must be bool [B, K, H, W] with [B, K] = {[len(image_ids), self.n_tags]}; "
                f"got {regions.dtype} {list(regions.shape)}. Pass hot_regions of these pictures."
            )
        if allowed is not None and allowed.shape != regions.shape[:2]:
            raise ShapeError(
                f"ErasedRegions.add: allowed must have shape {list(regions.shape[:2])}; got {list(allowed.shape)}. "
                "Pass one row an image."
            )
        size = (int(regions.shape[2]), int(regions.shape[3]))
        for image_id in image_ids:
            if self._sizes.get(image_id, size) != size:
                raise ShapeError(
                    f"ErasedRegions.add: regions of {image_id!r} must have the size {list(self._sizes[image_id])} of "
                    f"its earlier ones; got {list(size)}. Keep to one size a picture."
                )
        taken = regions.any(dim=3).any(dim=2) if allowed is None else allowed.to(regions.device) & regions.any(3).any(2)
        for image_id in image_ids:
            self._sizes.setdefault(image_id, size)
        added = 0
        for b, k in taken.nonzero().tolist():
            new = np.packbits(regions[b, k].cpu().numpy())
            old = self._bits.get((image_ids[b], k))
            added += _count(new) if old is None else _count(new & ~old)
            self._bits[image_ids[b], k] = new if old is None else new | old
        return added

    def found(self, image_id: str, tag: int, size: tuple[int, int] | None = None) -> npt.NDArray[np.bool_]:
        """[H, W] bool: the object of one tag as found so far, at `size` by nearest neighbour (None: as it was added).

        Raises: DataError: nothing is known of the picture.
        """
        return self._resized(image_id, [self._bits.get((image_id, tag))], size)

    def erased(self, image_id: str, size: tuple[int, int] | None = None) -> npt.NDArray[np.bool_]:
        """[H, W] bool: the union over all tags, which the next classifier does not get to see."""
        return self._resized(image_id, [self._bits.get((image_id, k)) for k in range(self.n_tags)], size)

    def share(self, image_id: str) -> float:
        """Erased share of the picture."""
        return float(self.erased(image_id).mean())

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def save(self, path: Path | str) -> None:
        """Write a compressed archive; whole or not at all."""
        keys = sorted(self._bits)
        facts = {
            "format": _FORMAT,
            "n_tags": self.n_tags,
            "rounds": self.rounds,
            "sizes": {image_id: list(size) for image_id, size in self._sizes.items()},
            "maps": [list(key) for key in keys],
        }
        bits = np.concatenate([self._bits[key] for key in keys]) if keys else np.zeros(0, np.uint8)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, facts=np.frombuffer(json.dumps(facts).encode(), np.uint8), bits=bits)
        write_atomic(Path(path), buffer.getvalue(), advice="erase again")

    @classmethod
    def load(cls, path: Path | str) -> ErasedRegions:
        """Read what `save` wrote. Raises: DataError: the file is not one of these, or is damaged."""
        try:
            with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as archive:
                facts, bits = json.loads(archive["facts"].tobytes()), archive["bits"]
            if facts["format"] != _FORMAT or bits.dtype != np.uint8:
                raise ValueError(f"format {facts['format']!r}")
            made = cls(int(facts["n_tags"]))
            made.rounds = int(facts["rounds"])
            made._sizes = {str(i): (int(h), int(w)) for i, (h, w) in facts["sizes"].items()}
            at = 0
            for image_id, tag in facts["maps"]:
                height, width = made._sizes[image_id]
                length = -(-height * width // 8)
                made._bits[image_id, int(tag)] = bits[at : at + length].copy()
                at += length
            if at != len(bits):
                raise ValueError(f"{len(bits)} bytes of regions instead of {at}")
        except FileNotFoundError as exc:
            raise DataError(f"no erased regions in {path}; erase first") from exc
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as exc:
            raise DataError(f"cannot read erased regions from {path}: {exc}; remove the file and erase again") from exc
        return made

    def _resized(self, image_id: str, parts: list[Bits | None], size: tuple[int, int] | None) -> npt.NDArray[np.bool_]:
        if image_id not in self._sizes:
            raise DataError(f"ErasedRegions: no region of image {image_id!r} was ever added; add its maps first")
        height, width = self._sizes[image_id]
        region = np.zeros(height * width, np.bool_)
        for bits in parts:
            if bits is not None:
                region |= np.unpackbits(bits, count=height * width).astype(np.bool_)
        return resize_region(region.reshape(height, width), size or (height, width))


def _count(bits: Bits) -> int:
    return int(np.unpackbits(bits).sum())
