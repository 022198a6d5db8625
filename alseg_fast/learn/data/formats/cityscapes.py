"""Cityscapes, fine annotations: 19 classes of street scenes. Cordts et al., CVPR 2016.

`leftImg8bit/<split>/<city>/<city>_<seq>_<frame>_leftImg8bit.png` and
`gtFine/<split>/<city>/..._gtFine_labelTrainIds.png` or, where these were not made, `..._gtFine_labelIds.png`, whose
ids are mapped to the 19 classes that count. The image_id is `<city>_<seq>_<frame>`, the group `<city>_<seq>`. The
labels of the test split are not public: its files hold nothing, and are not used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....checks import check_choice
from ....errors import DataError, PoolError
from ..dataset import IGNORE, Dataset, Sample
from ..label_images import REMEDY, read_ids
from ..mask_tags import with_mask_tags
from .layout import checked, keep_found, need_folder, pictures_below

CLASSES: tuple[str, ...] = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The id in `labelIds` of each of the 19 classes; the ids 0 .. 33 have a meaning, the others of them are void."""

_REMEDY = "give the folder that holds leftImg8bit and gtFine"
_SUFFIX = "_leftImg8bit.png"
_TABLE = np.full(256, IGNORE, np.uint8)
_TABLE[list(LABEL_IDS)] = np.arange(len(LABEL_IDS))


def read_cityscapes(
    root: Path, *, tags: str = "masks", min_pixels: int = 1, tags_file: str | None = None, broken: str = "error"
) -> Dataset:
    """19 classes, none of them a background; void is 255; any number of tags an image.

    Args:
        tags: "masks": the classes that the mask shows, which reads every mask once; "none": no tag is known.
        min_pixels: a class with fewer pixels in the mask is not tagged.
        tags_file: a file that keeps what was read from the masks, for the next time; None: nothing is kept.
        broken: "error", or "skip" images whose mask is missing or cannot be used.
    Raises: PoolError, DataError that name the file and what to do.
    """
    check_choice("read_dataset", "tags", tags, ("masks", "none"))
    pictures = need_folder(root / "leftImg8bit", "the pictures of Cityscapes", _REMEDY)
    labels = need_folder(root / "gtFine", "the fine labels of Cityscapes", _REMEDY)
    samples = []
    for split in ("train", "val", "test"):
        if not (pictures / split).is_dir():
            continue
        for image in pictures_below(pictures / split, (_SUFFIX.lower(),)):
            name = image.name[: -len(_SUFFIX)]
            mask = None if split == "test" else _mask_of(labels / split / image.parent.name, name)
            samples.append(Sample(name, image, mask, (), split, group=name.rpartition("_")[0] or None))
    if not samples:
        raise PoolError(f"no pictures named *{_SUFFIX} in train, val or test, {pictures}; {_REMEDY}")
    kept = keep_found(samples, root, broken, _REMEDY)
    marked = tuple(range(len(CLASSES)))
    if tags == "masks":
        kept = with_mask_tags(
            kept,
            read_mask,
            marked,
            CLASSES,
            name="cityscapes",
            min_pixels=min_pixels,
            tags_file=tags_file,
            broken=broken,
        )
    return checked(Dataset("cityscapes", CLASSES, CLASSES, marked, False, kept, read_mask), root, _REMEDY)


def read_mask(path: Path) -> npt.NDArray[np.uint8]:
    """Ids of the 19 classes. Raises: DataError: an id that is none of the format."""
    ids = read_ids(path)
    if not path.name.endswith("_labelIds.png"):
        return ids
    # 255 is how the licence plate, id -1, is stored.
    strange = ids[(ids > 33) & (ids != 255)]
    if strange.size:
        raise DataError(f"mask {path} has {strange.size:,} pixels of id {strange[0]}; labelIds go to 33; {REMEDY}")
    mapped: npt.NDArray[np.uint8] = _TABLE[ids]
    return mapped


def _mask_of(folder: Path, name: str) -> Path:
    train_ids = folder / f"{name}_gtFine_labelTrainIds.png"
    return train_ids if train_ids.is_file() else folder / f"{name}_gtFine_labelIds.png"
