"""The simulated annotator: it labels exactly what was bought."""

import numpy as np
import pytest
from PIL import Image as Pillow

from alseg_fast.errors import DataError, RunError, UsageError
from alseg_fast.ops.rle import decode_rle
from alseg_fast.stages.oracle import oracle_labels, write_oracle_labels
from alseg_fast.stages.select import select
from region_runs import Image, grid, make_region_run, write_png

SIZE = (10, 10)


@pytest.fixture
def images():
    rng = np.random.default_rng(1)
    return {f"i{k}.jpg": Image(grid(*SIZE, 2), seed=k, heat=rng.integers(0, 255, SIZE)) for k in range(3)}


@pytest.fixture
def truths(images):
    rng = np.random.default_rng(2)
    return {name: rng.choice([0, 1, 2, 255], SIZE, p=[0.4, 0.3, 0.2, 0.1]).astype(np.uint8) for name in images}


@pytest.fixture
def run(images, tmp_path):
    return make_region_run(tmp_path / "run", images, maps=True)


def bought_of(batch, name):
    masks = [decode_rle(row["rle"], SIZE) for row in batch.to_pylist() if row["image_id"] == name]
    return np.any(masks, axis=0)


@pytest.mark.parametrize("strategy", ["superpixel", "entropy-pixels"])
def test_exact_labels_are_the_truth_where_it_was_bought(run, truths, strategy):
    batch = select(run, budget="30%", unit="pixels", strategy=strategy)
    answers = list(oracle_labels(batch, truths.get))
    assert [a.image_id for a in answers] == list(dict.fromkeys(batch.column("image_id").to_pylist()))
    for answer in answers:
        truth, bought = truths[answer.image_id], bought_of(batch, answer.image_id)
        assert answer.labels.dtype == np.uint8
        assert np.array_equal(answer.labels, np.where(bought, truth, 255))
        assert answer.pixels == answer.cost == bought.sum()
        assert answer.labelled == (bought & (truth != 255)).sum()
        assert answer.picks == batch.column("image_id").to_pylist().count(answer.image_id)


def test_dominant_labels_fill_a_region_with_its_majority(run, images, truths):
    batch = select(run, budget="60%", unit="pixels", strategy="superpixel")
    assert batch.num_rows > 30
    by_image = {a.image_id: a.labels for a in oracle_labels(batch, truths.get, rule="dominant")}
    for row in batch.to_pylist():
        where = images[row["image_id"]].segments == row["region_id"]
        ids = truths[row["image_id"]][where].tolist()
        votes = {value: ids.count(value) for value in ids if value != 255}
        winner = min(value for value, n in votes.items() if n == max(votes.values())) if votes else 255
        assert set(by_image[row["image_id"]][where].tolist()) == {winner}
    for name, labels in by_image.items():
        assert (labels[~bought_of(batch, name)] == 255).all()


def test_ties_go_to_the_lower_id_and_void_has_no_vote(tmp_path):
    run = make_region_run(tmp_path, {"a": Image(grid(4, 4, 2))})
    truth = np.array([[2, 2, 255, 255], [1, 1, 255, 0], [255] * 2 + [3, 3], [255] * 2 + [3, 0]], np.uint8)
    batch = select(run, budget=4, unit="regions")
    (answer,) = oracle_labels(batch, lambda _: truth, rule="dominant")
    assert answer.labels.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [255, 255, 3, 3], [255, 255, 3, 3]]
    assert (answer.pixels, answer.labelled, answer.cost, answer.picks) == (16, 12, 4.0, 4)


def test_single_pixels_and_whole_images_are_exact_with_either_rule(run, truths):
    for arguments in ({"budget": 20, "unit": "pixels", "strategy": "entropy-pixels"}, {"budget": 2}):
        batch = select(run, **arguments)
        exact, dominant = (list(oracle_labels(batch, truths.get, rule=rule)) for rule in ("exact", "dominant"))
        assert [a.labels.tolist() for a in exact] == [a.labels.tolist() for a in dominant]
    assert [a.labels.tolist() for a in exact] == [truths[a.image_id].tolist() for a in exact]
    assert [a.pixels for a in exact] == [100, 100]


def test_ids_above_255_need_16_bits(run):
    batch = select(run, budget=1)
    (answer,) = oracle_labels(batch, lambda _: np.full(SIZE, 300), ignore_index=65535)
    assert answer.labels.dtype == np.uint16
    assert answer.labelled == 100
    (answer,) = oracle_labels(batch, lambda _: np.full(SIZE, 11, np.int64), ignore_index=11)
    assert answer.labels.dtype == np.uint8
    assert answer.labelled == 0


def test_labels_are_written_from_a_directory(run, truths, tmp_path):
    for name, truth in truths.items():
        write_png(tmp_path / "truth" / name.replace(".jpg", ".png"), truth)
    select(run, budget="30%", unit="pixels", strategy="superpixel", out=tmp_path / "b.parquet")
    sums = write_oracle_labels(tmp_path / "b.parquet", tmp_path / "truth", tmp_path / "out", classes=3)
    answers = list(oracle_labels(tmp_path / "b.parquet", truths.get))
    assert sums == {
        "images": len(answers),
        "picks": sum(a.picks for a in answers),
        "cost": sum(a.cost for a in answers),
        "pixels": sum(a.pixels for a in answers),
        "labelled": sum(a.labelled for a in answers),
    }
    for answer in answers:
        assert np.array_equal(np.asarray(Pillow.open(tmp_path / f"out/{answer.image_id}.png")), answer.labels)


def test_what_cannot_be_labelled_is_said(run, tmp_path):
    batch = select(run, budget=8, unit="pixels", strategy="superpixel")
    name = batch.column("image_id")[0].as_py()

    def fails(error, masks, text, **arguments):
        with pytest.raises(error) as caught:
            list(oracle_labels(batch, masks, **arguments))
        assert text in str(caught.value)

    right = np.zeros(SIZE, np.uint8)
    fails(UsageError, lambda _: right, "rule must be one of exact, dominant; got best.", rule="best")
    fails(UsageError, lambda _: right, "ignore_index must be in 0 .. 65535; got -1.", ignore_index=-1)
    fails(UsageError, lambda _: right, "classes must be None or at least 1; got 0.", classes=0)
    fails(RunError, tmp_path / "no", f"masks {tmp_path}/no does not exist")
    fails(RunError, tmp_path, f"ground truth {tmp_path}/{name}.png does not exist")
    fails(RunError, lambda _: right[:5], f"rle of {name} does not fit 10 x 5 pixels")
    fails(DataError, lambda _: right.astype(float), f"must give [H, W] integers; got [10, 10] float64 for {name}")
    fails(DataError, lambda _: right[None], "got [1, 10, 10] uint8")
    fails(DataError, lambda _: right - np.int64(1), "must have ids in 0 .. 65535; got -1")
    fails(DataError, lambda _: right + 3, "must have ids below 3 or 255; got 3", classes=3)
    without = batch.set_column(batch.column_names.index("rle"), "rle", [[None] * batch.num_rows])
    with pytest.raises(RunError, match="without an rle; select again"):
        list(oracle_labels(without, lambda _: right))
