"""Clothing Co-Parsing: street fashion, 59 classes. Yang, Luo and Lin, CVPR 2014.

`photos/NNNN.jpg`, `annotations/pixel-level/NNNN.mat` (groundtruth, [H, W] ids 0 .. 58),
`annotations/image-level/NNNN.mat` (tags, [n, 1] ids) and `label_list.mat`. Needs scipy, which reads MATLAB files.

The data set has no published split. Here a share of the images with masks is drawn as "test" by a seed, all others
are "train". Tags come from the image-level file where there is one, else from the mask.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import DataError, ModelError, PoolError
from ..dataset import Dataset, Sample
from ..label_images import REMEDY
from ..mask_tags import with_mask_tags
from .layout import check_share, checked, need_folder, pictures_in

_REMEDY = "give the folder that holds photos, annotations and label_list.mat"


def read_ccp(
    root: Path,
    *,
    test_share: float = 0.25,
    split_seed: int = 0,
    min_pixels: int = 1,
    tags_file: str | None = None,
    broken: str = "error",
) -> Dataset:
    """59 classes, 0 = background (the list calls it null); any number of tags an image, the background is none.

    Args:
        test_share: share of the images with masks that become "test"; rounded down.
        split_seed: draws them, from the images in the order of their names.
        min_pixels: a class with fewer pixels in the mask is not tagged (only where tags come from masks).
        tags_file: a file that keeps what was read from the masks, for the next time; None: nothing is kept.
        broken: "error", or "skip" images whose annotation cannot be used.
    Raises: PoolError, DataError that name the file and what to do.
    """
    need_folder(root, "the folder of Clothing Co-Parsing", _REMEDY)
    test_share = check_share("test_share", test_share)
    names = class_names(root / "label_list.mat")
    class_of_tag = tuple(range(1, len(names)))
    pixel, image_level = root / "annotations" / "pixel-level", root / "annotations" / "image-level"
    samples = []
    for image in pictures_in(need_folder(root / "photos", "the photos of Clothing Co-Parsing", _REMEDY)):
        mask, tags = pixel / f"{image.stem}.mat", image_level / f"{image.stem}.mat"
        stated = _stated_tags(tags, len(names)) if tags.is_file() else ()
        if not mask.is_file() and not tags.is_file():
            if broken == "skip":
                continue
            raise PoolError(f"photo {image} has neither mask nor tags; {_REMEDY}, or pass broken=skip to leave it out")
        samples.append(Sample(image.stem, image, mask if mask.is_file() else None, stated, "train"))
    tagged = with_mask_tags(
        samples, read_mask, class_of_tag, names, name="ccp", min_pixels=min_pixels, tags_file=tags_file, broken=broken
    )
    test = draw_test([s.image_id for s in tagged if s.mask is not None], test_share, split_seed)
    kept = tuple(replace(s, split="test") if s.image_id in test else s for s in tagged)
    return checked(Dataset("ccp", names, names[1:], class_of_tag, False, kept, read_mask), root, _REMEDY)


def draw_test(ids: list[str], share: float, seed: int) -> set[str]:
    """floor(share * n) of the ids, by a permutation of their order."""
    order = np.random.default_rng(np.random.SeedSequence([seed])).permutation(len(ids))
    return {ids[i] for i in order[: int(share * len(ids))]}


def class_names(path: Path) -> tuple[str, ...]:
    """Names in the order of their ids; the first is called background. Raises: PoolError."""
    if not path.is_file():
        raise PoolError(f"the list of labels is missing, {path}; {_REMEDY}")
    try:
        cells = load_mat(path, "label_list").ravel()
        names = tuple(str(np.asarray(cell).ravel()[0]).strip() for cell in cells)
    except (DataError, IndexError) as exc:
        raise PoolError(f"the list of labels cannot be read, {path}: {exc}; {_REMEDY}") from exc
    if not 2 <= len(names) <= 254:
        raise PoolError(f"the list of labels must have 2 .. 254 names; got {len(names)}, {path}; {_REMEDY}")
    return ("background", *names[1:])


def read_mask(path: Path) -> npt.NDArray[np.uint8]:
    """[H, W] ids of a MATLAB file. Raises: DataError."""
    array = load_mat(path, "groundtruth")
    if array.ndim != 2 or array.dtype.kind not in "iuf" or not array.size:
        raise DataError(f"mask {path} must hold [H, W] numbers; got {list(array.shape)} {array.dtype}; {REMEDY}")
    if (array < 0).any() or (array > 255).any() or (array != np.floor(array)).any():
        raise DataError(f"mask {path} must hold whole ids 0 .. 255; {REMEDY}")
    return np.ascontiguousarray(array, np.uint8)


def load_mat(path: Path, variable: str) -> npt.NDArray[Any]:
    """A variable of a MATLAB file. Raises: DataError that names the file; ModelError without scipy."""
    try:
        from scipy.io import loadmat
    except ImportError as exc:
        raise ModelError("reading MATLAB files needs scipy; install alseg-fast[train]") from exc
    try:
        content = loadmat(path, variable_names=[variable])
    except Exception as exc:  # the parser raises whatever it meets; all of it is about this file
        text = " ".join(str(exc).split()) or type(exc).__name__
        raise DataError(f"MATLAB file {path} cannot be read: {text}; {REMEDY}") from exc
    if variable not in content:
        raise DataError(f"MATLAB file {path} has no variable {variable}; {REMEDY}")
    return np.asarray(content[variable])


def _stated_tags(path: Path, n_classes: int) -> tuple[int, ...]:
    ids = np.unique(load_mat(path, "tags").ravel())
    if ids.dtype.kind not in "iuf" or (ids < 0).any() or (ids >= n_classes).any():
        raise DataError(f"tags of {path} must be ids 0 .. {n_classes - 1}; {REMEDY}")
    return tuple(int(i) - 1 for i in ids if i != 0)
