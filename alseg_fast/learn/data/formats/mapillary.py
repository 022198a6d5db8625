"""Mapillary Vistas, v1.2 and v2.0: street scenes of the world. Neuhold et al., ICCV 2017.

`training/images/*.jpg` and `training/labels/*.png`, likewise `validation`, `testing/images`, with `config.json` (v1.x);
or `training/v2.0/labels/*.png` with `config_v2.0.json`, likewise v1.2 (the download of v2.0 has both). The values of a
label image are positions in the list "labels" of the config; labels with "evaluate": false have no class here (255).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ....checks import check_choice
from ....errors import DataError, PoolError, UsageError
from ..dataset import IGNORE, Dataset, Sample
from ..label_images import REMEDY, read_ids
from ..mask_tags import with_mask_tags
from .cityscapes import CLASSES as CITYSCAPES
from .layout import checked, keep_found, need_folder, pictures_in, read_text

_REMEDY = "give the folder that holds training, validation and config.json"
_SPLITS = {"training": "train", "validation": "val", "testing": "test"}
VERSIONS = ("auto", "v1.2", "v2.0")

TO_CITYSCAPES: Mapping[str, str] = {
    "construction--flat--road": "road",
    "construction--flat--crosswalk-plain": "road",
    "construction--flat--bike-lane": "road",
    "construction--flat--service-lane": "road",
    "construction--flat--parking": "road",
    "marking--general": "road",
    "marking--crosswalk-zebra": "road",
    "object--manhole": "road",
    "object--pothole": "road",
    "construction--flat--sidewalk": "sidewalk",
    "construction--flat--pedestrian-area": "sidewalk",
    "construction--flat--curb-cut": "sidewalk",
    "construction--barrier--curb": "sidewalk",
    "construction--structure--building": "building",
    "construction--barrier--wall": "wall",
    "construction--barrier--fence": "fence",
    "object--support--pole": "pole",
    "object--support--utility-pole": "pole",
    "object--traffic-light": "traffic light",
    "object--traffic-sign--front": "traffic sign",
    "nature--vegetation": "vegetation",
    "nature--terrain": "terrain",
    "nature--sand": "terrain",
    "nature--snow": "terrain",
    "nature--sky": "sky",
    "human--person": "person",
    "human--rider--bicyclist": "rider",
    "human--rider--motorcyclist": "rider",
    "human--rider--other-rider": "rider",
    "object--vehicle--car": "car",
    "object--vehicle--truck": "truck",
    "object--vehicle--bus": "bus",
    "object--vehicle--on-rails": "train",
    "object--vehicle--motorcycle": "motorcycle",
    "object--vehicle--bicycle": "bicycle",
}
"""A choice of this package: no mapping is published. Labels that are not named here become 255 (no label)."""


@dataclass(frozen=True)
class Lookup:
    """Label images with each value looked up; values beyond the list are an error."""

    table: bytes
    n_labels: int

    def __call__(self, path: Path) -> npt.NDArray[np.uint8]:
        ids = read_ids(path)
        if int(ids.max()) >= self.n_labels:
            raise DataError(
                f"mask {path} has the value {int(ids.max())}; its config has {self.n_labels} labels, from 0; {REMEDY}"
            )
        return np.frombuffer(self.table, np.uint8)[ids]


def read_mapillary(
    root: Path,
    *,
    version: str = "auto",
    mapping: str | Mapping[str, str] | None = None,
    tags: str = "masks",
    min_pixels: int = 1,
    tags_file: str | None = None,
    broken: str = "error",
) -> Dataset:
    """The evaluated labels as classes, none of them a background; any number of tags an image.

    Args:
        version: "v1.2" or "v2.0"; "auto": v2.0 where its config is there, else v1.2.
        mapping: None: the data set's own classes; "cityscapes": Cityscapes' 19 classes by `TO_CITYSCAPES`; or a
            mapping label name -> class name, whose classes come in the order of first mention. Labels that are not
            in the mapping become 255. Names that the config does not have are passed over in TO_CITYSCAPES (it serves
            both versions) and an error in a mapping of your own.
        tags: "masks": the classes that the mask shows, which reads every mask once; "none": no tag is known.
        min_pixels: a class with fewer pixels in the mask is not tagged.
        tags_file: a file that keeps what was read from the masks, for the next time; None: nothing is kept.
        broken: "error", or "skip" images whose mask is missing or cannot be used.
    Raises: PoolError, DataError, UsageError that name the file and what to do.
    """
    check_choice("read_dataset", "version", version, VERSIONS)
    check_choice("read_dataset", "tags", tags, ("masks", "none"))
    need_folder(root, "the folder of Mapillary Vistas", _REMEDY)
    config, version = _config_of(root, version)
    names, evaluated = _labels_of(config)
    classes, table = _classes_of(names, evaluated, mapping, config)
    samples = []
    for folder, split in _SPLITS.items():
        if folder != "training" and not (root / folder / "images").is_dir():
            continue
        images = need_folder(root / folder / "images", f"{folder} pictures of Mapillary Vistas", _REMEDY)
        versioned = root / folder / version / "labels"
        labels = versioned if versioned.is_dir() else root / folder / "labels"
        for image in pictures_in(images, (".jpg",)):
            mask = None if split == "test" else labels / f"{image.stem}.png"
            samples.append(Sample(image.stem, image, mask, (), split))
    kept = keep_found(samples, root, broken, _REMEDY)
    read = Lookup(table.tobytes(), len(names))
    marked = tuple(range(len(classes)))
    if tags == "masks":
        kept = with_mask_tags(
            kept,
            read,
            marked,
            classes,
            name="mapillary",
            variant=sha256(read.table).hexdigest()[:16],
            min_pixels=min_pixels,
            tags_file=tags_file,
            broken=broken,
        )
    return checked(Dataset("mapillary", classes, classes, marked, False, kept, read), root, _REMEDY)


def _config_of(root: Path, version: str) -> tuple[Path, str]:
    found = {v: root / f"config_{v}.json" for v in ("v2.0", "v1.2")}
    if version == "auto":
        version = next((v for v, path in found.items() if path.is_file()), "v1.2")
    path = found[version] if found[version].is_file() else root / "config.json"
    return path, version


def _labels_of(path: Path) -> tuple[list[str], list[bool]]:
    text = read_text(path, "the config of Mapillary Vistas", _REMEDY)
    try:
        labels: list[dict[str, Any]] = json.loads(text)["labels"]
        names, evaluated = [str(label["name"]) for label in labels], [bool(label["evaluate"]) for label in labels]
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise PoolError(
            f"config of Mapillary Vistas must be JSON with labels of name and evaluate, {path}: {exc!r}; replace it"
        ) from exc
    if not 1 <= len(names) <= 256 or not any(evaluated) or len(set(names)) < len(names):
        raise PoolError(f"config of Mapillary Vistas must have 1 .. 256 different labels, {path}; replace it")
    return names, evaluated


def _classes_of(
    names: list[str], evaluated: list[bool], mapping: str | Mapping[str, str] | None, path: Path
) -> tuple[tuple[str, ...], npt.NDArray[np.uint8]]:
    """Class names, and [256] label -> class."""
    table = np.full(256, IGNORE, np.uint8)
    if mapping is None:
        kept = [i for i, counts in enumerate(evaluated) if counts]
        if len(kept) >= IGNORE:
            raise PoolError(f"config of Mapillary Vistas must have fewer than 255 evaluated labels, {path}; replace it")
        table[kept] = np.arange(len(kept))
        return tuple(names[i] for i in kept), table
    if isinstance(mapping, str):
        check_choice("read_dataset", "mapping", mapping, ("cityscapes",))
        wanted, classes = TO_CITYSCAPES, CITYSCAPES
    else:
        wanted, classes = mapping, tuple(dict.fromkeys(mapping.values()))
        unknown = [name for name in mapping if name not in names]
        if unknown or not classes:
            raise UsageError(
                f"read_dataset: mapping must name labels of {path}; got {unknown[0] if unknown else 'none'}. "
                "Use the field name of the config."
            )
    for i, name in enumerate(names):
        if name in wanted:
            table[i] = classes.index(wanted[name])
    return classes, table
