"""Batches: a function of data set, seed and step, whatever the cache, the threads and the broken files."""

from dataclasses import fields, replace

import numpy as np
import pytest

import drawn_datasets as drawn

pytest.importorskip("torch")

import torch

from alseg_fast.errors import DataError, RangeError, UsageError
from alseg_fast.learn.data.batches import Batches
from alseg_fast.learn.data.picture_cache import PictureCache
from alseg_fast.learn.data.transforms import Augment


def augment(**keywords):
    defaults = {"scale": (0.6, 1.4), "vflip": True, "strong": True, "blur_probability": 0.5}
    return Augment((24, 32), **{**defaults, **keywords})


def same(a, b):
    assert a.image_ids == b.image_ids
    for field in fields(a)[1:]:
        assert torch.equal(getattr(a, field.name), getattr(b, field.name)), field.name


@pytest.fixture
def discs(tmp_path):
    return drawn.discs(tmp_path)


def test_a_batch_is_a_function_of_the_step(discs):
    one = Batches(discs, augment(), batch_size=3, seed=5)
    other = Batches(discs, augment(), batch_size=3, seed=5, cache=False, workers=0)
    for step in (4, 0, 7, 4):
        same(one.at(step), other.at(step))
    assert one.at(0).image_ids != Batches(discs, augment(), batch_size=3, seed=6).at(0).image_ids or not torch.equal(
        one.at(0).images, Batches(discs, augment(), batch_size=3, seed=6).at(0).images
    )


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_stream_gives_the_same_batches(discs, workers):
    batches = Batches(discs, augment(), batch_size=3, seed=1, workers=workers)
    got = list(batches.stream(2, 6))
    assert len(got) == 6
    for step, batch in enumerate(got, 2):
        same(batch, Batches(discs, augment(), batch_size=3, seed=1, cache=False).at(step))


def test_a_stream_may_be_left_early(discs):
    stream = Batches(discs, augment(), batch_size=3, seed=1, workers=2).stream(0, 1000)
    next(stream)
    stream.close()


def test_epochs_are_permutations_without_a_gap(discs):
    batches = Batches(discs, augment(), batch_size=3, seed=0)
    order = [i for step in range(16) for i in batches.ids(step)]
    epochs = [order[i : i + 8] for i in range(0, 48, 8)]
    assert all(sorted(epoch) == sorted(s.image_id for s in discs.samples) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert batches.steps_per_epoch == 3
    assert len(Batches(discs, augment(), batch_size=20, seed=0).at(0)) == 20


def test_views_differ_between_epochs_and_places(discs):
    batches = Batches(discs.only(["0"]), augment(), batch_size=2, seed=0)
    first, second = batches.at(0), batches.at(1)
    assert not torch.equal(first.images[0], first.images[1])
    assert not torch.equal(first.images[0], second.images[0])


def test_what_a_batch_says(discs, tmp_path):
    pseudo = drawn.save(tmp_path / "p.png", np.ones((40, 60)))
    hidden = discs.with_labels(["0", "3"], {"1": pseudo})
    batch = Batches(hidden, augment(scale=(0.5, 0.5), hflip=False), batch_size=8, seed=0).at(0)
    row = {image_id: i for i, image_id in enumerate(batch.image_ids)}
    assert batch.labelled.tolist() == [i in ("0", "3") for i in batch.image_ids]
    assert batch.pseudo.tolist() == [i == "1" for i in batch.image_ids]
    assert batch.tags[row["3"]].tolist() == [0.0, 1.0]
    assert set(batch.masks[row["0"]].unique().tolist()) == {0, 1, 255}
    assert set(batch.masks[row["1"]].unique().tolist()) == {1, 255}
    assert batch.masks[row["2"]].unique().tolist() == [255]
    assert (batch.valid.sum((1, 2)) == 12 * 16).all()
    assert batch.images.dtype == batch.strong.dtype == batch.tags.dtype == torch.float32
    assert (batch.rgb.dtype, batch.masks.dtype) == (torch.uint8, torch.int64)
    plain = Batches(hidden, Augment((24, 32)), batch_size=2, seed=0).at(0)
    assert plain.strong is plain.images


def test_labelled_and_other_images_are_mixed(discs):
    hidden = discs.with_labels(["0", "3"])
    batches = Batches(hidden, augment(), batch_size=5, seed=0, labelled_per_batch=2)
    for step in range(5):
        batch = batches.at(step)
        assert batch.labelled.tolist() == [True, True, False, False, False]
        assert set(batch.image_ids[:2]) == {"0", "3"}
    assert batches.steps_per_epoch == 2


@pytest.mark.parametrize(("value", "error", "message"), [
    (5, RangeError, r"labelled_per_batch must be an integer in 1 .. 4 \(batch_size - 1\); got 5"),
    (0, RangeError, "labelled_per_batch must be"),
    (True, RangeError, "labelled_per_batch must be"),
])  # fmt: skip
def test_wrong_mixtures_are_named(discs, value, error, message):
    with pytest.raises(error, match=message):
        Batches(discs.with_labels(["0"]), augment(), batch_size=5, seed=0, labelled_per_batch=value)


def test_mixtures_need_both_kinds(discs):
    for part, which in ((discs, "without"), (discs.with_labels([]), "with")):
        with pytest.raises(UsageError, match=f"has none {which} one"):
            Batches(part, augment(), batch_size=5, seed=0, labelled_per_batch=2)
    with pytest.raises(UsageError, match="discs has none here"):
        Batches(discs.split("val"), augment(), batch_size=5, seed=0)
    with pytest.raises(RangeError, match="batch_size must be an integer >= 1; got 0"):
        Batches(discs, augment(), batch_size=0, seed=0)
    with pytest.raises(RangeError, match="step must be an integer >= 0; got -1"):
        Batches(discs, augment(), batch_size=2, seed=0).at(-1)


def test_broken_images_are_recorded_and_replaced(discs, caplog):
    discs.samples[1].image.write_bytes(b"")
    discs.samples[4].image.write_bytes(discs.samples[4].image.read_bytes()[:200])
    drawn.save(discs.samples[6].mask, np.full((40, 60), 7))
    drawn.save(discs.samples[7].mask, np.zeros((40, 61)))
    one = Batches(discs, augment(), batch_size=4, seed=0)
    got = [one.at(step) for step in range(6)]
    assert sorted(one.failures) == ["1", "4", "6", "7"]
    assert {i for batch in got for i in batch.image_ids} == {"0", "2", "3", "5"}
    for name, reason in (("1", "1.png"), ("6", "id 7"), ("7", "61 x 40 pixels")):
        assert reason in one.failures[name]
    assert caplog.text.count("image 6 is left out") == 1
    # What was met before makes no difference.
    for step in (5, 0, 3):
        same(Batches(discs, augment(), batch_size=4, seed=0, workers=2, cache=False).at(step), got[step])
    for streamed, batch in zip(
        Batches(discs, augment(), batch_size=4, seed=0, workers=3).stream(0, 6), got, strict=True
    ):
        same(streamed, batch)


def test_a_mask_that_is_hidden_cannot_fail(discs):
    drawn.save(discs.samples[6].mask, np.full((40, 60), 7))
    batches = Batches(discs.with_labels(["0"]), augment(), batch_size=8, seed=0)
    batches.at(0)
    assert batches.failures == {}


def test_nothing_readable_is_an_error(discs):
    for sample in discs.samples:
        sample.image.unlink()
    with pytest.raises(DataError, match=r"none of the 8 images of discs can be used, the first: picture .*0.png"):
        Batches(discs, augment(), batch_size=2, seed=0).at(0)
    with pytest.raises(DataError, match="none of the 8 images"):
        list(Batches(discs, augment(), batch_size=2, seed=0, workers=2).stream(0, 4))


def test_the_cache_is_bounded(discs):
    whole = PictureCache(discs, lambda size: size, max_bytes=1 << 20)
    small = PictureCache(discs, lambda size: (20, 30), max_bytes=3 * 20 * 30 * 4)
    for sample in (*discs.samples, *discs.samples):
        assert whole.get(sample).image.shape == (40, 60, 3)
        assert small.get(sample).image.shape == (20, 30, 3)
        assert small.get(sample).mask.shape == (20, 30)
        assert small.get(sample).size == (40, 60)
    assert (len(whole), len(small)) == (8, 3)
    assert whole.get(discs.samples[0]) is whole.get(discs.samples[0])
    with pytest.raises(ValueError, match="read-only"):
        whole.get(discs.samples[0]).image[0] = 0


def test_reduced_jpegs_keep_their_masks(tmp_path):
    found = drawn.discs(tmp_path, n=2, size=(400, 600))
    from PIL import Image

    samples = []
    for sample in found.samples:
        Image.open(sample.image).save(sample.image.with_suffix(".jpg"), quality=95)
        samples.append(replace(sample, image=sample.image.with_suffix(".jpg")))
    jpegs = replace(found, samples=tuple(samples))
    plain = Augment((40, 60), hflip=False)
    png, jpg = (Batches(d, plain, batch_size=2, seed=0).at(0) for d in (found, jpegs))
    assert torch.equal(png.masks, jpg.masks)
    assert (png.rgb.float() - jpg.rgb.float()).abs().mean() < 12
    red = jpg.rgb[:, 0].float()
    assert red[jpg.masks == 1].mean() > 150 > 100 > red[jpg.masks == 0].mean()
