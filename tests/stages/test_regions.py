"""Cutting pictures into regions, and the superpixels kept on disk."""

import logging

import numpy as np
import pytest

from alseg_fast.errors import RunError, UsageError
from alseg_fast.stages.region_cache import RegionCache
from alseg_fast.stages.regions import RegionPlan, at_size, cut, parse_regions
from support import draw_picture


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("slic:400", RegionPlan("slic", 400)),
        ("slic:400:10", RegionPlan("slic", 400, 10.0)),
        ("slic:7:2.5", RegionPlan("slic", 7, 2.5)),
        ("slico:30", RegionPlan("slico", 30)),
        ("grid:32", RegionPlan("grid", 32)),
        ("none", None),
    ],
)
def test_a_plan_is_read_and_written_back(text, plan):
    assert parse_regions(text) == plan
    if plan is not None:
        assert parse_regions(str(plan)) == plan


@pytest.mark.parametrize(
    "text",
    ["", "slic", "slic:", "slic:0", "slic:-3", "slic:x", "slic:4:0", "slic:4:nan", "slic:4:1:2", "grid:8:1", "cells:4"],
)
def test_what_is_no_plan_is_refused(text):
    with pytest.raises(UsageError, match=r"regions must be slic:K"):
        parse_regions(text)


@pytest.mark.parametrize("source", [1, 2, 3, 7, 31])
@pytest.mark.parametrize("factor", [1, 1.01, 1.5, 2, 3.7, 40])
def test_enlarging_takes_the_nearest_and_loses_no_row(source, factor):
    target = int(np.ceil(source * factor))
    ids = np.arange(source * 3, dtype=np.int32).reshape(source, 3)
    big = at_size(ids, (target, 5))
    assert big.shape == (target, 5)
    assert set(big.ravel()) == set(ids.ravel())
    centres = (np.arange(target) + 0.5) * source / target
    distance = np.abs(centres[:, None] - (np.arange(source) + 0.5))
    chosen = big[:, 0] // 3
    assert (distance[np.arange(target), chosen] <= distance.min(axis=1) + 1e-9).all()


def test_regions_have_the_size_of_the_scores_or_the_pictures_own_where_that_is_smaller():
    image = draw_picture(0, (40, 60))
    for size, shape in (((20, 30), (20, 30)), ((80, 90), (40, 60)), ((80, 30), (40, 30))):
        assert cut(image, size, RegionPlan("slic", 12)).segments.shape == shape


def test_squares_are_counted_in_pixels_of_the_picture():
    image = draw_picture(0, (40, 60))
    whole = cut(image, (40, 60), RegionPlan("grid", 20)).segments
    np.testing.assert_array_equal(whole, np.arange(6).reshape(2, 3).repeat(20, 0).repeat(20, 1))
    # at half the size they have half the side, also where the picture was decoded smaller
    half = cut(image[::2, ::2], (20, 30), RegionPlan("grid", 20), own_size=(40, 60)).segments
    np.testing.assert_array_equal(at_size(half, (40, 60)), whole)
    # squares smaller than a pixel of the scores join
    tiny = cut(image, (4, 6), RegionPlan("grid", 1))
    assert tiny.count == 24


@pytest.mark.parametrize("kind", ["slic", "slico", "grid"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3)])
def test_tiny_pictures_have_regions_too(kind, size):
    image = draw_picture(1, (40, 60))[: size[0], : size[1]]
    regions = cut(image, size, RegionPlan(kind, 400), crf=True)
    assert sorted(set(regions.segments.ravel())) == list(range(regions.count))
    assert regions.colors.shape == (regions.count, 3)


class TestCache:
    def test_what_was_kept_comes_back(self, tmp_path):
        cache = RegionCache(tmp_path / "made" / "here")
        image = draw_picture(2)
        plan = RegionPlan("slic", 20)
        first = cut(image, (40, 60), plan, cache=cache, source=b"the file")
        (kept,) = (tmp_path / "made" / "here").rglob("*.spx")
        assert kept.stat().st_size < first.segments.nbytes / 4
        # Another picture under the same key: what comes back must be from the file.
        again = cut(draw_picture(3), (40, 60), plan, cache=cache, source=b"the file")
        np.testing.assert_array_equal(first.segments, again.segments)
        assert again.segments.dtype == np.int32

    @pytest.mark.parametrize("other", ["source", "size", "plan"])
    def test_another_picture_size_or_plan_is_another_entry(self, tmp_path, other):
        cache = RegionCache(tmp_path)
        image = draw_picture(2)
        cut(image, (40, 60), RegionPlan("slic", 20), cache=cache, source=image)
        cut(
            image,
            (20, 60) if other == "size" else (40, 60),
            RegionPlan("slic", 20, 11.0 if other == "plan" else 10.0),
            cache=cache,
            source=image[:, ::-1] if other == "source" else image,
        )
        assert len(list(tmp_path.rglob("*.spx"))) == 2

    @pytest.mark.parametrize("highest", [0, 255, 256, 65535, 65536, 1 << 24])
    def test_ids_of_any_size(self, tmp_path, highest):
        cache = RegionCache(tmp_path)
        ids = np.random.default_rng(0).integers(0, highest + 1, (13, 17)).astype(np.int32)
        ids[-1, -1] = highest
        key = cache.key(b"x", ids.shape, "slic:9")
        assert cache.load(key, ids.shape) is None
        cache.store(key, ids)
        np.testing.assert_array_equal(cache.load(key, ids.shape), ids)

    @pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other size"])
    def test_a_damaged_entry_is_noticed_and_made_again(self, tmp_path, caplog, damage):
        cache = RegionCache(tmp_path)
        image = draw_picture(4)
        expected = cut(image, (40, 60), RegionPlan("slic", 20), cache=cache, source=image).segments
        (path,) = tmp_path.rglob("*.spx")
        content = path.read_bytes()
        whole = len(content)
        if damage == "flipped":
            content = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
        elif damage == "other size":
            cache.store(path.parent.name + path.stem, expected[:20])
            content = path.read_bytes()
        path.write_bytes({"cut": content[: whole // 2], "empty": b""}.get(damage, content))
        with caplog.at_level(logging.WARNING, "alseg"):
            again = cut(image, (40, 60), RegionPlan("slic", 20), cache=cache, source=image).segments
        assert "is damaged" in caplog.text
        np.testing.assert_array_equal(again, expected)
        caplog.clear()
        cut(image, (40, 60), RegionPlan("slic", 20), cache=cache, source=image)
        assert caplog.text == ""

    def test_a_cache_that_cannot_be_written_warns_once(self, tmp_path, caplog):
        cache = RegionCache(tmp_path / "cache")
        (tmp_path / "cache").rmdir()
        (tmp_path / "cache").write_bytes(b"")
        with caplog.at_level(logging.WARNING, "alseg"):
            for seed in range(3):
                image = draw_picture(seed)
                cut(image, (40, 60), RegionPlan("slic", 20), cache=cache, source=image)
        assert caplog.text.count("going on without") == 1
        with pytest.raises(RunError, match="choose another --region-cache"):
            RegionCache(tmp_path / "cache")
