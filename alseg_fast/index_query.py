"""alseg index query: the neighbours of an image of a saved index, or of any picture."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .errors import UsageError
from .histogram_index import HistogramIndex, SearchResult
from .histogram_index.ids import INT
from .indexing import HISTOGRAM
from .ops.histogram_spec import HistogramSpec
from .stages.decode import DEFAULT_MAX_PIXELS, decode_image
from .stages.fetch import fetch_bytes


def query_index(
    path: str | os.PathLike[str],
    *,
    image_id: str | None = None,
    image: str | None = None,
    label: str | None = None,
    k: int = 10,
    exact: bool = True,
    multiplier: int = 8,
    within: float | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> tuple[SearchResult, Any]:
    """The neighbours of an image of the index (which is no neighbour of itself) or of a picture; and the class.

    Args:
        image_id: one of the index; exactly one of image_id and image.
        image: path or URL of a picture, whose histogram is computed as those of the index were.
        label: the class to look in; None: that of image_id, or the only one.
    """
    index = HistogramIndex.load(path)
    chosen: Any = _label_of(index, label)
    if image_id is not None:
        key = _id_of(index, image_id)
        if key not in index:
            raise UsageError(f"{image_id} is not in {os.fspath(path)}; give an id of it, or a picture with --image")
        queries = index.rows([key]).astype(np.float32)
        chosen = index.labels_of([key])[0] if label is None else chosen
    else:
        text = index.info.get(HISTOGRAM)
        if text is None:
            raise UsageError(f"{os.fspath(path)} does not say which histogram it holds; query it with --id")
        pixels = decode_image(fetch_bytes(str(image)), max_pixels=max_pixels).image
        queries, key = HistogramSpec.parse(text).compute(pixels)[None], None
    found = index.search(queries, chosen, k, exact, multiplier=multiplier, exclude=[key], within=within)
    return found, chosen


def _label_of(index: HistogramIndex, label: str | None) -> Any:
    """A label of the command line: text as it is, or the integer that it writes."""
    if label is None or label in index.classes:
        return label
    number = label.removeprefix("-")
    return int(label) if number.isdecimal() and int(label) in index.classes else label


def _id_of(index: HistogramIndex, text: str) -> Any:
    if index.id_kind == INT:
        if not text.removeprefix("-").isdecimal():
            raise UsageError(f"--id must be a whole number, as the ids of the index are; got {text!r}")
        return int(text)
    return text
