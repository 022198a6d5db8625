"""Selection of single pixels: exactly the budget, the highest values, fair draws among equal ones."""

import math
import os
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from alseg_fast.errors import RunError, UsageError
from alseg_fast.ops.edges import edge_map, edge_weighted
from alseg_fast.ops.rle import decode_rle, encode_mask
from alseg_fast.stages import pixel_select
from alseg_fast.stages.select import SelectOptions, batch_facts, read_batch, select
from region_runs import HIGH, Image, grid, make_region_run, part_hash, write_png


def flat_image(size, grey=0, labels=None):
    return Image(np.zeros(size, int), heat=np.full(size, grey), labels=labels)


def enlarged(image):
    heat = np.asarray(image.heat, np.uint8)
    if heat.shape != image.size:
        heat = np.asarray(Pillow.fromarray(heat).resize(image.size[::-1], Pillow.Resampling.BILINEAR))
    return heat


def value_map(image, strategy, options):
    nats = enlarged(image).astype(np.float64) * (HIGH / 255)
    if strategy == "entropy-edge":
        edges = edge_map(labels=np.asarray(image.labels, np.uint8), dilation=options.edge_dilation)
        nats = edge_weighted(nats.astype(np.float32), edges, weight=options.edge_weight, mode=options.edge_mode)
    return np.zeros(image.size) if strategy == "random-pixels" else nats.astype(np.float64)


def plain_picks(images, strategy, options, amount_of, seed, never):
    """{image_id: (mask, score)} of the best pixels by a full sort."""
    rows = []
    for name, image in images.items():
        values = value_map(image, strategy, options)
        for y, x in zip(*np.nonzero(~never[name]), strict=True):
            number = int(y * image.size[1] + x)
            rows.append((-values[y, x], part_hash(name, number, seed), name, number))
    bought = sorted(rows)[: amount_of(len(rows))]
    found = {}
    for name in {row[2] for row in bought}:
        own = [row for row in bought if row[2] == name]
        mask = np.zeros(images[name].size, bool)
        mask.reshape(-1)[[row[3] for row in own]] = True
        values = [1 - row[1] / 2**64 if strategy == "random-pixels" else -row[0] for row in own]
        found[name] = (mask, sum(values) / len(values))
    return found


@st.composite
def pixel_images(draw):
    images = {}
    for i in range(draw(st.integers(1, 4))):
        rng = np.random.default_rng(draw(st.integers(0, 10_000)))
        size = tuple(rng.integers(1, 9, 2).tolist())
        heat_size = size if rng.random() < 0.5 else tuple(rng.integers(1, 5, 2).tolist())
        greys = rng.choice([0, 1, 60, 61, 255], 2)
        images[f"sub/im{i}.png"] = Image(
            grid(*size, 3), heat=rng.choice(greys, heat_size), labels=rng.integers(0, 2, size)
        )
    return images


@settings(max_examples=80, deadline=None)
@given(
    images=pixel_images(),
    strategy=st.sampled_from(["entropy-pixels", "entropy-edge", "random-pixels"]),
    mode=st.sampled_from(["multiply", "add"]),
    weight=st.sampled_from([0.0, 0.5, 1.0]),
    budget=st.one_of(st.integers(1, 70), st.sampled_from(["5%", "10%", "50%", "100%"])),
    scope=st.sampled_from(["pool", "image"]),
    seed=st.integers(0, 2**40),
    bins=st.sampled_from([1, 3, 20]),
    data=st.data(),
)
def test_picks_are_those_of_a_plain_sort(
    tmp_path_factory, images, strategy, mode, weight, budget, scope, seed, bins, data
):
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    order = rng.permutation(list(images)).tolist()
    options = SelectOptions(edge_mode=mode, edge_weight=weight, edge_dilation=0)
    folder = tmp_path_factory.mktemp("ignore")
    never = {name: np.zeros(image.size, bool) for name, image in images.items()}
    for name in order:
        if rng.random() < 0.4:
            never[name] = rng.random(images[name].size) < 0.4
            write_png(folder / name, never[name] * 255)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(pixel_select, "_BINS", bins)
        patch.setattr(pixel_select, "_SHIFT", np.uint64(64 - bins))
        run = make_region_run(
            tmp_path_factory.mktemp("run"),
            {name: images[name] for name in order},
            shard_size=int(rng.integers(1, 4)),
            maps=True,
        )
        batch = select(
            run,
            budget=budget,
            unit="pixels",
            budget_scope=scope,
            strategy=strategy,
            options=options,
            ignore=folder,
            seed=seed,
        )

    def amount_of(total):
        return math.floor(Fraction(budget[:-1]) / 100 * total) if isinstance(budget, str) else min(budget, total)

    if scope == "pool":
        expected = plain_picks(images, strategy, options, amount_of, seed, never)
    else:
        expected = {}
        for name in images:
            expected |= plain_picks({name: images[name]}, strategy, options, amount_of, seed, never)
    got = {row["image_id"]: row for row in batch.to_pylist()}
    assert set(got) == set(expected)
    for name, (mask, score) in expected.items():
        assert np.array_equal(decode_rle(got[name]["rle"], mask.shape), mask)
        assert got[name]["cost"] == mask.sum()
        assert got[name]["score"] == pytest.approx(score, rel=1e-6)
        assert got[name]["region_id"] is None
    scores = batch.column("score").to_pylist()
    assert scores == sorted(scores, reverse=True)
    facts = batch_facts(batch)
    assert facts["pool"] == sum(int((~mask).sum()) for mask in never.values())
    assert facts["bought"] == sum(int(mask.sum()) for mask, _ in expected.values())


@pytest.mark.parametrize("strategy", ["entropy-pixels", "random-pixels"])
@pytest.mark.parametrize("scope", ["pool", "image"])
def test_flat_maps_favour_no_pixel(tmp_path, strategy, scope):
    images = {name: flat_image((6, 5), 77) for name in ("a", "b")}
    run = make_region_run(tmp_path, images, maps=True)
    counts = {name: np.zeros((6, 5)) for name in images}
    for seed in range(300):
        batch = select(run, budget="10%", unit="pixels", strategy=strategy, budget_scope=scope, seed=seed)
        assert sum(batch.column("cost").to_pylist()) == 6
        for row in batch.to_pylist():
            counts[row["image_id"]] += decode_rle(row["rle"], (6, 5))
    # 300 draws of 1 in 10: mean 30, standard deviation 5.2; five of them either way
    assert all(4 < count < 56 for count in np.stack(list(counts.values())).reshape(-1)), counts


def test_uniform_uncertainty_is_bought_before_certainty(tmp_path):
    heat = np.zeros((4, 6))
    heat[1:3, 2:5] = 255
    run = make_region_run(tmp_path, {"a": Image(np.zeros((4, 6), int), heat=heat)}, maps=True)
    row = select(run, budget=6, unit="pixels", strategy="entropy-pixels").to_pylist()[0]
    assert np.array_equal(decode_rle(row["rle"], (4, 6)), heat > 0)
    assert row["score"] == pytest.approx(math.log(3))
    assert row["reason"] == "6 of 24 pixels, entropy 1.0986 on average"


def test_edges_of_the_labels_come_first_or_not_at_all(tmp_path):
    labels = np.zeros((8, 8))
    labels[:, 4:] = 1
    run = make_region_run(tmp_path, {"a": flat_image((8, 8), 0, labels)}, maps=True)
    edge = edge_map(labels=labels.astype(np.uint8), dilation=0)
    options = SelectOptions(edge_mode="add", edge_dilation=0)
    chosen = {"unit": "pixels", "strategy": "entropy-edge"}
    batch = select(run, budget=16, **chosen, options=options)
    assert np.array_equal(decode_rle(batch.column("rle")[0].as_py(), (8, 8)), edge)
    facts = batch_facts(batch)
    assert (facts["edge_mode"], facts["edge_source"], facts["edge_weight"]) == ("add", "labels", 1.0)
    # A factor on an entropy of 0 is 0: then edges are as likely as the rest.
    drawn = select(run, budget=16, **chosen, options=SelectOptions(edge_dilation=0))
    assert not np.array_equal(decode_rle(drawn.column("rle")[0].as_py(), (8, 8)), edge)
    assert drawn.column("score").to_pylist() == [0.0]


def test_edges_of_the_image_read_the_picture_again(tmp_path):
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, 4:] = 255
    Pillow.fromarray(picture).save(tmp_path / "a.png")
    images = {"a": flat_image((8, 8), 9)}
    run = make_region_run(tmp_path / "run", images, maps=True, uris={"a": str(tmp_path / "a.png")})
    options = SelectOptions(edge_source="image", edge_dilation=0)
    chosen = {"budget": 16, "unit": "pixels", "strategy": "entropy-edge", "options": options}
    batch = select(run, **chosen)
    assert np.array_equal(decode_rle(batch.column("rle")[0].as_py(), (8, 8)), edge_map(picture, dilation=0))
    Pillow.fromarray(picture[:5]).save(tmp_path / "a.png")
    with pytest.raises(RunError, match=r"^a has 8 x 5 pixels now, it had 8 x 8 when it was scored; "):
        select(run, **chosen)
    (tmp_path / "a.png").unlink()
    with pytest.raises(RunError, match=r"^cannot read a again for its edges: "):
        select(run, **chosen)


def test_rounds_never_buy_a_pixel_twice(tmp_path):
    rng = np.random.default_rng(0)
    images = {f"i{k}": Image(grid(10, 10, 5), heat=rng.integers(0, 9, (5, 5))) for k in range(3)}
    run = make_region_run(tmp_path / "run", images, maps=True)
    bought = {name: np.zeros((10, 10), int) for name in images}
    kinds = [("entropy-pixels", 70), ("superpixel", 110), ("random-pixels", 40), ("superpixel", 400)]
    files = []
    for n, (strategy, budget) in enumerate(kinds):
        out = tmp_path / f"{n}.parquet"
        batch = select(run, budget=budget, unit="pixels", strategy=strategy, exclude=files, out=out)
        for row in batch.to_pylist():
            mask = decode_rle(row["rle"], (10, 10))
            assert mask.sum() == row["cost"]
            bought[row["image_id"]] += mask
        files.append(out)
        assert batch_facts(batch)["pool"] == 300 - sum(batch_facts_of(files[:-1]))
    assert all((counts == 1).all() for counts in bought.values())
    other = make_region_run(tmp_path / "other", {"i0": flat_image((4, 4))}, maps=True)
    with pytest.raises(RunError, match="an exclude file has a wrong rle for i0"):
        select(other, budget=1, unit="pixels", strategy="random-pixels", exclude=files)


def batch_facts_of(files):
    return [batch_facts(read_batch(path))["bought"] for path in files]


def test_a_random_draw_needs_no_maps_but_entropy_does(tmp_path):
    run = make_region_run(tmp_path / "run", {"a": flat_image((4, 4))})
    assert select(run, budget=3, unit="pixels", strategy="random-pixels").column("cost").to_pylist() == [3.0]
    for strategy in ("entropy-pixels", "entropy-edge"):
        with pytest.raises(RunError) as caught:
            select(run, budget=3, unit="pixels", strategy=strategy)
        assert str(caught.value) == f"{run} has no heatmaps; score the pool with --maps into another --out"
    with pytest.raises(UsageError, match="unit must be pixels with strategy entropy-pixels; got images"):
        select(run, budget=3, strategy="entropy-pixels")
    with pytest.raises(UsageError, match="measure must be left at entropy_mean with strategy entropy-edge"):
        select(run, budget=3, unit="pixels", strategy="entropy-edge", measure="margin_mean")


def test_maps_that_are_lost_or_wrong_are_named(tmp_path):
    run = make_region_run(tmp_path, {"a": flat_image((4, 4))}, maps=True)
    heat, labels = tmp_path / "maps/entropy/a.png", tmp_path / "maps/labels/a.png"
    write_png(labels, np.zeros((4, 3)))
    with pytest.raises(RunError) as caught:
        select(run, budget=3, unit="pixels", strategy="entropy-edge")
    assert str(caught.value) == (
        f"label map {labels} has 3 x 4 pixels, the image has 4 x 4; score the pool with --maps into another --out"
    )
    labels.unlink()
    with pytest.raises(RunError, match=r"label map .* does not exist; score the pool with --maps"):
        select(run, budget=3, unit="pixels", strategy="entropy-edge")
    heat.write_bytes(heat.read_bytes()[:40])
    with pytest.raises(RunError, match=f"^cannot read heatmap {heat}: .*; score the pool with --maps"):
        select(run, budget=3, unit="pixels", strategy="entropy-pixels")
    heat.unlink()
    with pytest.raises(RunError, match=f"^heatmap {heat} does not exist; score the pool with --maps"):
        select(run, budget=3, unit="pixels", strategy="entropy-pixels")


def test_budgets_at_the_ends(tmp_path, caplog):
    run = make_region_run(tmp_path, {name: flat_image((3, 3)) for name in "ab"}, maps=True)
    chosen = {"unit": "pixels", "strategy": "entropy-pixels"}
    everything = select(run, budget=19, **chosen)
    assert everything.column("rle").to_pylist() == [encode_mask(np.ones((3, 3), bool))] * 2
    assert caplog.messages == ["the budget of 19 pixels is more than the 18 to choose from; all are selected"]
    caplog.clear()
    assert select(run, budget="5%", **chosen).num_rows == 0
    assert caplog.messages == [
        "the budget of 5% of the pixels does not pay for what ranks first, so nothing is selected; the smallest costs "
        "1 pixels"
    ]
    caplog.clear()
    assert sum(select(run, budget="5.6%", **chosen).column("cost").to_pylist()) == 1
    assert sum(select(run, budget="99%", **chosen).column("cost").to_pylist()) == 17
    assert caplog.messages == []
    with pytest.raises(UsageError, match="whole number"):
        select(run, budget=0, **chosen)
    assert select(run, budget=10, **chosen, budget_scope="image").num_rows == 2
    assert caplog.messages == [
        "the budget of 10 pixels in each image is more than there is in 2 of 2 images; these are selected whole"
    ]
    excluded = select(run, budget="100%", **chosen, exclude=["a", "b"])
    assert excluded.num_rows == 0
    assert batch_facts(excluded)["pool"] == 0


def test_nothing_depends_on_the_parts(tmp_path):
    rng = np.random.default_rng(5)
    images = {f"i{k}": Image(grid(9, 9, 3), heat=rng.integers(0, 3, (5, 5))) for k in range(7)}
    batches = []
    for shard_size, order in ((1, list(images)), (4, list(images)[::-1])):
        run = make_region_run(
            tmp_path / str(shard_size), {name: images[name] for name in order}, shard_size=shard_size, maps=True
        )
        batches.append(select(run, budget=100, unit="pixels", strategy="entropy-pixels", seed=8))
    assert batches[0].equals(batches[1])
