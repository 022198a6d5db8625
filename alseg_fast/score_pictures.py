"""Pictures on their way through the engine: from a RUN's listing or a caller in, to rows and maps out."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .errors import DataError, UsageError
from .stages.fetch import fetch_bytes
from .stages.image_tags import tags_of_rows
from .stages.run_layout import HISTOGRAM
from .stages.score import encode_png
from .stages.store import RunWriter
from .worker import Batch, Picture

log = logging.getLogger("alseg")


def run_batches(
    writer: RunWriter, todo: Sequence[int], batch_size: int, classes: Sequence[str] | None
) -> Iterator[Batch]:
    """Args: classes: names that the labels of the pictures are looked up in; None: their labels do not matter."""
    for index in todo:
        table = writer.shard_rows(index)
        n = table.num_rows
        columns = [
            table.column(name).to_pylist() if name in table.column_names else [None] * n
            for name in ("image_id", "uri", "offset", "size")
        ]
        rows = list(zip(*columns, strict=True))
        tags = [None] * n if classes is None else tags_of_rows(table, classes)
        for start in range(0, n, batch_size):
            part = zip(rows[start : start + batch_size], tags[start : start + batch_size], strict=True)
            yield Batch([Picture(row, present) for row, present in part], tag=(index, start + batch_size >= n))


def fetch_picture(picture: Picture, storage_options: dict[str, Any] | None) -> None:
    _, uri, offset, size = picture.key
    try:
        picture.source = fetch_bytes(uri, offset, size, storage_options=storage_options)
    except DataError as error:
        picture.fail("fetch", error)


def write_maps(writer: RunWriter, picture: Picture) -> None:
    if picture.scored is None or picture.failure is not None:
        return
    image_id = picture.key[0]
    try:
        for name, image in picture.scored.maps.items():
            writer.write_map(name, image_id, encode_png(image))
    except DataError as error:
        picture.fail("write", error)
    picture.scored.maps = {}


def collect_rows(
    picture: Picture,
    rows: list[dict[str, Any]],
    failures: list[dict[str, str]],
    regions: list[tuple[str, dict[str, Any]]],
) -> None:
    image_id = picture.key[0]
    if picture.failure is not None:
        stage, error = picture.failure
        failures.append({"image_id": image_id, "stage": stage, "error": error})
        log.info("%s: %s: %s", image_id, stage, error)
        return
    assert picture.scored is not None
    if picture.scored.regions:
        regions.append((image_id, picture.scored.regions))
    rows.append(
        {
            "image_id": image_id,
            "width": picture.width,
            "height": picture.height,
            "phash": picture.phash,
            **picture.scored.values,
            **({} if picture.histogram is None else {HISTOGRAM: picture.histogram}),
        }
    )


def picture_of(key: int, image: Any) -> Picture:
    picture = Picture(key)
    if isinstance(image, (bytes, bytearray, memoryview)):
        picture.source = bytes(image)
    elif isinstance(image, (str, os.PathLike)):
        try:
            picture.source = fetch_bytes(os.fspath(image), None, None)
        except DataError as error:
            picture.fail("fetch", error)
    elif isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8:
        picture.source = image
    else:
        got = f"{list(image.shape)} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UsageError(
            f"score_images: images must be uint8 [h, w, 3] RGB arrays, encoded bytes or paths; got {got}. "
            "Convert it first."
        )
    return picture
