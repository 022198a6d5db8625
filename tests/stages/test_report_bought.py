"""Regions and pixels of a batch in the report's pictures."""

import numpy as np
import pyarrow as pa
import pytest

import alseg_fast as alseg
from alseg_fast.ops import decode_rle, encode_mask
from alseg_fast.stages.batch import BATCH_SCHEMA
from alseg_fast.stages.report_bought import by_image, draw_bought
from support import write_pictures


def mask(rows, columns, size=(40, 60)):
    m = np.zeros(size, bool)
    m[rows, columns] = True
    return m


def batch(*picks):
    rows = [
        {"rank": i, "image_id": name, "uri": name, "region_id": region, "score": 1 / i, "cost": 2.0, "reason": "r"}
        | {"rle": rle}
        for i, (name, region, rle) in enumerate(picks, 1)
    ]
    return pa.Table.from_pylist(rows, BATCH_SCHEMA)


def test_whole_images_come_back_as_they_are():
    table = batch(("a", None, None), ("b", None, None))
    assert by_image(table) == (table, {})


def test_regions_of_an_image_are_joined_in_the_order_of_its_first():
    one, two, three = (encode_mask(mask(slice(i, i + 1), slice(0, 2))) for i in range(3))
    rows, masks = by_image(batch(("b", 4, one), ("a", 0, two), ("b", 9, three)))
    assert rows.column("image_id").to_pylist() == ["b", "a"]
    assert rows.column("rank").to_pylist() == [1, 2]
    assert rows.column("cost").to_pylist() == [4.0, 2.0]
    assert rows.column("reason").to_pylist()[0].startswith("2 regions")
    assert masks == {"b": [one, three], "a": [two]}


@pytest.mark.parametrize("shape", [(40, 60), (20, 30), (80, 120)])
def test_what_is_bought_keeps_its_colour_inside_an_outline_and_the_rest_is_dimmed(shape):
    image = np.full((*shape, 3), 200, np.uint8)
    drawn = draw_bought(image, [encode_mask(mask(slice(8, 32), slice(12, 48)))], (40, 60))
    scale = shape[0] / 40
    inside = tuple(int(v * scale) for v in (20, 30))
    outside = tuple(int(v * scale) for v in (3, 3))
    assert drawn[inside].tolist() == [200, 200, 200]
    assert drawn[outside].tolist() == [90, 90, 90]
    yellow = (drawn == [255, 214, 0]).all(axis=2)
    assert yellow.sum() == pytest.approx(2 * (24 + 36) * scale, abs=4)


def test_a_report_of_regions_and_of_pixels(tiny_model, tmp_path):
    pool = write_pictures(tmp_path / "pool", 4)
    alseg.Scorer(tiny_model, regions="slic:12").score_pool(pool, tmp_path / "run", maps=True)
    for strategy in ("superpixel", "entropy-pixels"):
        chosen = alseg.select(tmp_path / "run", budget="30%", unit="pixels", strategy=strategy)
        spent = sum(decode_rle(rle, (40, 60)).sum() for rle in chosen.column("rle").to_pylist())
        assert spent == sum(chosen.column("cost").to_pylist())
        summary = alseg.make_report(tmp_path / "run", tmp_path / f"{strategy}.html", batch=chosen)
        assert summary.images == len(set(chosen.column("image_id").to_pylist()))
        page = (tmp_path / f"{strategy}.html").read_text()
        assert ("regions, " in page) == (strategy == "superpixel")
