"""Labelled images, held-out images, fewer tags, and data sets in numbers."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import drawn_datasets as drawn

pytest.importorskip("torch")

from pathlib import Path

from alseg_fast.errors import DataError, RangeError, UsageError
from alseg_fast.learn.data.dataset import Dataset, Sample
from alseg_fast.learn.data.label_images import read_ids
from alseg_fast.learn.data.pictures import read_mask
from alseg_fast.learn.data.readers import keep_tags, read_dataset
from alseg_fast.learn.data.splits import draw_labelled, hold_out
from alseg_fast.learn.data.summary import class_frequencies, describe, tag_counts


def listed(*tags, single=True, split="train"):
    """A data set with these tags, without files."""
    n = 1 + max((t for sample in tags for t in sample), default=1)
    samples = tuple(
        Sample(f"{i}", Path(f"{i}.png"), Path(f"m{i}.png"), tuple(t), split, group=f"g{i // 3}")
        for i, t in enumerate(tags)
    )
    names = tuple(f"t{i}" for i in range(n))
    return Dataset("listed", ("background", *names), names, tuple(range(1, n + 1)), single, samples, read_ids)


def counts_of(dataset, ids):
    return Counter(t for s in dataset.only(ids).samples for t in s.tags)


def test_labelled_images_are_balanced():
    data = listed(*[(0,)] * 30, *[(1,)] * 10, *[(2,)] * 20)
    ids = draw_labelled(data, per_class=4, seed=0)
    assert counts_of(data, ids) == {0: 4, 1: 4, 2: 4}
    assert counts_of(data, draw_labelled(data, n=8, seed=0)) == {0: 3, 1: 3, 2: 2}
    assert counts_of(data, draw_labelled(data, n=40, seed=0)) == {0: 15, 1: 10, 2: 15}
    assert ids == draw_labelled(data, per_class=4, seed=0) != draw_labelled(data, per_class=4, seed=1)
    assert ids == sorted(ids, key=int)


@settings(max_examples=40, deadline=None)
@given(
    tags=st.lists(st.sets(st.integers(0, 4)), min_size=1, max_size=40),
    n=st.integers(1, 40),
    seed=st.integers(0, 2**63),
)
def test_any_number_of_tags(tags, n, seed):
    data = listed(*(sorted(t) for t in tags), single=False)
    n = min(n, len(tags))
    ids = draw_labelled(data, n=n, seed=seed)
    assert len(set(ids)) == len(ids) == n
    have = tag_counts(data)
    got = counts_of(data, draw_labelled(data, per_class=2, seed=seed))
    assert all(got[t] >= min(2, have[t]) for t in range(len(have)))


def test_only_annotated_images_can_be_labelled():
    data = listed(*[(i % 2,) for i in range(10)]).with_labels(["1", "2", "5"], {"3": Path("p.png")})
    assert draw_labelled(data, n=3, seed=0) == ["1", "2", "5"]
    with pytest.raises(RangeError, match="n must be at most 3, the images of listed with a mask; got 4"):
        draw_labelled(data, n=4, seed=0)


def test_wrong_wishes_are_named():
    data = listed(*[(0,)] * 5, *[(2,)] * 3)
    with pytest.raises(RangeError, match=r"every tag of listed must have 4 images with a mask; t1 has 0"):
        draw_labelled(data, per_class=4, seed=0)
    with pytest.raises(RangeError, match="t1 has 0"):
        draw_labelled(data, n=4, seed=0)
    with pytest.raises(UsageError, match="one of per_class and n must be given"):
        draw_labelled(data, seed=0)
    with pytest.raises(RangeError, match="per_class must be an integer >= 1; got 0"):
        draw_labelled(data, per_class=0, seed=0)


def test_held_out_is_a_share_of_every_class_rounded_up():
    data = listed(*[(0,)] * 37, *[(1,)] * 48)  # the training images of GlaS
    train, val = hold_out(data, 0.2, 0)
    assert (len(train), len(val)) == (67, 18)
    assert tag_counts(val).tolist() == [8, 10]
    assert {s.split for s in val.samples} == {"val"}
    assert {s.split for s in train.samples} == {"train"}
    assert not {s.image_id for s in train.samples} & {s.image_id for s in val.samples}
    again = hold_out(data, 0.2, 0)[1]
    assert [s.image_id for s in again.samples] == [s.image_id for s in val.samples]
    assert [s.image_id for s in hold_out(data, 0.2, 1)[1].samples] != [s.image_id for s in val.samples]


@settings(max_examples=40, deadline=None)
@given(tags=st.lists(st.sets(st.integers(0, 3)), min_size=8, max_size=60), share=st.floats(0.05, 0.6))
def test_held_out_with_several_tags(tags, share):
    data = listed(*(sorted(t) for t in tags), single=False)
    train, val = hold_out(data, share, 0)
    assert len(train) + len(val) == len(data)
    assert 0 < len(val) <= len(data) * share + 5
    assert len(train) > 0


def test_groups_stay_together():
    data = listed(*[(i % 2,) for i in range(30)])
    train, val = hold_out(data, 0.2, 0, keep_groups=True)
    assert not {s.group for s in train.samples} & {s.group for s in val.samples}
    assert min(tag_counts(val)) >= math.ceil(0.2 * 15)


def test_what_cannot_be_held_out():
    with pytest.raises(UsageError, match="at least two images"):
        hold_out(listed((0,), (1,)), 0.2, 0)
    for share in (0, 1, True, "x"):
        with pytest.raises(RangeError, match="share must be in 0 < share < 1"):
            hold_out(listed((0,), (0,)), share, 0)


def test_kept_tags(tmp_path):
    pytest.importorskip("scipy")
    full = read_dataset("ccp", drawn.ccp(tmp_path), test_share=0)
    two = keep_tags(full, 2)  # skin in 4 images, bag in 2 and a photo with tags only, shoes in 2 and that photo
    assert two.tag_names == ("bag", "skin")
    assert two.classes == ("background", "bag", "skin")
    assert two.class_of_tag == (1, 2)
    np.testing.assert_array_equal(read_mask(two, two.samples[0]), drawn.blocks(0, 2, 1))
    np.testing.assert_array_equal(read_mask(two, two.samples[1]), drawn.blocks(0, 2, 0))
    assert two.samples[1].tags == (1,)
    shoes = keep_tags(full, ["shoes"])
    assert [s.tags for s in shoes.samples] == [(), (0,), (), (0,), (0,)]
    again = keep_tags(two, ["skin"])
    np.testing.assert_array_equal(read_mask(again, again.samples[0]), drawn.blocks(0, 1, 0))


def test_kept_tags_without_a_background(tmp_path):
    kept = keep_tags(read_dataset("camvid", drawn.camvid(tmp_path)), ["bicyclist", "sky"])
    assert kept.classes == ("background", "sky", "bicyclist")
    np.testing.assert_array_equal(read_mask(kept, kept.samples[0]), drawn.blocks(1, 0, 255, 2))
    drawn.save(kept.samples[0].mask, drawn.blocks(0, 12))
    with pytest.raises(DataError, match=r"id 12; camvid has the ids 0 .. 10"):
        read_mask(kept, kept.samples[0])


def test_kept_tags_where_each_image_has_one(tmp_path):
    kept = keep_tags(read_dataset("glas", drawn.glas(tmp_path)), ["malignant"])
    assert (kept.tag_names, kept.classes, kept.class_of_tag) == (("malignant",), ("background", "gland"), (1,))
    assert len(kept) == 3
    for wrong, message in ((["cat"], "got 'cat'"), ([], "got no name"), (3, "must be in 1 .. 2"), (0, "got 0")):
        with pytest.raises(RangeError, match=message):
            keep_tags(kept if wrong == 0 else read_dataset("glas", tmp_path), wrong)


def test_frequent_is_counted_in_training():
    data = listed((0,), (1,), (1,), (2,), (2,), (2,))
    moved = replace(data, samples=tuple(replace(s, split="test") if s.tags == (2,) else s for s in data.samples))
    assert keep_tags(data, 1).tag_names == ("t2",)
    assert keep_tags(moved, 1).tag_names == ("t1",)


def test_class_frequencies(tmp_path):
    data = drawn.discs(tmp_path, n=3)
    masks = [read_mask(data, s) for s in data.samples]
    want = np.mean([(m == 1).mean() for m in masks])
    np.testing.assert_allclose(class_frequencies(data), [1 - want, want])
    np.testing.assert_array_equal(class_frequencies(data.with_labels([])), [0, 0])
    pseudo = data.with_labels(["0"], {"1": data.samples[1].mask})
    np.testing.assert_allclose(class_frequencies(pseudo)[1], (masks[0] == 1).mean())
    drawn.save(tmp_path / "masks" / "2.png", np.full((40, 60), 255))
    np.testing.assert_allclose(class_frequencies(data)[1], np.mean([(m == 1).mean() for m in masks[:2]]))
    drawn.save(tmp_path / "masks" / "2.png", np.full((40, 60), 9))
    with pytest.raises(DataError, match=r"masks/2.png has 2,400 pixels of id 9"):
        class_frequencies(data)


def test_describe(tmp_path):
    data = read_dataset("glas", drawn.glas(tmp_path))
    assert describe(data) == (
        "glas: 6 images, 2 classes, 2 tags, one tag an image\n"
        "  train: 4 images, 4 with a mask; benign 2, malignant 2\n"
        "  test: 2 images, 2 with a mask; benign 1, malignant 1"
    )
    many = listed(*[(i,) for i in range(25)], (), single=False).with_labels(["0"], {"1": Path("p.png")})
    text = describe(many)
    assert "26 images, 1 with a mask, 1 with a pseudo-mask, 1 without a tag; t0 1, t1 1" in text
    assert "5 more tags" in text
    assert "24 tags without an image" in describe(many.only(["3"]))
