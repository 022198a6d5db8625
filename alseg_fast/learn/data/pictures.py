"""Pictures and masks of samples: decoded by the engine, checked against each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from ...stages.codecs.headers import read_jpeg_markers
from ...stages.codecs.pillow import open_header, orientation_of
from ...stages.codecs.signatures import SNIFF_BYTES, sniff_format
from ...stages.decode import Decoded, decode_image, peek_size
from ...stages.fetch import fetch_bytes
from .dataset import IGNORE, Dataset, Sample
from .label_images import REMEDY, read_ids

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """A decoded sample.

    Attributes:
        image: [h, w, 3] uint8 RGB, upright; perhaps smaller than the file's picture.
        mask: [H, W] uint8 class ids at the file's own size, `IGNORE` where none; None: no mask.
        size: (H, W) of the file's picture, upright.
    """

    image: Pixels
    mask: Pixels | None
    size: tuple[int, int]


def read_image(sample: Sample, *, at_least: tuple[int, int] | None = None) -> Pixels:
    """[H, W, 3] uint8 RGB of a sample's picture, upright (EXIF).

    Args:
        at_least: (h, w) that is enough: a JPEG then comes at 1/2, 1/4 or 1/8 of its size, the smallest with both sides
            at least these, as it does when the engine scores it. None: full size.
    Raises: DataError that names the file: missing, damaged, no image, too large.
    """
    return _decode(sample, None if at_least is None else lambda _: at_least).image


def read_mask(dataset: Dataset, sample: Sample) -> Pixels:
    """[H, W] uint8 class ids of a sample's mask; `IGNORE` (255) where there is no label.

    Raises: DataError that names the file: no mask, missing, damaged, another size than the picture (upright), an id
        that the data set has no class for.
    """
    return _checked_mask(dataset, sample, _stated_size(sample))


def read_picture(
    dataset: Dataset, sample: Sample, *, stored_size: Callable[[tuple[int, int]], tuple[int, int]] | None = None
) -> Picture:
    """Picture and, where the sample has one, mask, checked as in `read_image` and `read_mask`.

    Args:
        stored_size: (H, W) of the picture -> (h, w) that is enough. A JPEG may then come at 1/2, 1/4 or 1/8 of its
            size, with both sides at least these; None: full size.
    """
    decoded = _decode(sample, stored_size)
    size = decoded.height, decoded.width
    return Picture(decoded.image, None if sample.mask is None else _checked_mask(dataset, sample, size), size)


def _fetch(sample: Sample) -> bytes:
    try:
        return fetch_bytes(str(sample.image))
    except DataError as exc:
        raise DataError(f"picture {sample.image} cannot be read: {exc}") from exc


def _decode(sample: Sample, stored_size: Callable[[tuple[int, int]], tuple[int, int]] | None) -> Decoded:
    data = _fetch(sample)
    try:
        size = None if stored_size is None else _jpeg_size(data)
        return decode_image(data, min_size=None if size is None or stored_size is None else stored_size(size))
    except DataError as exc:
        raise DataError(f"picture {sample.image}: {exc}") from exc


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(H, W) of an upright JPEG; None for other formats, which are always decoded at full size."""
    if sniff_format(data[:SNIFF_BYTES]) != "JPEG":
        return None
    stored = peek_size(data)
    if stored is None:
        return None
    return stored if read_jpeg_markers(data).orientation >= 5 else (stored[1], stored[0])


def _stated_size(sample: Sample) -> tuple[int, int]:
    """(H, W) of the upright picture, from the file's header."""
    data = _fetch(sample)
    size = _jpeg_size(data)
    if size is not None:
        return size
    name = sniff_format(data[:SNIFF_BYTES])
    if name is None:
        raise DataError(f"picture {sample.image} is no known image format; {REMEDY}")
    try:
        with open_header(name, data) as header:
            width, height = header.size
            turned = orientation_of(header) >= 5
    except Exception as exc:  # as in decode_image: whatever a parser raises is about these bytes
        text = " ".join(str(exc).split()) or type(exc).__name__
        raise DataError(f"picture {sample.image}: {name} header cannot be read: {text}; {REMEDY}") from exc
    return (width, height) if turned else (height, width)


def _checked_mask(dataset: Dataset, sample: Sample, size: tuple[int, int]) -> Pixels:
    path = sample.mask
    if path is None:
        raise DataError(f"image {sample.image_id} of {dataset.name} has no mask; leave it out where masks are needed")
    mask = read_ids(path) if sample.ids else dataset.read_native_mask(path)
    if mask.shape != size:
        found = " x ".join(str(v) for v in reversed(mask.shape))
        raise DataError(
            f"mask {path} has {found} pixels, its picture {sample.image} has {size[1]} x {size[0]} (upright); {REMEDY}"
        )
    check_ids(mask, len(dataset.classes), f"mask {path}", dataset.name)
    return mask


def check_ids(mask: Pixels, n_classes: int, what: str, name: str) -> None:
    """Every id must be below n_classes or `IGNORE`. Raises: DataError."""
    if int(mask.max()) < n_classes:
        return
    wrong = mask[(mask >= n_classes) & (mask != IGNORE)]
    if wrong.size:
        raise DataError(
            f"{what} has {wrong.size:,} pixels of id {int(wrong[0])}; {name} has the ids 0 .. {n_classes - 1} and "
            f"{IGNORE} for no label; {REMEDY}"
        )
