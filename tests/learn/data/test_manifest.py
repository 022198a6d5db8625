"""A manifest of a pool as a data set."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import drawn_datasets as drawn

pytest.importorskip("torch")

from alseg_fast.errors import DataError, PoolError, UsageError
from alseg_fast.learn.data.pictures import read_mask
from alseg_fast.learn.data.readers import read_dataset


def write(root, rows, name="pool.jsonl"):
    for i, row in enumerate(rows):
        drawn.save(root / f"{i}.png", drawn.picture(i))
        drawn.save(root / "masks" / f"{i}.png", drawn.blocks(0, 1 + i % 2, 255))
        row.setdefault("image_id", f"i{i}")
        row.setdefault("uri", f"{i}.png")
    path = root / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_labels_as_lists_and_texts(tmp_path):
    rows = [
        {"label": "cat,dog", "mask_uri": "masks/0.png", "split": "training", "group": "a"},
        {"label": "dog"},
        {"label": None, "split": "valid"},
    ]
    path = write(tmp_path, rows)
    with pytest.raises(UsageError, match="classes must name the ids of the masks in order; got none for 2 tags"):
        read_dataset("manifest", path)
    found = read_dataset("manifest", path, classes=("background", "cat", "dog"))
    assert found.classes == ("background", "cat", "dog")
    assert (found.tag_names, found.class_of_tag, found.single_tag) == (("cat", "dog"), (1, 2), False)
    assert [(s.image_id, s.tags, s.split, s.group) for s in found.samples] == [
        ("i0", (0, 1), "train", "a"),
        ("i1", (1,), "train", None),
        ("i2", (), "val", None),
    ]
    np.testing.assert_array_equal(read_mask(found, found.samples[0]), drawn.blocks(0, 1, 255))
    assert found.samples[1].mask is None
    lists = write(tmp_path, [{"label": ["dog", "cat"]}, {"label": ["cat"]}, {"label": []}], "lists.jsonl")
    assert [s.tags for s in read_dataset("manifest", lists).samples] == [(0, 1), (0,), ()]


def test_tags_from_masks(tmp_path):
    path = write(tmp_path, [{"mask_uri": f"masks/{i}.png"} for i in range(3)])
    found = read_dataset("manifest", path, classes=("ground", "one", "two"), tags="masks")
    assert found.tag_names == ("one", "two")
    assert [s.tags for s in found.samples] == [(0,), (1,), (0,)]
    with pytest.raises(DataError, match=r"masks/1.png has .* of id 2; manifest has the ids 0 .. 1"):
        read_dataset("manifest", path, classes=("ground", "one"), tags="masks")


def test_tags_that_mark_another_class(tmp_path):
    path = write(tmp_path, [{"label": "benign, mild"}, {"label": "malignant"}])
    one = read_dataset("manifest", path, classes=("background", "gland"), single_tag=True)
    assert one.tag_names == ("benign, mild", "malignant")
    assert one.class_of_tag == (1, 1)
    three = ("background", "gland", "fat")
    with pytest.raises(UsageError, match="which class the tag 'benign, mild' marks"):
        read_dataset("manifest", path, classes=three, single_tag=True)
    mapped = {"benign, mild": "fat", "malignant": "gland"}
    assert read_dataset("manifest", path, classes=three, single_tag=True, class_of_tag=mapped).class_of_tag == (2, 1)
    with pytest.raises(UsageError, match="class_of_tag must map tags"):
        read_dataset("manifest", path, classes=three, single_tag=True, class_of_tag={"x": "fat"})


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"label": "a", "split": "later"}], {}, "split of image i0 must be train, val or test; got 'later'"),
        ([{"label": "a,b"}, {"label": None}], {"single_tag": True}, "image i1 has 0 labels, single_tag needs one"),
        ([{"label": "a"}], {"tag_names": ("b",)}, "label 'a' of image i0 is none of tag_names"),
        (
            [{"label": "a", "uri": "https://example.org/a.png"}],
            {},
            r"scheme https:// is not allowed \(allowed: file, local\)",
        ),
        ([{"label": "a", "uri": "tar://a.png::a.tar"}], {}, "lies at tar://.*unpack it"),
        ([{"label": "a", "uri": "gone.png"}], {}, "missing, the first is .*gone.png"),
        ([{"label": "a", "mask_uri": "gone.png"}], {}, "missing, the first is .*gone.png"),
        ([{"label": "a"}, {"label": "a", "image_id": "i0"}], {}, "i0"),
    ],
)
def test_broken_manifests_are_named(tmp_path, rows, options, message):
    with pytest.raises(PoolError, match=message):
        read_dataset("manifest", write(tmp_path, rows), **options)


def test_a_manifest_without_labels_says_so(tmp_path):
    with pytest.raises(UsageError, match=r"classes must be 2 .. 255 different names; got 1"):
        read_dataset("manifest", write(tmp_path, [{}]))


def test_a_manifest_of_pseudo_labels_names_the_ids_of_its_masks(tmp_path):
    write(tmp_path, [{}, {}])
    table = pa.table(
        {
            "image_id": ["a", "b"],
            "uri": ["0.png", "1.png"],
            "label": ["cat,dog", "dog"],
            "mask_uri": ["masks/0.png", "masks/1.png"],
        }
    )
    noted = json.dumps({"labels": ["background", "dog", "cat"]}).encode()
    pq.write_table(table.replace_schema_metadata({"alseg.pseudo_label": noted}), tmp_path / "manifest.parquet")
    found = read_dataset("manifest", tmp_path / "manifest.parquet")
    assert (found.classes, found.tag_names, found.class_of_tag) == (
        ("background", "dog", "cat"),
        ("cat", "dog"),
        (2, 1),
    )
