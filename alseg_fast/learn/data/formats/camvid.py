"""CamVid in the layout of SegNet: `{train,val,test}/NAME.png` and `{train,val,test}annot/NAME.png`, same names.

Brostow et al., 2008; 11 classes and 11 = not labelled. There are no image tags: they are the classes in the mask.
The group is the sequence, the part of the name before the frame number (`0016E5`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..dataset import IGNORE, Dataset, Sample
from ..label_images import read_ids
from ..mask_tags import with_mask_tags
from .layout import checked, keep_found, need_folder, pictures_in

CLASSES: tuple[str, ...] = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
UNLABELLED = 11
_REMEDY = "give the folder that holds train, trainannot, val, valannot, test and testannot"


def read_camvid(root: Path, *, min_pixels: int = 1, tags_file: str | None = None, broken: str = "error") -> Dataset:
    """11 classes, none of them a background; any number of tags an image, derived from the masks.

    Args:
        min_pixels: a class with fewer pixels in the mask is not tagged.
        tags_file: a file that keeps what was read from the masks, for the next time; None: nothing is kept.
        broken: "error", or "skip" images whose mask is missing or cannot be used.
    Raises: PoolError, DataError that name the file and what to do.
    """
    need_folder(root, "the folder of CamVid", _REMEDY)
    samples = []
    for split in ("train", "val", "test"):
        if split != "train" and not (root / split).is_dir():
            continue
        for image in pictures_in(need_folder(root / split, "train pictures of CamVid", _REMEDY)):
            mask = root / f"{split}annot" / image.name
            samples.append(Sample(f"{split}/{image.name}", image, mask, (), split, group=image.stem.partition("_")[0]))
    kept = keep_found(samples, root, broken, _REMEDY)
    marked = tuple(range(len(CLASSES)))
    kept = with_mask_tags(
        kept, read_mask, marked, CLASSES, name="camvid", min_pixels=min_pixels, tags_file=tags_file, broken=broken
    )
    return checked(Dataset("camvid", CLASSES, CLASSES, marked, False, kept, read_mask), root, _REMEDY)


def read_mask(path: Path) -> npt.NDArray[np.uint8]:
    """Class ids; 11 becomes `IGNORE`. Ids above 11 stay, and are refused where ids are checked."""
    mask = read_ids(path)
    return np.where(mask == UNLABELLED, np.uint8(IGNORE), mask)
