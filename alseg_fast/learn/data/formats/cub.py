"""Caltech-UCSD Birds-200-2011: 200 kinds of birds, one a picture. Wah et al., 2011.

`CUB_200_2011/` with `classes.txt`, `images.txt`, `image_class_labels.txt`, `train_test_split.txt` (1 = train) and
`images/<class>/<stem>.jpg`; `segmentations/<class>/<stem>.png`, a separate download, inside or beside that folder. The
grey value of a mask says how many annotators agreed; the published threshold is 127.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....errors import PoolError, UsageError
from ..dataset import Dataset, Sample
from ..label_images import read_grey
from .layout import checked, keep_found, need_folder, read_fields

_REMEDY = "give the folder that holds CUB_200_2011 and segmentations"


@dataclass(frozen=True)
class Agreement:
    """Masks of grey agreement as 0 and 1."""

    threshold: float

    def __call__(self, path: Path) -> npt.NDArray[np.uint8]:
        return (read_grey(path) > self.threshold).astype(np.uint8)


def read_cub(root: Path, *, threshold: float = 127.5, masks: bool = True, broken: str = "error") -> Dataset:
    """Classes background and bird; one tag an image of 200, all of which mark the class bird.

    Args:
        threshold: bird is where the grey value is above; 0 <= threshold < 255.
        masks: False reads the data set without the separate segmentations.
        broken: what happens to a listed image without its picture or mask: "error", or "skip" the image.
    Raises: PoolError that names the file and what to do.
    """
    if not 0 <= threshold < 255:
        raise UsageError(f"read_dataset: threshold must be in 0 <= threshold < 255; got {threshold}. Default: 127.5.")
    home = root / "CUB_200_2011" if (root / "CUB_200_2011").is_dir() else root
    need_folder(home, "the folder of CUB-200-2011", _REMEDY)
    drawn = None
    if masks:
        places = [p for p in (home / "segmentations", home.parent / "segmentations") if p.is_dir()]
        if not places:
            raise PoolError(
                f"segmentations are missing, {home / 'segmentations'}; unpack segmentations.tgz there, "
                "or pass masks=False"
            )
        drawn = places[0]
    classes = _table(home / "classes.txt")
    files, of_image, split_of = (
        _table(home / name) for name in ("images.txt", "image_class_labels.txt", "train_test_split.txt")
    )
    position = {key: i for i, key in enumerate(classes)}
    samples = []
    for key, file in files.items():
        tag, train = position.get(of_image.get(key, "")), split_of.get(key)
        if tag is None or train not in ("0", "1"):
            raise PoolError(
                f"image {key} ({file}) needs a class in image_class_labels.txt and 0 or 1 in train_test_split.txt, "
                f"{home}; {_REMEDY}"
            )
        mask = None if drawn is None else (drawn / file).with_suffix(".png")
        samples.append(Sample(file, home / "images" / file, mask, (tag,), "train" if train == "1" else "test"))
    kept = keep_found(samples, home, broken, _REMEDY)
    names = tuple(name.partition(".")[2].replace("_", " ") or name for name in classes.values())
    dataset = Dataset("cub", ("background", "bird"), names, (1,) * len(names), True, kept, Agreement(threshold))
    return checked(dataset, home, _REMEDY)


def _table(path: Path) -> dict[str, str]:
    rows = read_fields(path, "a list of CUB-200-2011", 2, _REMEDY)
    table = {row[0]: row[1].strip() for row in rows}
    if len(table) != len(rows):
        raise PoolError(f"a number occurs twice in a list of CUB-200-2011, {path}; remove one")
    return table
