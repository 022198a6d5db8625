"""Pictures to segment: real ones of a BSDS500 folder, read where they lie, or drawn ones."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alseg_fast.errors import UsageError

from .pool_images import make_photo

# Where a folder of real test data lies beside the project, if there is one; its licences forbid copies.
DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "bsds500"
_LAYOUTS = (("test/images", "test/groundTruth"), ("images/test", "groundTruth/test"))


@dataclass(frozen=True)
class Folder:
    """Pictures of BSDS500's test set, sorted by name, and the folder of their drawings."""

    path: Path
    pictures: tuple[Path, ...]
    drawings: Path


def find_pictures(data: str | Path | None) -> Folder | None:
    """The folder of BSDS500 that was named, or the usual one if it is there, else None.

    Raises: UsageError: `data` holds no pictures of BSDS500.
    """
    root = DEFAULT_DATA if data is None else Path(data)
    for images, drawings in _LAYOUTS:
        found = sorted((root / images).glob("*.jpg")) if (root / images).is_dir() else []
        if found:
            return Folder(root, tuple(found), root / drawings)
    if data is None:
        return None
    raise UsageError(
        f"bench: --data must be a folder of BSDS500 with test/images/*.jpg and test/groundTruth/*.mat; got {root}."
    )


def read_picture(path: Path) -> NDArray[np.uint8]:
    """[H, W, 3] uint8 RGB, writable (some peers refuse other arrays)."""
    with Image.open(path) as image:
        return np.array(image.convert("RGB"), np.uint8)


def read_drawings(folder: Folder, picture: Path) -> list[NDArray[np.int64]]:
    """The regions that each person drew, [H, W] with ids from 0.

    Raises: ImportError: SciPy is not installed.
    """
    from scipy.io import loadmat

    cells: Any = loadmat(folder.drawings / f"{picture.stem}.mat")["groundTruth"]
    return [cells[0, i]["Segmentation"][0, 0].astype(np.int64) - 1 for i in range(cells.shape[1])]


def get_picture(size: tuple[int, int], folder: Folder | None, seed: int = 0) -> tuple[NDArray[np.uint8], str]:
    """A picture [H, W, 3] of `size` and a sentence that says what it is.

    With a folder, a real picture of that size, or one enlarged until it covers the size and cut; else a drawn one.
    """
    height, width = size
    name = f"{width}x{height}"
    if folder is None:
        data = make_photo(seed, size, None)
        return np.array(Image.open(io.BytesIO(data)), np.uint8), f"{name}: drawn (shapes and 1/f noise)"
    for path in folder.pictures[seed:]:
        with Image.open(path) as image:
            if image.size == (width, height):
                return read_picture(path), f"{name}: BSDS500 test {path.stem}"
            if image.width > image.height and width > image.width:
                scale = max(width / image.width, height / image.height)
                large = image.convert("RGB").resize(
                    (round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC
                )
                left, top = (large.width - width) // 2, (large.height - height) // 2
                cut = np.array(large.crop((left, top, left + width, top + height)), np.uint8)
                return cut, f"{name}: BSDS500 test {path.stem}, enlarged {scale:.3g} times (bicubic) and cut"
            if image.width >= width and image.height >= height:
                return read_picture(path)[:height, :width].copy(), f"{name}: cut out of BSDS500 test {path.stem}"
    return get_picture(size, None, seed)
