"""The tables of `alseg bench weak-supervision` on invented figures; its trainings are tested where the recipes are."""

import csv

import numpy as np
import pytest
from PIL import Image

from alseg_fast.benches import drawn_tags, weak_supervision
from alseg_fast.benches.weak_supervision_rows import ROWS, SUBJECTS, TRAININGS
from alseg_fast.cli.bench import BENCHES
from alseg_fast.cli.main import main
from alseg_fast.errors import UsageError


def ccp_result(value, seconds=10.0):
    maps = {"miou": value, "oracle_miou": value + 0.1, "threshold": 0.4, "iou/background": 0.7, "iou/hair": value}
    figures = {
        f"cam, {tags} tags, {cut} threshold, {place}": dict(maps)
        for tags in ("true", "predicted")
        for cut in ("fixed", "fitted")
        for place in ("test", "training images")
    }
    for name in ("segmentation, test", "segmentation, true tags, test", "segmentation, training images"):
        figures[name] = {"miou": value}
    return {"figures": figures, "facts": {"seconds": seconds}, "images": {"test": 42}}


def test_rows_have_mean_spread_and_both_seeds():
    found = {(way.key, seed): ccp_result(0.1 + 0.02 * seed) for way in TRAININGS for seed in (0, 1)}
    nothing = {"id": "nothing", "name": "all background", "error": None, "cam_test": 0.1}
    table, classes = weak_supervision._ablation_tables(SUBJECTS[0], found, (0, 1), nothing)
    assert [row["name"] for row in table["rows"]] == ["all background", *(row.name for row in ROWS)]
    last = table["rows"][-1]
    assert last["cam_test"] == pytest.approx(0.11)
    assert last["cam_test_spread"] == pytest.approx(0.01)
    assert last["cam_test_seeds"] == pytest.approx([0.1, 0.12])
    assert last["seg_test"] == pytest.approx(0.11)
    assert "seg_test" not in table["rows"][1]
    assert classes["rows"][0]["hair"] == pytest.approx(0.11)


def test_one_class_everywhere(tmp_path):
    pytest.importorskip("torch")
    from alseg_fast.learn.data.readers import read_dataset

    lines = ["image_id,uri,label,mask_uri,split"]
    for name, ids in (("a", [[0, 0, 0, 1]]), ("b", [[1, 1, 1, 1]])):
        Image.new("RGB", (4, 1)).save(tmp_path / f"{name}.png")
        Image.fromarray(np.array(ids, np.uint8)).save(tmp_path / f"{name}-ids.png")
        lines.append(f"{name},{name}.png,gland,{name}-ids.png,test")
    (tmp_path / "pool.csv").write_text("\n".join(lines))
    found = read_dataset("manifest", tmp_path / "pool.csv")
    assert weak_supervision._constant(found, 0)["miou"] == pytest.approx((3 / 8) / 2)
    assert weak_supervision._constant(found, 1)["dice"] == pytest.approx((0.4 + 1.0) / 2)


def test_drawn_pictures_follow_from_their_numbers(tmp_path):
    picture, ids = drawn_tags.draw_things(0, 3)
    again, _ = drawn_tags.draw_things(0, 3)
    np.testing.assert_array_equal(picture, again)
    assert picture.shape == (*drawn_tags.SIZE, 3)
    assert 0 < ids.max() < len(drawn_tags.CLASSES)
    manifest = drawn_tags.make_pool(tmp_path, seed=0, n_train=3, n_test=2)
    with manifest.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == ["train"] * 3 + ["test"] * 2
    with Image.open(rows[3]["mask_uri"]) as image:
        kept = np.asarray(image)
    np.testing.assert_array_equal(kept, ids)
    assert set(rows[3]["label"].split(",")) == {drawn_tags.CLASSES[i] for i in np.unique(ids) if i}


def test_masks_that_a_threshold_needs_are_counted():
    figures = {
        "cam, true tags, test": {"dice": 0.4, "miou": 0.3, "threshold": 0.5},
        "cam, published rule, test": {"dice": 0.6},
        "cam, true tags, validation threshold, test": {"dice": 0.55, "miou": 0.4, "threshold": 0.1},
        "segmentation, test": {"dice": 0.7, "miou": 0.5, "threshold": 0.5},
        "segmentation, validation threshold, test": {"dice": 0.75, "miou": 0.5, "threshold": 0.6},
    }
    figures["cam, true tags, test"] |= {"oracle_dice": 0.65, "oracle_dice_threshold": 0.05}
    rows = weak_supervision._glas_rows({"figures": figures, "facts": {"pixel_labelled": 8, "validation_images": 6}})
    assert [row["labels"] for row in rows] == [0, 0, 6, 0, 14, 14]
    assert [row["dice"] for row in rows] == [0.4, 0.6, 0.55, 0.65, 0.7, 0.75]


def test_it_is_no_part_of_all():
    assert not BENCHES["weak-supervision"].in_all
    assert all(bench.in_all for name, bench in BENCHES.items() if name != "weak-supervision")


def test_missing_data_is_named(tmp_path, capsys):
    with pytest.raises(UsageError, match="--data must be given"):
        weak_supervision.run(part="ccp")
    with pytest.raises(UsageError, match="part must be one of ccp, drawn, glas, all"):
        weak_supervision.run(part="voc")
    assert main(["bench", "weak-supervision", "--data", str(tmp_path / "nowhere")]) == 2
    assert "--data must be a folder" in capsys.readouterr().err
    assert main(["bench", "slic", "--work", str(tmp_path)]) == 2
    assert "--work must be absent" in capsys.readouterr().err
