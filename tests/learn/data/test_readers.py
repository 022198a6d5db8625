"""Published layouts, drawn small: what is read from them, and what is said of broken ones."""

import json

import numpy as np
import pytest
from PIL import Image

import drawn_datasets as drawn
from drawn_datasets import SIZE, blocks, save, write_text

pytest.importorskip("torch")

from alseg_fast.errors import DataError, PoolError, RangeError, UsageError
from alseg_fast.learn.data.formats import camvid, cityscapes, mapillary, voc
from alseg_fast.learn.data.label_images import read_ids
from alseg_fast.learn.data.pictures import read_image, read_mask
from alseg_fast.learn.data.readers import READERS, read_dataset


def masks(dataset):
    return {s.image_id: read_mask(dataset, s) for s in dataset.samples if s.mask is not None}


def facts(dataset):
    return [(s.image_id, s.split, tuple(dataset.tag_names[t] for t in s.tags)) for s in dataset.samples]


def test_glas_in_its_original_layout(tmp_path):
    found = read_dataset("glas", drawn.glas(tmp_path))
    assert facts(found) == [
        ("train_1", "train", ("malignant",)),
        ("train_2", "train", ("benign",)),
        ("train_3", "train", ("malignant",)),
        ("train_10", "train", ("benign",)),
        ("testA_1", "test", ("malignant",)),
        ("testB_1", "test", ("benign",)),
    ]
    assert [s.group for s in found.samples] == ["1", "1", "2", "2", "3", "3"]
    assert (found.classes, found.class_of_tag, found.single_tag) == (("background", "gland"), (1, 1), True)
    np.testing.assert_array_equal(masks(found)["testB_1"], blocks(0, 1, 0, 1))  # instance numbers become 1
    np.testing.assert_array_equal(read_image(found.samples[0]), drawn.picture(0))


def test_glas_as_png_folders(tmp_path):
    rows = ["split,file,original_name,grade,patient"]
    for split, name, original in (("train", "2", "train_2"), ("train", "10", "train_10"), ("test", "61", "testB_1")):
        save(tmp_path / split / "img" / f"{name}.png", drawn.picture())
        save(tmp_path / split / "labelcol" / f"{name}.png", blocks(0, 7))
        rows.append(f"{split},{name}.png,{original},benign,4")
    write_text(tmp_path / "labels.csv", *rows, "train,99.png,train_99,malignant,5")  # a row without a picture
    found = read_dataset("glas", tmp_path)
    assert [s.image_id for s in found.samples] == ["train_2", "train_10", "testB_1"]
    assert set(np.unique(masks(found)["train_2"])) == {0, 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: (r / "Grade.csv").unlink(), "table of grades of GlaS is missing"),
        (lambda r: (r / "Grade.csv").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
        (lambda r: (r / "Grade.csv").write_text(""), "is empty"),
        (lambda r: (r / "train_2_anno.bmp").unlink(), "1 listed files are missing.*train_2_anno.bmp"),
        (lambda r: write_text(r / "Grade.csv", "a,b,c", "train_1,1,odd"), "must be benign or malignant; got 'odd'"),
        (lambda r: write_text(r / "Grade.csv", "a,b,c", "other_1,1,benign"), "none of train_N, testA_N, testB_N"),
        (lambda r: write_text(r / "Grade.csv", "a,b,c", "train_1,1"), "row 2 has 2 of 3 columns"),
        (lambda r: write_text(r / "Grade.csv", "a,b,c", *["train_1,1,benign"] * 2), "'train_1' occurs twice"),
        (lambda r: write_text(r / "Grade.csv", "a,b,c"), "no images of glas found"),
    ],
)
def test_broken_glas_is_named(tmp_path, change, message):
    change(drawn.glas(tmp_path))
    with pytest.raises(PoolError, match=message):
        read_dataset("glas", tmp_path)


def test_listed_files_that_are_missing_can_be_skipped(tmp_path, caplog):
    (drawn.glas(tmp_path) / "train_2_anno.bmp").unlink()
    found = read_dataset("glas", tmp_path, broken="skip")
    assert len(found) == 5
    assert "1 images left out" in caplog.text


def test_cub(tmp_path):
    found = read_dataset("cub", drawn.cub(tmp_path))
    assert [(s.split, s.tags) for s in found.samples] == [
        ("train", (0,)),
        ("test", (0,)),
        ("train", (1,)),
        ("test", (1,)),
    ]
    assert found.tag_names == ("Black footed Albatross", "Laysan Albatross")
    first = next(iter(masks(found).values()))
    np.testing.assert_array_equal(first, blocks(0, 0, 0, 1, 1))  # above 127.5
    other = read_dataset("cub", tmp_path / "CUB_200_2011", threshold=50)
    np.testing.assert_array_equal(next(iter(masks(other).values())), blocks(0, 1, 1, 1, 1))
    assert all(s.mask is None for s in read_dataset("cub", tmp_path, masks=False).samples)


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("train_test_split.txt", ["1 1"], "image 2 .* needs a class .* and 0 or 1"),
        ("image_class_labels.txt", ["1 3", "2 1", "3 1", "4 1"], "image 1 .* needs a class"),
        ("images.txt", ["1"], "needs 2 fields a line, line 1 has 1"),
        ("classes.txt", ["1 a", "1 b"], "occurs twice"),
        ("images.txt", ["1 gone.jpg"], "missing, the first is .*gone.jpg"),
    ],
)
def test_broken_cub_is_named(tmp_path, name, lines, message):
    write_text(drawn.cub(tmp_path) / "CUB_200_2011" / name, *lines)
    with pytest.raises(PoolError, match=message):
        read_dataset("cub", tmp_path)


def test_cub_without_segmentations_says_so(tmp_path):
    drawn.cub(tmp_path)
    (tmp_path / "segmentations").rename(tmp_path / "elsewhere")
    with pytest.raises(PoolError, match=r"segmentations are missing.*masks=False"):
        read_dataset("cub", tmp_path)
    with pytest.raises(UsageError, match="threshold must be in 0 <= threshold < 255; got 300"):
        read_dataset("cub", tmp_path, threshold=300)


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
def test_cityscapes(tmp_path, kind):
    found = read_dataset("cityscapes", drawn.cityscapes(tmp_path, kind))
    assert facts(found)[0] == ("ulm_000000_000001", "train", ("road", "car", "bicycle"))
    assert [s.split for s in found.samples] == ["train", "train", "val", "test"]
    assert found.samples[0].group == "ulm_000000"
    assert found.samples[3].mask is None
    assert found.samples[3].tags == ()
    np.testing.assert_array_equal(masks(found)["lindau_000000_000003"], blocks(0, 13, 255, 18, 255))
    assert all(s.tags == () for s in read_dataset("cityscapes", tmp_path, tags="none").samples)


def test_the_19_classes_of_cityscapes():
    assert len(cityscapes.CLASSES) == len(set(cityscapes.LABEL_IDS)) == 19
    assert dict(zip(cityscapes.LABEL_IDS, cityscapes.CLASSES, strict=True))[24] == "person"


def test_an_id_out_of_range_ends_the_reading_or_leaves_the_image_out(tmp_path, caplog):
    path = drawn.cityscapes(tmp_path) / "gtFine" / "train" / "ulm" / "ulm_000000_000001_gtFine_labelIds.png"
    save(path, blocks(7, 34))
    with pytest.raises(DataError, match=r"ulm_000000_000001_gtFine_labelIds.png has .* of id 34; .*broken=skip"):
        read_dataset("cityscapes", tmp_path)
    assert len(read_dataset("cityscapes", tmp_path, broken="skip")) == 3
    assert "ulm_000000_000001 left out" in caplog.text


@pytest.mark.parametrize("version", ["v1.2", "v2.0"])
def test_mapillary(tmp_path, version):
    found = read_dataset("mapillary", drawn.mapillary(tmp_path, version))
    assert "void--unlabeled" not in found.classes
    assert len(found.classes) == 5
    np.testing.assert_array_equal(masks(found)["validation"], blocks(1, 2, 3, 255, 4))
    assert facts(found)[2] == ("testing", "test", ())
    mapped = read_dataset("mapillary", tmp_path, mapping="cityscapes")
    np.testing.assert_array_equal(masks(mapped)["training"], blocks(0, 0, 13, 255, 10))
    own = read_dataset("mapillary", tmp_path, mapping={"nature--sky": "up", "construction--flat--road": "down"})
    assert own.classes == ("up", "down")
    np.testing.assert_array_equal(masks(own)["training"], blocks(1, 255, 255, 255, 0))


def test_broken_mapillary_is_named(tmp_path):
    drawn.mapillary(tmp_path)
    with pytest.raises(UsageError, match=r"mapping must name labels of .*got road"):
        read_dataset("mapillary", tmp_path, mapping={"road": "road"})
    save(tmp_path / "training" / "labels" / "training.png", blocks(1, 6))
    with pytest.raises(DataError, match=r"training.png has the value 6; its config has 6 labels"):
        read_dataset("mapillary", tmp_path)
    (tmp_path / "config.json").write_text('{"labels": [{"name": "a"}]}')
    with pytest.raises(PoolError, match="must be JSON with labels of name and evaluate"):
        read_dataset("mapillary", tmp_path)
    assert set(mapillary.TO_CITYSCAPES.values()) == set(cityscapes.CLASSES)


def test_voc(tmp_path):
    found = read_dataset("voc", drawn.voc(tmp_path))
    assert facts(found) == [("2007_000001", "train", ("person", "tvmonitor")), ("2007_000002", "val", ("aeroplane",))]
    np.testing.assert_array_equal(masks(found)["2007_000001"], blocks(0, 15, 255, 20))
    more = read_dataset("voc", tmp_path / "VOC2012", train_list="trainaug")
    assert facts(more)[1] == ("2007_000003", "train", ("cat", "dog"))  # tags without a mask, from the annotation
    assert more.samples[1].mask is None
    easy = read_dataset("voc", tmp_path, train_list="trainaug", difficult=False)
    assert facts(easy)[1][2] == ("cat",)
    assert len(voc.CLASSES) == 21


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("<annotation><object><name>dragon</name></object></annotation>", PoolError, "class 'dragon'"),
        ("<annotation>", DataError, "2007_000003.xml cannot be read"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', DataError, "declares entities"),
    ],
)
def test_broken_annotations_of_voc_are_named(tmp_path, text, error, message):
    write_text(drawn.voc(tmp_path) / "VOC2012" / "Annotations" / "2007_000003.xml", text)
    with pytest.raises(error, match=message):
        read_dataset("voc", tmp_path, train_list="trainaug")


def test_a_missing_list_of_voc_is_named(tmp_path):
    drawn.voc(tmp_path)
    with pytest.raises(PoolError, match=r"list of PASCAL VOC is missing, .*nothing.txt"):
        read_dataset("voc", tmp_path, train_list="nothing")


def test_coco(tmp_path):
    found = read_dataset("coco", drawn.coco(tmp_path))
    assert found.classes == ("background", "person", "toothbrush")
    assert facts(found)[:2] == [
        ("train2017/000000000007.jpg", "train", ("person", "toothbrush")),
        ("train2017/000000000008.jpg", "train", ()),
    ]
    want = np.zeros(SIZE, np.uint8)
    want[:, -2:] = 255
    want[2:18, 2:18] = 1
    want[4:8, 4:8] = 2  # the smaller thing stays visible
    np.testing.assert_array_equal(masks(found)["train2017/000000000007.jpg"], want)
    assert not masks(found)["val2017/000000000008.jpg"].any()
    painted = masks(read_dataset("coco", tmp_path, crowd="paint"))["train2017/000000000007.jpg"]
    assert (painted[:, -2:] == 1).all()
    skipped = masks(read_dataset("coco", tmp_path, crowd="skip"))["train2017/000000000007.jpg"]
    assert not skipped[:, -2:].any()


def change_coco(root, change):
    path = drawn.coco(root) / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][0].update(category_id=5), "annotation 1 of .*category 5 is not in the list"),
        (lambda c: c["annotations"][1].update(segmentation=[[1, 2, 3]]), "annotation 2 of"),
        (lambda c: c["annotations"][1].update(segmentation=[[1, float("nan")]]), "not finite"),
        (lambda c: c["images"][0].update(file_name="../7.jpg"), "image or annotation 7 of"),
        (lambda c: c["images"].append(c["images"][0]), "image 7 occurs twice"),
        (lambda c: c["images"].append({**c["images"][0], "id": 9, "file_name": "9.jpg"}), "1 pictures .*9.jpg"),
        (lambda c: c.pop("categories"), "cannot be read"),
    ],
)
def test_broken_coco_is_named(tmp_path, change, message):
    change_coco(tmp_path, change)
    with pytest.raises(PoolError, match=message):
        read_dataset("coco", tmp_path)


@pytest.mark.parametrize("counts", [[5, 5], [SIZE[0] * SIZE[1] + 1, -1], "not run lengths", "5"])
def test_broken_run_lengths_of_coco_are_named(tmp_path, counts):
    change_coco(tmp_path, lambda c: c["annotations"][2].update(segmentation={"counts": counts, "size": SIZE}))
    found = read_dataset("coco", tmp_path)
    with pytest.raises(DataError, match=r"instances_train2017.json/7"):
        read_mask(found, found.samples[0])


def test_camvid(tmp_path):
    found = read_dataset("camvid", drawn.camvid(tmp_path))
    assert facts(found)[0] == ("train/0001TP_000000.png", "train", ("sky", "road", "bicyclist"))
    assert [s.split for s in found.samples] == ["train", "train", "val", "test"]
    np.testing.assert_array_equal(masks(found)["val/0001TP_000000.png"], blocks(0, 3, 255, 10))
    few = read_dataset("camvid", tmp_path, min_pixels=SIZE[0] * SIZE[1])
    assert all(s.tags == () for s in few.samples)
    save(tmp_path / "valannot" / "0001TP_000000.png", blocks(0, 12))
    with pytest.raises(DataError, match=r"valannot/0001TP_000000.png has .* of id 12"):
        read_dataset("camvid", tmp_path)


def test_ccp(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    found = read_dataset("ccp", drawn.ccp(tmp_path), test_share=0.5)
    assert found.classes == ("background", "bag", "shoes", "skin")
    by_id = {name: (split, tags) for name, split, tags in facts(found)}
    assert by_id["0001"][1] == ("bag", "skin")
    assert by_id["0005"] == ("train", ("bag", "shoes"))  # image-level tags, never in the test split
    assert sum(split == "test" for split, _ in by_id.values()) == 2
    again = read_dataset("ccp", tmp_path, test_share=0.5, split_seed=1)
    assert facts(found) == facts(read_dataset("ccp", tmp_path, test_share=0.5))
    assert len(again) == 5
    np.testing.assert_array_equal(masks(found)["0002"], blocks(0, 3, 2))

    path = tmp_path / "annotations" / "pixel-level" / "0001.mat"
    for content, message in ((b"no matlab", "cannot be read"), (None, "no variable groundtruth")):
        if content is None:
            scipy_io.savemat(path, {"other": 1})
        else:
            path.write_bytes(content)
        with pytest.raises(DataError, match=f"0001.mat.*{message}"):
            read_dataset("ccp", tmp_path)
    path.unlink()
    with pytest.raises(PoolError, match=r"0001.jpg has neither mask nor tags"):
        read_dataset("ccp", tmp_path)
    assert len(read_dataset("ccp", tmp_path, broken="skip")) == 4
    with pytest.raises(UsageError, match="test_share must be in 0 <= test_share < 1; got 1"):
        read_dataset("ccp", tmp_path, test_share=1)


@pytest.mark.parametrize("name", sorted(READERS))
def test_a_folder_that_is_not_there_is_named(name, tmp_path):
    with pytest.raises(PoolError, match=str(tmp_path / "nothing")):
        read_dataset(name, tmp_path / "nothing")


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(RangeError, match=r"name must be one of .*glas.*; got 'imagenet'"):
        read_dataset("imagenet", tmp_path)
    with pytest.raises(UsageError, match="read_dataset: glas has the options broken; got colour"):
        read_dataset("glas", tmp_path, colour="red")
    with pytest.raises(RangeError, match="broken must be one of error, skip; got 'maybe'"):
        read_dataset("glas", drawn.glas(tmp_path), broken="maybe")


def test_real_sets(real_data):
    glas = read_dataset("glas", real_data / "glas")
    assert [len(glas.split(s)) for s in ("train", "val", "test")] == [34, 0, 24]
    assert np.bincount([s.tags[0] for s in glas.samples]).tolist() == [29, 29]
    for name, root in (("glas", "glas"), ("camvid", "camvid"), ("voc", "voc_labelme")):
        dataset = read_dataset(name, real_data / root)
        for sample in dataset.samples[:: max(1, len(dataset) // 4)]:
            assert read_mask(dataset, sample).shape == read_image(sample).shape[:2]


def test_real_ccp_has_the_tags_of_its_masks(real_data):
    pytest.importorskip("scipy.io")
    dataset = read_dataset("ccp", real_data / "ccp")
    lines = (real_data / "ccp" / "image_tags_derived.tsv").read_text().splitlines()
    stated = {line.split("\t")[0]: set(line.split("\t")[1].split(",")) - {"null"} for line in lines}
    found = {s.image_id: {dataset.tag_names[t] for t in s.tags} for s in dataset.samples}
    assert found == {key: stated[key] for key in found}
    assert len(found) == 168


def test_exif_orientation_and_mask_sizes(tmp_path):
    image = Image.fromarray(drawn.picture())
    exif = image.getexif()
    exif[0x0112] = 6
    root = drawn.voc(tmp_path) / "VOC2012"
    image.save(root / "JPEGImages" / "2007_000001.jpg", exif=exif)
    found = read_dataset("voc", tmp_path)
    with pytest.raises(DataError, match=r"2007_000001.png has 32 x 24 pixels, its picture .* has 24 x 32 \(upright\)"):
        read_mask(found, found.samples[0])
    save(root / "SegmentationClass" / "2007_000001.png", blocks(0, 5, size=SIZE[::-1]))
    assert read_image(found.samples[0]).shape[:2] == read_mask(found, found.samples[0]).shape == SIZE[::-1]


def test_tags_of_masks_are_kept_for_the_next_time(tmp_path, monkeypatch, caplog):
    root, kept = drawn.camvid(tmp_path / "camvid"), tmp_path / "tags.json"
    first = read_dataset("camvid", root, tags_file=str(kept))
    reads = []
    monkeypatch.setattr(camvid, "read_ids", lambda path: reads.append(path) or read_ids(path))

    def again(**options):
        reads.clear()
        found = read_dataset("camvid", root, tags_file=str(kept), **options)
        return facts(found), len(reads)

    assert again() == (facts(first), 0)
    assert again(min_pixels=10**6) == ([(i, split, ()) for i, split, _ in facts(first)], 0)
    save(root / "valannot" / "0001TP_000000.png", blocks(4, 5, 6))
    changed, n = again()
    assert n == 1
    assert changed[2][2] == ("pavement", "tree", "sign symbol")
    assert again()[1] == 0
    for content in (
        "{",
        "[]",
        '{"format": 1}',
        kept.read_text().replace("sky", "sea"),
        kept.read_text()[:-3] + ',"x"]}}',
    ):
        kept.write_text(content)
        caplog.clear()
        assert again() == (changed, 4)
        assert "kept tags are read again" in caplog.text
    found = read_dataset("camvid", root, tags_file=str(tmp_path / "no" / "folder.json"))
    assert facts(found) == changed
    assert "tags are not kept" in caplog.text


def test_least_pixels_of_a_tag(tmp_path):
    with pytest.raises(RangeError, match="min_pixels must be an integer >= 1; got 0"):
        read_dataset("camvid", drawn.camvid(tmp_path), min_pixels=0)


def test_kept_tags_are_not_those_of_another_mapping(tmp_path):
    drawn.mapillary(tmp_path)
    file = str(tmp_path / "tags.json")
    up = {"nature--sky": "up", "construction--flat--road": "down"}
    other = {"animal--bird": "up", "construction--flat--road": "down"}
    assert facts(read_dataset("mapillary", tmp_path, mapping=up, tags_file=file))[0][2] == ("up", "down")
    assert facts(read_dataset("mapillary", tmp_path, mapping=other, tags_file=file))[0][2] == ("down",)
