"""PASCAL VOC 2012: 20 kinds of things and background. Everingham et al., 2010.

`ImageSets/Segmentation/<list>.txt`, `JPEGImages/ID.jpg`, `SegmentationClass/ID.png` (palette, 255 = void) and
`Annotations/ID.xml`. `root` is the folder VOC2012 or one above it (VOCdevkit). With the usual addition of SBD
(Hariharan et al., 2011), `SegmentationClassAug/ID.png` and a list `trainaug`, choose train_list="trainaug".
A folder without ImageSets, such as small exports of annotation tools, is read as one split, "train"; its class names
come from `class_names.txt` where that is there.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from ....checks import check_choice
from ....errors import DataError, PoolError
from ..dataset import Dataset, Sample
from ..label_images import REMEDY, read_ids
from ..mask_tags import with_mask_tags
from .layout import checked, keep_found, need_folder, pictures_in, read_text

CLASSES: tuple[str, ...] = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_REMEDY = "give the folder VOC2012, which holds ImageSets, JPEGImages and SegmentationClass"
_MAX_XML_BYTES = 1 << 20


def read_voc(
    root: Path,
    *,
    train_list: str = "train",
    val_list: str = "val",
    test_list: str = "test",
    tags: str = "xml",
    difficult: bool = True,
    min_pixels: int = 1,
    tags_file: str | None = None,
    broken: str = "error",
) -> Dataset:
    """21 classes, 0 = background; any number of the 20 tags an image.

    Args:
        train_list, val_list, test_list: lists in ImageSets/Segmentation; one of val and test that is missing gives an
            empty split. An image of two lists belongs to the first. Images without a mask file have no mask.
        tags: "xml": of the objects in Annotations, from the mask where it gives none; "masks": from the mask.
        difficult: objects marked difficult count as present.
        min_pixels: a class with fewer pixels in the mask is not tagged (only where tags come from masks).
        tags_file: a file that keeps what was read from the masks, for the next time; None: nothing is kept.
        broken: "error", or "skip" images whose picture is missing or whose annotation cannot be used.
    Raises: PoolError, DataError that name the file and what to do.
    """
    check_choice("read_dataset", "tags", tags, ("xml", "masks"))
    home = root / "VOC2012" if (root / "VOC2012").is_dir() else root
    pictures = need_folder(home / "JPEGImages", "the pictures of PASCAL VOC", _REMEDY)
    classes = CLASSES
    if (home / "ImageSets").is_dir():
        lists = home / "ImageSets" / "Segmentation"
        named = _listed(lists, {"train": train_list, "val": val_list, "test": test_list})
    else:
        named = {image.stem: "train" for image in pictures_in(pictures, (".jpg",))}
        if (home / "class_names.txt").is_file():
            text = read_text(home / "class_names.txt", "the list of class names", _REMEDY)
            classes = tuple(line.strip().strip("_") for line in text.splitlines() if line.strip())
    folders = [home / "SegmentationClassAug", home / "SegmentationClass"]
    samples = [_sample(home, folders, image_id, split) for image_id, split in named.items()]
    kept = keep_found(samples, home, broken, _REMEDY)
    class_of_tag = tuple(range(1, len(classes)))
    if tags == "xml":
        kept = _with_xml_tags(kept, home / "Annotations", classes[1:], difficult)
    kept = with_mask_tags(
        kept, read_ids, class_of_tag, classes, name="voc", min_pixels=min_pixels, tags_file=tags_file, broken=broken
    )
    return checked(Dataset("voc", classes, classes[1:], class_of_tag, False, kept, read_ids), home, _REMEDY)


def _listed(folder: Path, lists: dict[str, str]) -> dict[str, str]:
    named: dict[str, str] = {}
    for split, name in lists.items():
        path = folder / f"{name}.txt"
        if split != "train" and not path.is_file():
            continue
        for line in read_text(path, "a list of PASCAL VOC", _REMEDY).split():
            # Lists of SBD write /JPEGImages/ID.jpg /SegmentationClassAug/ID.png
            if not line.endswith(".png"):
                named.setdefault(Path(line).stem, split)
    return named


def _sample(home: Path, folders: list[Path], image_id: str, split: str) -> Sample:
    masks = [p for p in (folder / f"{image_id}.png" for folder in folders) if p.is_file()]
    return Sample(image_id, home / "JPEGImages" / f"{image_id}.jpg", masks[0] if masks else None, (), split)


def _with_xml_tags(
    samples: tuple[Sample, ...], folder: Path, names: tuple[str, ...], difficult: bool
) -> tuple[Sample, ...]:
    return tuple(
        Sample(s.image_id, s.image, s.mask, _objects(folder / f"{s.image_id}.xml", names, difficult), s.split)
        for s in samples
    )


def _objects(path: Path, names: tuple[str, ...], difficult: bool) -> tuple[int, ...]:
    """Tags of the objects in an annotation; () without such a file. Raises: DataError, PoolError."""
    if not path.is_file():
        return ()
    try:
        text = path.read_bytes()
        if len(text) > _MAX_XML_BYTES or b"<!" in text:
            raise DataError(f"annotation {path} is above {_MAX_XML_BYTES:,} bytes or declares entities; {REMEDY}")
        objects = ElementTree.fromstring(text).findall("object")
    except (OSError, ElementTree.ParseError) as exc:
        raise DataError(f"annotation {path} cannot be read: {exc}; {REMEDY}") from exc
    tags = set()
    for thing in objects:
        name = (thing.findtext("name") or "").strip()
        if name not in names:
            raise PoolError(f"annotation {path} has the class {name!r}, which PASCAL VOC does not have; correct it")
        if difficult or (thing.findtext("difficult") or "0").strip() != "1":
            tags.add(names.index(name))
    return tuple(sorted(tags))
