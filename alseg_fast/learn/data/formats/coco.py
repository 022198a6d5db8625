"""COCO instances as a semantic segmentation data set: 80 things and background. Lin et al., ECCV 2014.

`annotations/instances_<split><year>.json`, pictures in `<split><year>/` or `images/<split><year>/`. Category ids
(1 .. 90 with gaps) become 1 .. 80 in ascending order; 0 is the background. There are no mask files: masks are drawn
from polygons and run lengths when they are read, and `Sample.mask` is the annotation file followed by the image's
number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ....checks import check_choice
from ....errors import AlsegError, DataError, PoolError
from ....ops.rle import decode_rle
from ..dataset import IGNORE, Dataset, Sample
from ..label_images import REMEDY
from .layout import checked, log, need_folder, read_text
from .polygons import fill_polygons

CROWD = ("ignore", "paint", "skip")
_REMEDY = "give the folder that holds annotations and the picture folders"


@dataclass(frozen=True)
class Shape:
    """An annotated thing: class id, its polygons or run lengths, and whether it is a crowd."""

    class_id: int
    area: float
    crowd: bool
    polygons: tuple[npt.NDArray[np.float32], ...]
    counts: str | tuple[int, ...] | None


@dataclass(frozen=True)
class Drawing:
    """What the mask of an image is drawn from; size is (H, W)."""

    size: tuple[int, int]
    shapes: tuple[Shape, ...]


@dataclass(frozen=True)
class DrawnMasks:
    """Masks drawn from annotations: larger things first, so that smaller ones stay visible on them.

    The format does not say which of two overlapping things is in front; this order is a choice. Crowds come before all
    things: `IGNORE` ("ignore"), their class ("paint"), or nothing ("skip").
    """

    drawings: Mapping[str, Drawing]
    crowd: str

    def __call__(self, path: Path) -> npt.NDArray[np.uint8]:
        drawing = self.drawings.get(str(path))
        if drawing is None:
            raise DataError(f"mask {path} is none of the annotations that were read; {REMEDY}")
        mask = np.zeros(drawing.size, np.uint8)
        order = sorted(drawing.shapes, key=lambda s: (not s.crowd, -s.area))
        for shape in order:
            if shape.crowd and self.crowd == "skip":
                continue
            value = IGNORE if shape.crowd and self.crowd == "ignore" else shape.class_id
            mask[_inside(shape, drawing.size, path)] = value
        return mask


def read_coco(
    root: Path,
    *,
    year: str = "2017",
    splits: Sequence[str] = ("train", "val"),
    crowd: str = "ignore",
    broken: str = "error",
) -> Dataset:
    """81 classes, 0 = background; any number of the 80 tags an image: the categories of its annotations.

    Args:
        year: in the names of files and folders.
        splits: of those names; "train" has to be there, others only if their annotations are.
        crowd: what regions of uncounted things (iscrowd) become: "ignore" 255, "paint" their class, "skip" nothing.
            The tag is given in all three cases.
        broken: "error", or "skip" annotated images whose picture is missing.
    Raises: PoolError that names the file and what to do.
    """
    check_choice("read_dataset", "crowd", crowd, CROWD)
    check_choice("read_dataset", "broken", broken, ("error", "skip"))
    need_folder(root, "the folder of COCO", _REMEDY)
    names: dict[int, str] = {}
    drawings: dict[str, Drawing] = {}
    samples: list[Sample] = []
    for split in splits:
        path = root / "annotations" / f"instances_{split}{year}.json"
        if split != splits[0] and not path.is_file():
            continue
        content = _load(path)
        found = {int(c["id"]): str(c["name"]) for c in content["categories"]}
        if names and found != names:
            raise PoolError(f"{path} has other categories than the first split; use files of one release")
        names = found
        samples += _read_split(root, path, f"{split}{year}", split, content, drawings, sorted(names), broken)
    classes = ("background", *(names[key] for key in sorted(names)))
    if len(classes) > IGNORE:
        raise PoolError(f"COCO must have at most 254 categories; got {len(classes) - 1}, {root}; split the file")
    read = DrawnMasks(drawings, crowd)
    marked = tuple(range(1, len(classes)))
    return checked(Dataset("coco", classes, classes[1:], marked, False, tuple(samples), read), root, _REMEDY)


def _load(path: Path) -> dict[str, Any]:
    text = read_text(path, "the annotations of COCO", _REMEDY)
    try:
        content = json.loads(text)
        if not all(isinstance(content[key], list) for key in ("images", "annotations", "categories")):
            raise TypeError("images, annotations and categories must be lists")
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise PoolError(f"annotations of COCO cannot be read, {path}: {exc!r}; replace the file") from exc
    return dict(content)


def _read_split(
    root: Path,
    path: Path,
    folder: str,
    split: str,
    content: dict[str, Any],
    drawings: dict[str, Drawing],
    category_ids: list[int],
    broken: str,
) -> list[Sample]:
    places = [p for p in (root / folder, root / "images" / folder) if p.is_dir()]
    if not places:
        raise PoolError(f"the pictures of COCO are missing, {root / folder}; {_REMEDY}")
    class_of = {key: i for i, key in enumerate(category_ids, 1)}
    shapes: dict[int, list[Shape]] = {}
    samples, missing = [], []
    number: Any = None
    try:
        for annotation in content["annotations"]:
            number = annotation.get("id")
            shape = _shape(annotation, class_of)
            shapes.setdefault(int(annotation["image_id"]), []).append(shape)
        for image in content["images"]:
            number = image.get("id")
            key, name = int(image["id"]), str(image["file_name"])
            size = int(image["height"]), int(image["width"])
            if min(size) < 1 or Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"{name} of {size[1]} x {size[0]}")
            picture = places[0] / name
            if not picture.is_file():
                missing.append(picture)
                continue
            mask = path / str(key)
            if str(mask) in drawings:
                raise PoolError(f"image {key} occurs twice in {path}; remove one")
            drawings[str(mask)] = Drawing(size, tuple(shapes.get(key, ())))
            tags = tuple(sorted({s.class_id - 1 for s in shapes.get(key, ())}))
            samples.append(Sample(f"{folder}/{name}", picture, mask, tags, split))
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        if isinstance(exc, AlsegError):
            raise
        raise PoolError(f"image or annotation {number} of {path} is wrong: {exc!r}; correct or remove it") from exc
    if missing and broken == "error":
        raise PoolError(
            f"{len(missing):,} pictures of COCO are missing, the first is {missing[0]}; {_REMEDY}, or pass broken=skip"
        )
    if missing:
        log.warning("%s: %d images left out, their files are missing, the first is %s", path, len(missing), missing[0])
    return samples


def _shape(annotation: Mapping[str, Any], class_of: Mapping[int, int]) -> Shape:
    category = int(annotation["category_id"])
    if category not in class_of:
        raise ValueError(f"category {category} is not in the list of categories")
    segmentation = annotation["segmentation"]
    polygons: tuple[npt.NDArray[np.float32], ...] = ()
    counts: str | tuple[int, ...] | None = None
    if isinstance(segmentation, Mapping):
        given = segmentation["counts"]
        counts = given if isinstance(given, str) else tuple(int(v) for v in given)
    else:
        polygons = tuple(np.asarray(p, np.float32).reshape(-1, 2) for p in segmentation)
        if not all(np.isfinite(p).all() for p in polygons):
            raise ValueError("a polygon has a coordinate that is not finite")
    crowd = bool(annotation.get("iscrowd", 0))
    return Shape(class_of[category], float(annotation.get("area", 0.0)), crowd, polygons, counts)


def _inside(shape: Shape, size: tuple[int, int], path: Path) -> npt.NDArray[np.bool_]:
    if shape.counts is None:
        return fill_polygons(shape.polygons, size)
    if isinstance(shape.counts, str):
        try:
            return decode_rle(shape.counts, size)
        except DataError as exc:
            raise DataError(f"mask {path}: {exc} {REMEDY}") from exc
    counts = np.asarray(shape.counts, np.int64)
    if (counts < 0).any() or int(counts.sum()) != size[0] * size[1]:
        raise DataError(
            f"mask {path} has run lengths for {int(counts.sum()):,} pixels, the picture has {size[0] * size[1]:,}; "
            f"{REMEDY}"
        )
    values = np.repeat(np.arange(len(counts)) & 1, counts).astype(np.bool_)
    return np.ascontiguousarray(values.reshape(size[::-1]).T)
