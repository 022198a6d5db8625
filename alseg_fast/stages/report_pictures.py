"""Small copies of a picture, its label map and its heatmaps for a report, and the spool that holds them.

A picture becomes a JPEG thumbnail and one grey 8-bit PNG in which the label map (a second plane holds the
high byte when there are more than 256 classes) and the heatmaps stand below each other. Labels stay exact.
"""

from __future__ import annotations

import base64
import io
import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import AlsegError, DtypeError, ShapeError

Overlay = tuple[NDArray[Any], Mapping[str, NDArray[Any]]]
LoadImage = Callable[[str, str], "NDArray[Any] | None"]
LoadOverlay = Callable[[str, str], "Overlay | None"]

JPEG_QUALITY = 80
LEVELS = 64  # steps of the threshold slider
SMALLEST_SIDE = 32


@dataclass
class Picture:
    """What the page must know of a picture before it decodes it.

    width, height: of the thumbnail; map_width, map_height: of each plane; planes: "labels", "labels_high" or
    a measure's name; above: measure -> 65 numbers, ten-thousandths of the full-size map at or above level/64
    of the range; problem, overlay_problem: why there is no thumbnail or no overlay.
    """

    width: int = 4
    height: int = 3
    map_width: int = 0
    map_height: int = 0
    planes: list[str] = field(default_factory=list)
    above: dict[str, list[int]] = field(default_factory=dict)
    problem: str = ""
    overlay_problem: str = ""


class PictureSpool:
    """Encoded pictures in a temporary file, so that a report of any length needs little memory."""

    def __init__(self, thumb_side: int) -> None:
        self.side = thumb_side
        self.pictures: list[Picture] = []
        self.heat_counts: dict[str, NDArray[np.int64]] = {}  # measure -> [256]
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the spool)
        self._ends: list[tuple[int, int]] = []  # end of the JPEG and of the PNG of each picture

    def close(self) -> None:
        """Delete the temporary file."""
        self._file.close()

    def add(self, image_id: str, uri: str, load_image: LoadImage, overlay: LoadOverlay) -> None:
        """Fetch and encode one picture. What cannot be had is noted in the picture, with its reason."""
        picture, jpeg, png = Picture(), b"", b""
        try:
            image = load_image(image_id, uri)
            if image is None:
                picture.problem = "the source image is not available"
        except (AlsegError, OSError) as error:
            image, picture.problem = None, str(error)
        try:
            maps = overlay(image_id, uri)
            if maps is None:
                picture.overlay_problem = "no maps in the run, and the image could not be scored again"
        except (AlsegError, OSError) as error:
            maps, picture.overlay_problem = None, str(error)
        if image is not None:
            jpeg = self._encode_thumbnail(picture, _checked_image(image))
        if maps is not None:
            png = self._encode_maps(picture, *maps)
            if image is None:
                picture.width, picture.height = picture.map_width, picture.map_height
        self._append(picture, jpeg, png)

    def shrink(self, factor: float) -> PictureSpool:
        """The same pictures encoded with a smaller side, into a new spool; this one is closed."""
        smaller = PictureSpool(max(SMALLEST_SIDE, int(self.side * factor)))
        smaller.heat_counts = self.heat_counts
        for picture, (jpeg, png) in zip(self.pictures, self._records(), strict=True):
            if jpeg:
                jpeg = smaller._encode_thumbnail(picture, np.asarray(Image.open(io.BytesIO(jpeg))))
            if png:
                stack = np.asarray(Image.open(io.BytesIO(png)))
                planes = stack.reshape(len(picture.planes), picture.map_height, picture.map_width)
                png = smaller._encode_planes(picture, list(planes))
            smaller._append(picture, jpeg, png)
        self._file.close()
        return smaller

    def blocks(self) -> Iterator[bytes]:
        """One JSON text a picture, {"jpeg": base64, "png": base64}; base64 needs no escaping in HTML."""
        for jpeg, png in self._records():
            texts = {"jpeg": base64.b64encode(jpeg).decode(), "png": base64.b64encode(png).decode()}
            yield json.dumps(texts, separators=(",", ":")).encode()

    def block_bytes(self) -> int:
        """Bytes that blocks() yields."""
        starts = [0, *(end for _, end in self._ends)]
        return sum(
            len('{"jpeg":"","png":""}') + 4 * math.ceil((jpeg - start) / 3) + 4 * math.ceil((png - jpeg) / 3)
            for start, (jpeg, png) in zip(starts, self._ends, strict=False)
        )

    def heat_range(self, measure: str) -> dict[str, float]:
        """Levels, 0 to 1: "limit", below which 99.5 % of all heatmap pixels lie, and the "highest" one."""
        counts = self.heat_counts.get(measure)
        if counts is None or not counts.sum():
            return {"limit": 1.0, "highest": 1.0}
        limit = int(np.searchsorted(np.cumsum(counts), 0.995 * counts.sum()))
        return {"limit": max(limit, 4) / 255, "highest": max(int(np.flatnonzero(counts)[-1]), 4) / 255}

    def _append(self, picture: Picture, jpeg: bytes, png: bytes) -> None:
        start = self._ends[-1][1] if self._ends else 0
        self._file.write(jpeg)
        self._file.write(png)
        self._ends.append((start + len(jpeg), start + len(jpeg) + len(png)))
        self.pictures.append(picture)

    def _records(self) -> Iterator[tuple[bytes, bytes]]:
        self._file.seek(0)
        start = 0
        for jpeg_end, png_end in self._ends:
            yield self._file.read(jpeg_end - start), self._file.read(png_end - jpeg_end)
            start = png_end

    def _encode_thumbnail(self, picture: Picture, image: NDArray[np.uint8]) -> bytes:
        height, width = image.shape[:2]
        picture.width, picture.height = _fit(width, height, self.side)
        thumb = Image.fromarray(image).resize(
            (picture.width, picture.height), Image.Resampling.LANCZOS, reducing_gap=3.0
        )
        out = io.BytesIO()
        thumb.save(out, "JPEG", quality=JPEG_QUALITY, optimize=True, progressive=True)
        return out.getvalue()

    def _encode_maps(self, picture: Picture, labels: NDArray[Any], heatmaps: Mapping[str, NDArray[Any]]) -> bytes:
        if labels.ndim != 2 or labels.dtype not in (np.uint8, np.uint16):
            raise DtypeError(
                f"overlay: labels must be [h, w] uint8 or uint16; got {labels.dtype} {list(labels.shape)}. "
                "Return the arg-max map."
            )
        picture.planes = ["labels"]
        planes = [(labels & 255).astype(np.uint8)]
        if labels.dtype == np.uint16 and labels.max(initial=0) > 255:
            picture.planes.append("labels_high")
            planes.append((labels >> 8).astype(np.uint8))
        for measure, heat in heatmaps.items():
            if heat.ndim != 2 or heat.dtype != np.uint8:
                raise DtypeError(
                    f"overlay: heatmap {measure} must be [h, w] uint8; got {heat.dtype} {list(heat.shape)}. "
                    "Scale it to the measure's map range."
                )
            counts = np.bincount(heat.ravel(), minlength=256).astype(np.int64)
            self.heat_counts[measure] = self.heat_counts.get(measure, np.zeros(256, np.int64)) + counts
            picture.above[measure] = _shares_above(counts)
            picture.planes.append(measure)
            planes.append(heat)
        return self._encode_planes(picture, planes)

    def _encode_planes(self, picture: Picture, planes: list[NDArray[np.uint8]]) -> bytes:
        """One PNG of all planes, half as large as the thumbnail; label planes by nearest neighbour."""
        height, width = planes[0].shape
        size = picture.map_width, picture.map_height = _fit(width, height, self.side // 2)
        small = [
            np.asarray(
                Image.fromarray(plane).resize(
                    size, Image.Resampling.NEAREST if name.startswith("labels") else Image.Resampling.BOX
                )
            )
            for name, plane in zip(picture.planes, planes, strict=True)
        ]
        out = io.BytesIO()
        Image.fromarray(np.concatenate(small)).save(out, "PNG", optimize=True)
        return out.getvalue()


def _fit(width: int, height: int, side: int) -> tuple[int, int]:
    """The size whose longer side is at most `side`; never larger than it was, never below one pixel."""
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _checked_image(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ShapeError(
            f"load_image: the image must be [h, w, 3] uint8; got {image.dtype} {list(image.shape)}. Convert it to RGB."
        )
    return np.ascontiguousarray(image)


def _shares_above(counts: NDArray[np.int64]) -> list[int]:
    """Ten-thousandths of the pixels at or above each of the levels 0/64 ... 64/64 of the 8-bit range."""
    at_or_above = np.append(np.cumsum(counts[::-1])[::-1], 0)  # [257]
    first = np.ceil(np.arange(LEVELS + 1) * 255 / LEVELS - 1e-9).astype(np.int64)
    return [round(10_000 * int(at_or_above[i]) / max(1, int(at_or_above[0]))) for i in first]
