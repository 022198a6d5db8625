"""A manifest of a pool: Parquet, CSV or JSON lines with image_id, uri, and optional label, group, mask_uri, split.

Masks are one-channel PNGs of class ids, 255 where there is no label. Pictures and masks are files of this machine:
training reads them again and again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ....checks import check_choice
from ....errors import PoolError, UsageError
from ....stages.pool import open_pool
from ....stages.pseudo_label_files import METADATA as PSEUDO_LABELS
from ....stages.readers.uris import LOCAL_SCHEMES, local_path
from ..dataset import IGNORE, Dataset, Sample
from ..label_images import read_ids
from ..mask_tags import with_mask_tags
from .layout import checked, keep_found

_REMEDY = "correct the manifest"
_SPLITS = ("train", "val", "test")
_SPLIT_NAMES = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}


def read_manifest(
    root: Path,
    *,
    classes: Sequence[str] = (),
    tag_names: Sequence[str] | None = None,
    class_of_tag: Mapping[str, str] | None = None,
    tags: str = "label",
    single_tag: bool = False,
    min_pixels: int = 1,
    tags_file: str | None = None,
    broken: str = "error",
) -> Dataset:
    """A data set of your own.

    Args:
        root: the manifest.
        classes: names of the segmentation classes; the index is the id in the masks, 0 the background. None given:
            those that `alseg pseudo-label` noted in its manifest; without masks, or with one
            tag, background and one class a tag. Masks of several classes need them: the order of their ids is not
            to be guessed.
        tag_names: names of the image tags; None: with tags="label" the labels in alphabetical order, with
            tags="masks" all classes but the first.
        class_of_tag: tag -> class that its activation map marks; None: the class of the same name, or class 1 for all
            tags of a data set with two classes.
        tags: "label": the column label, a list or a text "a,b,c" (with single_tag one name as it stands); "masks": the
            classes that the mask shows, for images without a label.
        single_tag: exactly one tag an image.
        min_pixels: a class with fewer pixels in the mask is not tagged (only with tags="masks").
        tags_file: a file that keeps what was read from the masks, for the next time; None: nothing is kept.
        broken: "error", or "skip" images whose files are missing or whose mask cannot be used.
    Rows without a split are "train"; "validation", "valid", "training" and "testing" are understood.
    Raises: PoolError, DataError, UsageError that name the row, the file and what to do.
    """
    check_choice("read_dataset", "tags", tags, ("label", "masks"))
    columns = open_pool(root, allowed_schemes=LOCAL_SCHEMES).table.to_pydict()
    classes = tuple(classes) or _noted_classes(root)
    n = len(columns["image_id"])
    given = [_labels(value, single_tag) for value in columns.get("label", [None] * n)]
    if tag_names is None:
        found = sorted({name for labels in given for name in labels})
        tag_names = tuple(classes[1:]) if tags == "masks" and classes else tuple(found)
    tag_names = tuple(tag_names)
    if not classes and len(tag_names) > 1 and any(columns.get("mask_uri", ())):
        raise UsageError(
            f"read_dataset: classes must name the ids of the masks in order; got none for {len(tag_names)} tags. "
            f"Give data.options.classes, such as [background, {', '.join(tag_names)}] if these are the ids 0, 1, 2, ..."
        )
    classes = classes or ("background", *tag_names)
    if not 2 <= len(classes) <= IGNORE or len(set(classes)) < len(classes):
        raise UsageError(
            f"read_dataset: classes must be 2 .. 255 different names; got {len(classes)}. "
            "Name the ids of the masks, the background first, or give the images labels."
        )
    marked = _marked(tag_names, classes, class_of_tag)
    position = {name: i for i, name in enumerate(tag_names)}
    samples = []
    for i in range(n):
        image_id = columns["image_id"][i]
        unknown = [name for name in given[i] if name not in position]
        if unknown:
            raise PoolError(f"label {unknown[0]!r} of image {image_id} is none of tag_names, {root}; {_REMEDY}")
        if single_tag and len(given[i]) != 1:
            raise PoolError(f"image {image_id} has {len(given[i])} labels, single_tag needs one, {root}; {_REMEDY}")
        samples.append(
            Sample(
                image_id,
                _path(columns["uri"][i], image_id, root),
                _path(columns["mask_uri"][i], image_id, root) if columns.get("mask_uri", [None] * n)[i] else None,
                tuple(sorted({position[name] for name in given[i]})),
                _split(columns.get("split", [None] * n)[i], image_id, root),
                group=columns["group"][i] if "group" in columns else None,
            )
        )
    kept = keep_found(samples, root, broken, _REMEDY)
    if tags == "masks":
        kept = with_mask_tags(
            kept, read_ids, marked, classes, name="manifest", min_pixels=min_pixels, tags_file=tags_file, broken=broken
        )
    return checked(Dataset("manifest", classes, tag_names, marked, single_tag, kept, read_ids), root, _REMEDY)


def _noted_classes(root: Path) -> tuple[str, ...]:
    """Names of the ids, where the manifest was made by this engine and says them."""
    if root.suffix != ".parquet" or not root.is_file():
        return ()
    noted = (pq.read_schema(root).metadata or {}).get(PSEUDO_LABELS)
    return tuple(json.loads(noted)["labels"]) if noted else ()


def _labels(value: Any, single_tag: bool) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, (list, tuple)):
        return tuple(str(v) for v in value if v is not None)
    parts = [str(value)] if single_tag else str(value).split(",")
    return tuple(part.strip() for part in parts if part.strip())


def _marked(tags: Sequence[str], classes: Sequence[str], class_of_tag: Mapping[str, str] | None) -> tuple[int, ...]:
    chosen = dict(class_of_tag or {})
    wrong = [t for t, c in chosen.items() if t not in tags or c not in classes]
    if wrong:
        raise UsageError(
            f"read_dataset: class_of_tag must map tags ({', '.join(tags)}) to classes ({', '.join(classes)}); "
            f"got {wrong[0]!r}: {chosen[wrong[0]]!r}. Correct the name."
        )
    marked = []
    for tag in tags:
        name = chosen.get(tag, tag if tag in classes else classes[1] if len(classes) == 2 else None)
        if name is None:
            raise UsageError(
                f"read_dataset: class_of_tag must say which class the tag {tag!r} marks; classes are "
                f"{', '.join(classes)}. Give class_of_tag."
            )
        marked.append(list(classes).index(name))
    return tuple(marked)


def _path(uri: str, image_id: str, root: Path) -> Path:
    path = local_path(uri)
    if path is None:
        raise PoolError(f"image {image_id} lies at {uri}, manifest {root}; training needs a file of its own, unpack it")
    return Path(path)


def _split(value: str | None, image_id: str, root: Path) -> str:
    name = _SPLIT_NAMES.get((value or "train").strip().lower(), (value or "train").strip().lower())
    if name not in _SPLITS:
        raise PoolError(f"split of image {image_id} must be train, val or test; got {value!r}, {root}; {_REMEDY}")
    return name
