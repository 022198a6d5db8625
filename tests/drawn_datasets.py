"""Tiny folders in the layouts of published data sets, drawn for the tests."""

import json

import numpy as np
from PIL import Image

from alseg_fast.learn.data.dataset import Dataset, Sample
from alseg_fast.learn.data.label_images import read_ids

SIZE = (24, 32)


def save(path, array, palette=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(array, np.uint8))
    if palette is not None:
        image.putpalette(palette)
    image.save(path)
    return path


def picture(seed=0, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def blocks(*ids, size=SIZE):
    """A mask of vertical stripes with these ids."""
    edges = np.linspace(0, size[1], len(ids) + 1).astype(int)
    mask = np.zeros(size, np.uint8)
    for value, first, last in zip(ids, edges, edges[1:], strict=False):
        mask[:, first:last] = value
    return mask


def write_text(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def glas(root):
    """The original release: two of each kind in train, one of each in testA and testB."""
    rows = ["name, patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"]
    names = ["train_1", "train_2", "train_3", "train_10", "testA_1", "testB_1"]
    for i, name in enumerate(names):
        save(root / f"{name}.bmp", picture(i))
        save(root / f"{name}_anno.bmp", blocks(0, 1, 0, i + 2))
        rows.append(f" {name}, {i // 2 + 1}, {'benign' if i % 2 else 'malignant'}, detail")
    write_text(root / "Grade.csv", *rows)
    return root


def cub(root):
    home = root / "CUB_200_2011"
    write_text(home / "classes.txt", "1 001.Black_footed_Albatross", "2 002.Laysan_Albatross")
    files = [f"{c}/{c[4:]}_{i}.jpg" for c in ("001.Black_footed_Albatross", "002.Laysan_Albatross") for i in (1, 2)]
    write_text(home / "images.txt", *(f"{i} {file}" for i, file in enumerate(files, 1)))
    write_text(home / "image_class_labels.txt", "1 1", "2 1", "3 2", "4 2")
    write_text(home / "train_test_split.txt", "1 1", "2 0", "3 1", "4 0")
    for i, file in enumerate(files):
        save(home / "images" / file, picture(i))
        save((root / "segmentations" / file).with_suffix(".png"), blocks(0, 51, 127, 128, 255))
    return root


def cityscapes(root, kind="labelIds"):
    for split, city, frame in (("train", "ulm", 1), ("train", "ulm", 2), ("val", "lindau", 3), ("test", "bonn", 4)):
        name = f"{city}_000000_{frame:06d}"
        save(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", picture(frame))
        ids = blocks(7, 26, 0, 33, 255) if kind == "labelIds" else blocks(0, 13, 255, 18, 255)
        save(root / "gtFine" / split / city / f"{name}_gtFine_{kind}.png", ids)
    return root


MAPILLARY_LABELS = (
    ("animal--bird", True),
    ("construction--flat--road", True),
    ("marking--general", True),
    ("object--vehicle--car", True),
    ("void--unlabeled", False),
    ("nature--sky", True),
)


def mapillary(root, version="v1.2"):
    config = {"labels": [{"name": n, "readable": n, "evaluate": e, "color": [0, 0, 0]} for n, e in MAPILLARY_LABELS]}
    write_text(root / ("config.json" if version == "v1.2" else "config_v2.0.json"), json.dumps(config))
    for folder in ("training", "validation", "testing"):
        save(root / folder / "images" / f"{folder}.jpg", picture(1))
        labels = root / folder / "labels" if version == "v1.2" else root / folder / "v2.0" / "labels"
        if folder != "testing":
            save(labels / f"{folder}.png", blocks(1, 2, 3, 4, 5), palette=list(range(18)))
    return root


def voc(root):
    home = root / "VOC2012"
    for i, image_id in enumerate(("2007_000001", "2007_000002", "2007_000003")):
        save(home / "JPEGImages" / f"{image_id}.jpg", picture(i))
    palette = [(37 * i) % 256 for i in range(768)]
    save(home / "SegmentationClass" / "2007_000001.png", blocks(0, 15, 255, 20), palette=palette)
    save(home / "SegmentationClass" / "2007_000002.png", blocks(0, 1), palette=palette)
    lists = home / "ImageSets" / "Segmentation"
    write_text(lists / "train.txt", "2007_000001")
    write_text(lists / "val.txt", "2007_000002")
    write_text(lists / "trainaug.txt", "2007_000001", "2007_000003")
    objects = "<object><name>dog</name><difficult>1</difficult></object><object><name>cat</name></object>"
    write_text(home / "Annotations" / "2007_000003.xml", f"<annotation>{objects}</annotation>")
    return root


def coco(root):
    for split in ("train", "val"):
        folder = root / f"{split}2017"
        save(folder / "000000000007.jpg", picture(7))
        save(folder / "000000000008.jpg", picture(8))
        content = {
            "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}],
            "images": [
                {"id": i, "file_name": f"{i:012d}.jpg", "height": SIZE[0], "width": SIZE[1]} for i in (7, 8)
            ],
            "annotations": [
                {"id": 1, "image_id": 7, "category_id": 90, "area": 16, "iscrowd": 0,
                 "segmentation": [[4, 4, 8, 4, 8, 8, 4, 8]]},
                {"id": 2, "image_id": 7, "category_id": 1, "area": 256, "iscrowd": 0,
                 "segmentation": [[2, 2, 18, 2, 18, 18, 2, 18]]},
                {"id": 3, "image_id": 7, "category_id": 1, "area": 48, "iscrowd": 1,
                 "segmentation": {"counts": [SIZE[0] * (SIZE[1] - 2), SIZE[0] * 2], "size": list(SIZE)}},
            ],
        }  # fmt: skip
        write_text(root / "annotations" / f"instances_{split}2017.json", json.dumps(content))
    return root


def camvid(root):
    for split, n in (("train", 2), ("val", 1), ("test", 1)):
        for i in range(n):
            save(root / split / f"0001TP_{i:06d}.png", picture(i))
            save(root / f"{split}annot" / f"0001TP_{i:06d}.png", blocks(0, 3, 11, 10))
    return root


def ccp(root, n=4):
    from scipy.io import savemat

    names = np.array([["null", "bag", "shoes", "skin"]], dtype=object)
    root.mkdir(parents=True, exist_ok=True)
    savemat(root / "label_list.mat", {"label_list": names})
    for i in range(1, n + 1):
        save(root / "photos" / f"{i:04d}.jpg", picture(i))
        path = root / "annotations" / "pixel-level" / f"{i:04d}.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        savemat(path, {"groundtruth": blocks(0, 3, 1 if i % 2 else 2)})
    save(root / "photos" / f"{n + 1:04d}.jpg", picture(n + 1))
    path = root / "annotations" / "image-level" / f"{n + 1:04d}.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"tags": np.array([[0], [2], [1]], np.uint8)})
    return root


def discs(root, n=8, *, size=(40, 60), tags=("low", "high"), masks=True):
    """A data set of n pictures whose red channel is above 127 exactly where the mask is 1; one tag an image."""
    samples = []
    for i in range(n):
        rng = np.random.default_rng(i)
        y, x = np.mgrid[: size[0], : size[1]]
        inside = (y - size[0] * rng.uniform(0.3, 0.7)) ** 2 + (x - size[1] * rng.uniform(0.3, 0.7)) ** 2 < 12**2
        image = rng.integers(0, 100, (*size, 3), np.uint8)
        image[..., 0] = np.where(inside, 220, 30)
        image_path = save(root / f"{i}.png", image)
        mask = save(root / "masks" / f"{i}.png", inside) if masks else None
        samples.append(Sample(f"{i}", image_path, mask, (i % len(tags),), "train", group=f"g{i // 2}"))
    return Dataset("discs", ("background", "disc"), tags, (1,) * len(tags), True, tuple(samples), read_ids)
