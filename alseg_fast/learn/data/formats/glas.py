"""GlaS (Warwick QU): glands in benign and malignant colon tissue. Sirinukunwattana et al., 2017.

Two layouts: the release of 2016-07-08, `train_N.bmp`, `testA_N.bmp`, `testB_N.bmp` with `<stem>_anno.bmp` and
`Grade.csv` in one folder; and `(train|test)/img/N.png`, `(train|test)/labelcol/N.png` with `labels.csv` (split, file,
original_name, grade, patient). The image_id is the original stem (`testA_7`) in both, the group is the patient.
Masks number the glands: the class is gland where the value is not 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....errors import PoolError
from ..dataset import Dataset, Sample
from ..label_images import read_numbers
from .layout import checked, keep_found, need_folder, pictures_in, read_csv

TAGS = ("benign", "malignant")
_REMEDY = "give the folder of the Warwick QU release (train_1.bmp, Grade.csv) or one with train/img and labels.csv"


def read_glas(root: Path, *, broken: str = "error") -> Dataset:
    """Classes background and gland; one tag an image, benign or malignant, both of which mark the class gland.

    Args:
        broken: what happens to a picture without its mask file: "error", or "skip" the image.
    Raises: PoolError that names the file and what to do.
    """
    need_folder(root, "the folder of GlaS", _REMEDY)
    samples = _png_layout(root) if (root / "labels.csv").exists() else _original_layout(root)
    kept = keep_found(samples, root, broken, _REMEDY)
    dataset = Dataset("glas", ("background", "gland"), TAGS, (1, 1), True, kept, read_instances)
    return checked(dataset, root, _REMEDY)


def read_instances(path: Path) -> npt.NDArray[np.uint8]:
    """1 where a gland of any number is, else 0."""
    glands: npt.NDArray[np.uint8] = (read_numbers(path) != 0).astype(np.uint8)
    return glands


def _tag(grade: str, image_id: str, path: Path) -> tuple[int, ...]:
    if grade not in TAGS:
        raise PoolError(f"grade of {image_id} must be benign or malignant; got {grade!r}, {path}; correct the table")
    return (TAGS.index(grade),)


def _original_layout(root: Path) -> list[Sample]:
    path = root / "Grade.csv"
    samples = []
    for row in read_csv(path, "the table of grades of GlaS", _REMEDY):
        stem, patient, grade, *_ = (*row.values(), "", "")
        prefix = stem.partition("_")[0]
        if prefix not in ("train", "testA", "testB"):
            raise PoolError(f"name {stem!r} is none of train_N, testA_N, testB_N, {path}; correct the table")
        samples.append(
            Sample(
                stem,
                root / f"{stem}.bmp",
                root / f"{stem}_anno.bmp",
                _tag(grade, stem, path),
                "train" if prefix == "train" else "test",
                group=patient or None,
            )
        )
    return samples


def _png_layout(root: Path) -> list[Sample]:
    path = root / "labels.csv"
    rows = {}
    for row in read_csv(path, "the table of labels of GlaS", _REMEDY):
        lost = [column for column in ("split", "file", "original_name", "grade") if column not in row]
        if lost:
            raise PoolError(f"no column {lost[0]}, {path}; add it")
        rows[row["split"], row["file"]] = row
    samples = []
    for split in ("train", "test"):
        for image in pictures_in(need_folder(root / split / "img", f"{split} pictures of GlaS", _REMEDY)):
            found = rows.get((split, image.name))
            if found is None:
                raise PoolError(f"no row for {split}/img/{image.name}, {path}; add it or remove the picture")
            name = found["original_name"]
            tags = _tag(found["grade"], name, path)
            mask = root / split / "labelcol" / f"{image.stem}.png"
            samples.append(Sample(name, image, mask, tags, split, group=found.get("patient") or None))
    return samples
