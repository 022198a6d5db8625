"""Training pictures without what was found already, on disk, so that any later transform treats them as pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ...atomic import make_directory, write_atomic
from ...stages.run_layout import png_path
from ..data.dataset import Dataset
from ..data.pictures import read_image
from ..maps.erased_regions import ErasedRegions
from ..maps.erasing import erase_picture


def write_erased(dataset: Dataset, regions: ErasedRegions, folder: Path, fill: Sequence[float]) -> dict[str, Path]:
    """Image id -> <folder>/<image_id>.png of the pictures that lose something; the others stay where they are.

    Args:
        regions: the union over all rounds and tags is erased.
        fill: colour of what is erased, 0..255 a channel; the paper takes the mean colour of the training pictures.
    """
    written = {}
    for sample in dataset.samples:
        if sample.image_id not in regions or not regions.erased(sample.image_id).any():
            continue
        path = png_path(folder, sample.image_id)
        if not path.exists():
            image = read_image(sample)
            region = regions.erased(sample.image_id, (image.shape[0], image.shape[1]))
            buffer = io.BytesIO()
            Image.fromarray(erase_picture(image, region, fill=fill)).save(buffer, "PNG", compress_level=1)
            make_directory(path.parent)
            write_atomic(path, buffer.getvalue())
        written[sample.image_id] = path
    return written
