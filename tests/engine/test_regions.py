"""Scoring pools with regions, end to end."""

import numpy as np
import pytest
from PIL import Image

import alseg_fast as alseg
from alseg_fast.errors import RunError, UsageError
from alseg_fast.ops import decode_rle
from alseg_fast.stages.store import open_run
from support import build_model, draw_picture, write_pictures

BOTH = ("entropy", "margin")


@pytest.fixture
def pool(tmp_path):
    return write_pictures(tmp_path / "pool", 7)


def regions_of(path):
    return [row for _, table in open_run(path).region_parts() for row in table.to_pylist()]


def by_image(rows):
    found = {}
    for row in rows:
        found.setdefault(row["image_id"], []).append(row)
    return found


@pytest.mark.parametrize("regions", ["slic:12", "slico:12", "grid:16"])
@pytest.mark.parametrize("score_size", ["input", "image"])
def test_every_pixel_of_a_picture_is_in_one_region(tiny_model, pool, tmp_path, regions, score_size):
    scorer = alseg.Scorer(tiny_model, measures=BOTH, regions=regions, crf=True, score_size=score_size)
    scorer.score_pool(pool, tmp_path / "run", shard_size=3)
    run = open_run(tmp_path / "run")
    assert run.has_regions
    assert run.info["region_units"]["entropy_mean"].startswith("nats")
    images = by_image(regions_of(tmp_path / "run"))
    scores = {row["image_id"]: row for row in run.scores().to_pylist()}
    assert list(images) == list(scores)  # in pool order
    for name, rows in images.items():
        assert [row["region_id"] for row in rows] == list(range(len(rows)))
        masks = np.array([decode_rle(row["rle"], (40, 60)) for row in rows])
        np.testing.assert_array_equal(masks.sum(axis=0), 1)
        for row, mask in zip(rows, masks, strict=True):
            y, x = np.nonzero(mask)
            assert (row["x"], row["y"]) == (x.min(), y.min())
            assert (row["w"], row["h"]) == (np.ptp(x) + 1, np.ptp(y) + 1)
            assert row["area"] == len(x)
            assert row["entropy_sum"] == pytest.approx(row["entropy_mean"] * row["area"], rel=1e-6)
            assert row["class"] == np.argmax(row["class_fraction"])
            assert sum(row["class_fraction"]) == pytest.approx(1, abs=1e-5)
            assert row["cost_clicks"] >= 1
            assert row["cost_seconds"] > row["cost_clicks"]
            assert 0 <= row["crf_class"] < 4
            assert 0 <= row["crf_entropy"] <= np.log(4) + 1e-6
        if score_size == "image":
            for measure in BOTH:
                total = sum(row[f"{measure}_sum"] for row in rows) / (40 * 60)
                assert total == pytest.approx(scores[name][f"{measure}_mean"], abs=1e-5)
            share = sum(np.array(row["class_fraction"]) * row["area"] for row in rows) / (40 * 60)
            np.testing.assert_allclose(share, scores[name]["class_fraction"], atol=1e-5)


def test_regions_do_not_change_the_scores(tiny_model, pool, tmp_path):
    alseg.Scorer(tiny_model, measures=BOTH).score_pool(pool, tmp_path / "bare")
    alseg.Scorer(tiny_model, measures=BOTH, regions="slic:12").score_pool(pool, tmp_path / "run")
    bare, run = open_run(tmp_path / "bare").scores(), open_run(tmp_path / "run").scores()
    for name in bare.column_names:
        # what is asked of the kernel at once decides its order of operations, and so the last bits
        one, other = (t.column(name).combine_chunks().to_pylist() for t in (bare, run))
        if name in ("image_id", "uri", "phash"):
            assert one == other
        else:
            np.testing.assert_allclose(np.array(one, float), np.array(other, float), atol=2e-6)
    with pytest.raises(RunError, match="has no regions; score the pool with --regions"):
        open_run(tmp_path / "bare").region_parts()


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_workers_and_batches_do_not_change_a_bit(tiny_model, pool, tmp_path, workers, batch_size):
    alseg.Scorer(tiny_model, workers=1, regions="slic:12", crf=True).score_pool(pool, tmp_path / "one", shard_size=4)
    many = alseg.Scorer(tiny_model, workers=workers, batch_size=batch_size, regions="slic:12", crf=True)
    many.score_pool(pool, tmp_path / "many", shard_size=4)
    one, several = regions_of(tmp_path / "one"), regions_of(tmp_path / "many")
    if batch_size == 1:
        assert one == several
    else:  # the network's own rounding depends on the batch
        assert [r["rle"] for r in one] == [r["rle"] for r in several]


def test_broken_pictures_have_no_regions(tiny_model, pool, tmp_path):
    (pool / "empty.jpg").write_bytes(b"")
    model = build_model(tmp_path / "poison.onnx", poison=230)
    Image.fromarray(np.full((40, 60, 3), 255, np.uint8)).save(pool / "white.png")
    summary = alseg.Scorer(model, regions="grid:8").score_pool(pool, tmp_path / "run", shard_size=4)
    assert (summary.scored, summary.failed) == (7, 2)
    assert set(by_image(regions_of(tmp_path / "run"))) == {f"img-{i:04d}.jpg" for i in range(7)}


def test_a_shard_in_which_all_fails_has_an_empty_part(tiny_model, tmp_path):
    pool = tmp_path / "pool"
    pool.mkdir()
    (pool / "empty.jpg").write_bytes(b"")
    alseg.Scorer(tiny_model, regions="grid:8").score_pool(pool, tmp_path / "run")
    assert regions_of(tmp_path / "run") == []
    assert alseg.Scorer(tiny_model, regions="grid:8").score_pool(pool, tmp_path / "run").skipped == 1


@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_a_damaged_regions_part_is_scored_again(tiny_model, pool, tmp_path, damage):
    scorer = alseg.Scorer(tiny_model, regions="slic:12")
    scorer.score_pool(pool, tmp_path / "run", shard_size=3)
    expected = regions_of(tmp_path / "run")
    part = tmp_path / "run" / "regions" / "part-00001.parquet"
    if damage == "cut":
        part.write_bytes(part.read_bytes()[:-20])
    else:
        part.unlink()
    summary = scorer.score_pool(pool, tmp_path / "run", shard_size=3)
    assert (summary.scored, summary.skipped) == (3, 4)
    assert regions_of(tmp_path / "run") == expected


def test_other_regions_on_the_same_run_are_refused(tiny_model, pool, tmp_path):
    alseg.Scorer(tiny_model, regions="slic:12").score_pool(pool, tmp_path / "run")
    with pytest.raises(RunError, match=r"regions=slic:12, this command asks for slic:13"):
        alseg.Scorer(tiny_model, regions="slic:13").score_pool(pool, tmp_path / "run")
    alseg.Scorer(tiny_model, regions="slic:12:10").score_pool(pool, tmp_path / "run")


def test_a_cache_changes_nothing_but_the_work(tiny_model, pool, tmp_path, monkeypatch):
    plain = alseg.Scorer(tiny_model, regions="slic:12", crf=True)
    plain.score_pool(pool, tmp_path / "plain")
    cached = alseg.Scorer(tiny_model, regions="slic:12", crf=True, region_cache=tmp_path / "cache")
    cached.score_pool(pool, tmp_path / "first")
    assert len(list((tmp_path / "cache").rglob("*.spx"))) == 7

    def no_slic(*args, **kwargs):
        raise AssertionError("the superpixels are in the cache")

    monkeypatch.setattr("alseg_fast.stages.regions.slic", no_slic)
    cached.score_pool(pool, tmp_path / "second")
    assert regions_of(tmp_path / "plain") == regions_of(tmp_path / "first") == regions_of(tmp_path / "second")


def test_score_images_gives_the_regions_too(tiny_model):
    scorer = alseg.Scorer(tiny_model, regions="grid:20", crf=True)
    images = [draw_picture(0), draw_picture(1, (20, 20)), draw_picture(2, (1, 1))]
    results = scorer.score_images(images)
    assert [len(r.regions["region_id"]) for r in results] == [6, 1, 1]
    assert results[0].regions["area"].tolist() == [400] * 6
    assert results[0].regions["class_fraction"].shape == (6, 4)


def test_several_passes_and_regions(tmp_path):
    model = build_model(tmp_path / "passes.onnx", passes=3)
    scorer = alseg.Scorer(model, measures=("entropy", "mutual_information"), regions="slic:8", crf=True)
    (result,) = scorer.score_images([draw_picture(5)])
    assert (result.regions["mutual_information_mean"] >= 0).all()


def test_what_needs_regions_is_refused_without(tiny_model, tmp_path):
    for options in ({"crf": True}, {"region_cache": tmp_path}):
        with pytest.raises(UsageError, match="need regions"):
            alseg.Scorer(tiny_model, **options)
    with pytest.raises(UsageError, match="regions must be slic:K"):
        alseg.Scorer(tiny_model, regions="slic")
