"""Selection of regions: the same picks as a plain sort, within the budget, without what is never to be bought."""

import itertools
import math
import os
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg_fast.errors import RunError, UsageError
from alseg_fast.ops.rle import decode_rle
from alseg_fast.stages.select import SelectOptions, batch_facts, read_batch, select
from alseg_fast.stages.strategies import top
from region_runs import CLASSES, Image, grid, make_region_run, part_hash, write_png

COSTS = {"pixels": "area", "clicks": "cost_clicks", "seconds": "cost_seconds"}


def candidates(images, unit, column, *, seed=0, ignored=None, excluded=()):
    """Every region that may be bought, as a dict, from the definition."""
    rows = []
    for name, image in images.items():
        for i in range(image.n):
            where = image.segments == i
            if ignored is not None and name in ignored:
                where = where & (ignored[name] == 0)
            area = int(where.sum())
            if name in excluded or (name, i) in excluded or area == 0:
                continue
            if unit == "regions":
                cost = 1.0
            elif unit == "pixels":
                cost = float(area)
            else:
                cost = float(np.float32(image.columns[COSTS[unit]][i])) * (area / image.area[i])
                cost = max(1, round(cost * 65536)) / 65536
            tie = part_hash(name, i, seed)
            score = 1 - float(tie) / 2**64 if column is None else float(np.float32(image.columns[column][i]))
            row = {"image": name, "region": i, "score": score, "tie": tie, "cost": cost, "area": area, "where": where}
            rows.append(row | {"class": int(image.columns["crf_class"][i])})
    return sorted(rows, key=lambda row: (-row["score"], row["tie"], row["image"], row["region"]))


def affordable(rows, amount):
    paid = itertools.accumulate(row["cost"] for row in rows)
    return [row for row, total in zip(rows, paid, strict=True) if total <= amount]


def amount_of(budget, rows, unit):
    if not isinstance(budget, str):
        return budget
    amount = Fraction(budget[:-1]) / 100 * sum(Fraction(row["cost"]) for row in rows)
    return math.floor(amount) if unit in ("regions", "pixels") else amount


def split(rows, amount, rule):
    """The picks of a split over classes with their turns, by the docstring of `buy_by_class`."""
    by = {value: [row for row in rows if row["class"] == value] for value in {row["class"] for row in rows}}
    total = {value: sum(row["cost"] for row in own) for value, own in by.items()}
    share = {value: sum(row["area"] for row in own) / sum(row["area"] for row in rows) for value, own in by.items()}
    weight = {v: {"equal": 1.0, "inverse": 1 / s, "exp": math.exp(-s)}[rule] for v, s in share.items()}
    order = sorted(by, key=lambda value: (total[value] / weight[value], value))
    left, picks = float(amount), []
    for place, value in enumerate(order):
        own = left * (weight[value] / math.fsum(weight[other] for other in order[place:]))
        own = total[value] if amount >= sum(total.values()) else own
        bought = affordable(by[value], own)
        before = 0.0
        for row in bought:
            picks.append(row | {"turn": before / own})
            before += row["cost"]
        left -= before
    return picks


def ranked(picks):
    return sorted(picks, key=lambda row: (row.get("turn", 0), -row["score"], row["tie"], row["image"], row["region"]))


def picks_of(batch):
    return list(zip(batch.column("image_id").to_pylist(), batch.column("region_id").to_pylist(), strict=True))


@st.composite
def region_images(draw):
    images = {}
    for i in range(draw(st.integers(1, 6))):
        rng = np.random.default_rng(draw(st.integers(0, 10_000)))
        height, width = rng.integers(1, 9, 2)
        cell = int(rng.integers(1, 5))
        images[f"dir{i % 2}/im{i}.jpg"] = Image(grid(height, width, cell), seed=rng)
    return images


@settings(max_examples=60, deadline=None)
@given(
    images=region_images(),
    strategy=st.sampled_from(["superpixel", "superpixel-crf", "class-superpixel-crf", "random-superpixels"]),
    unit=st.sampled_from(["regions", "pixels", "clicks", "seconds"]),
    scope=st.sampled_from(["pool", "image"]),
    rule=st.sampled_from(["equal", "inverse", "exp"]),
    budget=st.one_of(st.integers(1, 60), st.sampled_from(["5%", "10%", "33.3%", "100%"])),
    seed=st.integers(0, 2**40),
    slack=st.sampled_from([0, 2, 1 << 17]),
    data=st.data(),
)
def test_picks_are_those_of_a_plain_sort(
    tmp_path_factory, images, strategy, unit, scope, rule, budget, seed, slack, data
):
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    order = rng.permutation(list(images)).tolist()
    excluded = set(data.draw(st.lists(st.sampled_from(order), max_size=1)))
    ignored = {name: rng.integers(0, 2, images[name].size) * 255 for name in order if rng.random() < 0.4}
    folder = tmp_path_factory.mktemp("ignore")
    for name, mask in ignored.items():
        write_png(folder / f"{name}.png" if rng.random() < 0.5 else folder / name.replace(".jpg", ".png"), mask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(top, "_SLACK_ROWS", slack)
        run = make_region_run(
            tmp_path_factory.mktemp("run"), {name: images[name] for name in order}, shard_size=int(rng.integers(1, 8))
        )
        batch = select(
            run,
            budget=budget,
            unit=unit,
            budget_scope=scope,
            strategy=strategy,
            options=SelectOptions(class_rule=rule),
            exclude=excluded,
            ignore=folder,
            seed=seed,
        )
    column = {"superpixel": "entropy_mean", "random-superpixels": None}.get(strategy, "crf_entropy")
    rows = candidates(images, unit, column, seed=seed, ignored=ignored, excluded=excluded)
    scopes = [rows] if scope == "pool" else [[r for r in rows if r["image"] == name] for name in images]
    expected = []
    for own in scopes:
        amount = amount_of(budget, own, unit)
        expected += split(own, amount, rule) if strategy.startswith("class") else affordable(own, amount)
    expected = ranked(expected)
    assert picks_of(batch) == [(row["image"], row["region"]) for row in expected]
    assert batch.column("cost").to_pylist() == [row["cost"] for row in expected]
    assert batch.column("score").to_pylist() == pytest.approx([row["score"] for row in expected])
    for rle, row in zip(batch.column("rle").to_pylist(), expected, strict=True):
        mask = decode_rle(rle, images[row["image"]].size)
        assert np.array_equal(mask, row["where"])
    facts = batch_facts(batch)
    assert facts["bought"] == sum(row["cost"] for row in expected)
    assert facts["pool"] == sum(row["cost"] for row in rows)
    assert facts["considered"] == len(rows)


def hundred(**columns):
    """One image of 10 x 10 in 25 regions of 4 pixels."""
    return {"a": Image(grid(10, 10, 2), **columns)}


def test_the_real_share_is_stated_and_never_more_than_asked(tmp_path, caplog):
    run = make_region_run(tmp_path, hundred())
    with caplog.at_level("INFO", "alseg"):
        batch = select(run, budget="10%", unit="pixels", strategy="superpixel")
    facts = batch_facts(batch)
    assert (facts["budget"], facts["bought"], facts["pool"], facts["share"]) == ("10%", 8, 100, 0.08)
    assert caplog.messages == ["bought 8 of 100 pixels (8.00 %)"]
    assert facts["regions"] == "slic:4"
    assert batch.column("reason").to_pylist()[1] == "entropy_mean 1.0000, rank 2 of 25, highest 8.0 %"


def test_existing_strategies_work_on_regions(tmp_path):
    images = hundred(entropy_mean=np.arange(25) / 32, cost_clicks=np.arange(25) + 1)
    run = make_region_run(tmp_path, images)
    assert picks_of(select(run, budget=2, unit="regions")) == [("a", 24), ("a", 23)]
    assert picks_of(select(run, budget=9, unit="pixels", strategy="entropy")) == [("a", 24), ("a", 23)]
    assert picks_of(select(run, budget=25, unit="clicks", measure="cost_clicks")) == [("a", 24)]
    assert picks_of(select(run, budget=37.5, unit="seconds", measure="cost_clicks")) == [("a", 24)]
    assert picks_of(select(run, budget=9, unit="pixels", strategy="superpixel", measure="entropy_sum"))[0] == ("a", 24)
    drawn = select(run, budget=5, unit="regions", strategy="random", seed=3)
    assert picks_of(drawn) == picks_of(select(run, budget=5, unit="regions", strategy="random-superpixels", seed=3))


@pytest.mark.parametrize(
    ("strategy", "scope", "text"),
    [
        ("superpixel", "pool", "the budget of 101 pixels is more than the 100 to choose from; all are selected"),
        (
            "class-superpixel-crf",
            "pool",
            "the budget of 101 pixels is more than the 100 to choose from; all are selected",
        ),
        (
            "superpixel",
            "image",
            "the budget of 101 pixels in each image is more than there is in 1 of 1 images; these are selected whole",
        ),
    ],
)
def test_a_budget_beyond_the_pool_takes_all_and_warns(tmp_path, caplog, strategy, scope, text):
    run = make_region_run(tmp_path, hundred())
    batch = select(run, budget=101, unit="pixels", strategy=strategy, budget_scope=scope)
    assert batch.num_rows == 25
    assert caplog.messages == [text]
    caplog.clear()
    assert select(run, budget=100, unit="pixels", strategy=strategy, budget_scope=scope).num_rows == 25
    assert caplog.messages == []


@pytest.mark.parametrize("strategy", ["superpixel", "class-superpixel-crf", "random-superpixels"])
@pytest.mark.parametrize("scope", ["pool", "image"])
def test_a_budget_below_one_region_buys_nothing_and_says_the_smallest(tmp_path, caplog, strategy, scope):
    run = make_region_run(tmp_path, {"a": Image(grid(10, 9, 3))})
    batch = select(run, budget=2, unit="pixels", strategy=strategy, budget_scope=scope)
    assert batch.num_rows == 0
    assert batch_facts(batch)["bought"] == 0
    where = " in each image" if scope == "image" else ""
    assert caplog.messages == [
        f"the budget of 2 pixels{where} does not pay for what ranks first, so nothing is selected; the smallest costs "
        "3 pixels"
    ]


def test_budgets_that_cannot_be_are_refused(tmp_path):
    run = make_region_run(tmp_path, hundred())
    for unit, budget, text in (
        ("pixels", 0, "budget must be a whole number >= 1; got 0."),
        ("pixels", -5, "budget must be a whole number >= 1; got -5."),
        ("regions", 1.5, "budget must be a whole number >= 1; got 1.5."),
        ("clicks", 0.0, "budget must be a number > 0, or a share such as 10%; got 0.0."),
        ("clicks", math.nan, "budget must be a number > 0, or a share such as 10%; got nan."),
        ("seconds", math.inf, "budget must be a number > 0, or a share such as 10%; got inf."),
        ("seconds", "7", "budget must be a number > 0, or a share such as 10%; got 7."),
        ("pixels", "0%", "budget must be a share above 0 % such as 10%; got 0%."),
        ("pixels", "-3%", "budget must be a share above 0 % such as 10%; got -3%."),
        ("images", "%", "budget must be a share above 0 % such as 10%; got %."),
    ):
        with pytest.raises(UsageError) as caught:
            select(run, budget=budget, unit=unit)
        assert str(caught.value) == f"select: {text}"


def test_requests_that_cannot_be_are_refused(tmp_path):
    run = make_region_run(tmp_path / "run", hundred(), crf=False)
    bare = make_region_run(tmp_path / "bare", hundred(), crf=False, regions=None)
    for error, where, arguments, text in (
        (UsageError, run, {"strategy": "superpixel"}, "unit must be regions, pixels, clicks or seconds with strategy"),
        (UsageError, run, {"budget_scope": "image"}, "budget_scope image must have a unit of regions, pixels, clicks"),
        (UsageError, run, {"budget_scope": "part"}, "budget_scope must be one of pool, image; got part."),
        (UsageError, run, {"unit": "regions", "measure": "beauty"}, "measure must be one of region_id, x, y, w, h"),
        (UsageError, run, {"ignore": tmp_path}, "ignore must be used with regions or pixels; got unit images."),
        (
            RunError,
            run,
            {"unit": "pixels", "strategy": "superpixel-crf"},
            "have no crf_class; score the pool with --crf",
        ),
        (RunError, run, {"unit": "regions", "ignore": tmp_path / "no"}, "ignore {}/no does not exist; give the dire"),
        (RunError, bare, {"unit": "regions"}, "has no regions; score the pool with --regions slic:400 into another"),
        (RunError, bare, {"unit": "clicks", "strategy": "superpixel"}, "has no regions; score the pool with --regions"),
    ):
        with pytest.raises(error) as caught:
            select(where, budget=1, **arguments)
        assert text.format(tmp_path) in str(caught.value)
    crf = make_region_run(tmp_path / "crf", hundred())
    with pytest.raises(UsageError, match=r"got entropy_sum. Use crf_use labels\.$"):
        select(crf, budget=9, unit="pixels", strategy="superpixel-crf", measure="entropy_sum")
    for name, value in (
        ("crf_use", "x"),
        ("class_rule", "x"),
        ("edge_mode", "x"),
        ("edge_source", "x"),
        ("edge_weight", -1.0),
        ("edge_weight", math.inf),
        ("edge_dilation", 1.5),
        ("edge_threshold", 2.0),
    ):
        with pytest.raises(UsageError, match=f"^select: {name} must be "):
            SelectOptions(**{name: value})


def test_the_crf_ranks_or_only_labels(tmp_path):
    images = hundred(entropy_mean=np.arange(25) / 32, crf_entropy=np.arange(25)[::-1] / 32)
    run = make_region_run(tmp_path, images)
    chosen = {"budget": 8, "unit": "pixels", "strategy": "superpixel-crf"}
    assert picks_of(select(run, **chosen)) == [("a", 0), ("a", 1)]
    labels = select(run, **chosen, options=SelectOptions(crf_use="labels"))
    assert picks_of(labels) == picks_of(select(run, budget=8, unit="pixels", strategy="superpixel"))
    assert batch_facts(labels)["crf_use"] == "labels"
    assert batch_facts(labels)["measure"] == "entropy_mean"


# --- the split over classes ---


def class_counts(batch, image):
    classes = [int(image.columns["crf_class"][region]) for _, region in picks_of(batch)]
    return {value: classes.count(value) for value in range(3)}


def test_a_class_gets_its_share_and_what_others_cannot_use(tmp_path):
    # 1 region of class 0, 24 of class 2, none of class 1
    image = Image(grid(10, 10, 2), crf_class=[0] + [2] * 24, crf_entropy=[0.0] + [1.0] * 24)
    run = make_region_run(tmp_path, {"a": image})
    options = {"unit": "pixels", "strategy": "class-superpixel-crf"}
    batch = select(run, budget=8, **options)
    assert class_counts(batch, image) == {0: 1, 1: 0, 2: 1}
    assert "rank 1 of 1 of class sky" in " ".join(batch.column("reason").to_pylist())
    assert class_counts(select(run, budget=40, **options), image) == {0: 1, 1: 0, 2: 9}, "sky has one region only"
    # a region costs 4; sky's part of 6 is 3 with equal, 5.8 with inverse, 4.3 with exp
    for rule, counts in (("equal", {0: 0, 1: 0, 2: 1}), ("inverse", {0: 1, 1: 0, 2: 0}), ("exp", {0: 1, 1: 0, 2: 0})):
        batch = select(run, budget=6, **options, options=SelectOptions(class_rule=rule))
        assert class_counts(batch, image) == counts, rule
    assert select(run, budget=4, **options).num_rows == 1, "half of 4 buys no sky, so all of it goes to tree"


def test_shares_follow_the_rule(tmp_path):
    image = Image(grid(40, 40, 1), crf_class=[0] * 400 + [1] * 1200)
    run = make_region_run(tmp_path, {"a": image})
    for rule, sky in (("equal", 0.5), ("inverse", 0.75), ("exp", 1 / (1 + math.exp(-0.5)))):
        batch = select(
            run,
            budget=200,
            unit="pixels",
            strategy="class-superpixel-crf",
            options=SelectOptions(class_rule=rule),
        )
        counts = class_counts(batch, image)
        assert counts[0] + counts[1] == 200
        assert abs(counts[0] - 200 * sky) <= 1, rule


def test_the_first_picks_spend_the_classes_in_proportion(tmp_path):
    image = Image(grid(40, 40, 1), crf_class=[0] * 400 + [1] * 1200)
    run = make_region_run(tmp_path, {"a": image})
    options = SelectOptions(class_rule="inverse")
    batch = select(run, budget=100, unit="regions", strategy="class-superpixel-crf", options=options)
    for first in (4, 20, 60):
        assert abs(class_counts(batch.slice(0, first), image)[0] - 0.75 * first) <= 1
    best = {value: image.columns["crf_entropy"][image.columns["crf_class"] == value].max() for value in (0, 1)}
    assert sorted(batch.column("score").to_pylist()[:2]) == sorted(best.values())


# --- exclusions and ignored pixels ---


def test_rounds_never_buy_a_region_twice(tmp_path):
    images = {f"i{k}": Image(grid(10, 10, 2), seed=k) for k in range(3)}
    run = make_region_run(tmp_path / "run", images)
    bought = []
    for n in range(4):
        out = tmp_path / f"{n}.parquet"
        earlier = [tmp_path / f"{k}.parquet" for k in range(n)]
        batch = select(run, budget=100, unit="pixels", strategy="superpixel", exclude=earlier, out=out)
        assert batch_facts(read_batch(out))["excluded"] == len(bought)
        bought += picks_of(batch)
    assert len(set(bought)) == len(bought) == 75
    whole = select(run, budget=3, exclude=tmp_path / "3.parquet")
    left = set(images) - {name for name, _ in picks_of(read_batch(tmp_path / "3.parquet"))}
    assert set(whole.column("image_id").to_pylist()) == left, "whole images would buy the regions again"


def test_regions_of_another_cut_are_excluded_by_their_pixels(tmp_path):
    coarse = make_region_run(tmp_path / "coarse", {"a": Image(grid(8, 8, 4))}, regions="grid:4")
    fine = make_region_run(tmp_path / "fine", {"a": Image(grid(8, 8, 3))}, regions="grid:3")
    first = select(coarse, budget=1, unit="regions", out=tmp_path / "first.parquet")
    second = select(fine, budget="100%", unit="pixels", exclude=tmp_path / "first.parquet")
    masks = [decode_rle(rle, (8, 8)) for rle in first.column("rle").to_pylist() + second.column("rle").to_pylist()]
    assert np.array_equal(np.sum(masks, axis=0), np.ones((8, 8))), "all once"
    assert batch_facts(second)["pool"] == 48


def test_an_image_id_excludes_the_image(tmp_path):
    run = make_region_run(tmp_path, {f"i{k}": Image(grid(4, 4, 2)) for k in range(3)})
    batch = select(run, budget="100%", unit="regions", exclude=["i1"])
    assert {name for name, _ in picks_of(batch)} == {"i0", "i2"}
    assert batch_facts(batch)["pool"] == 8


def test_an_ignored_region_is_no_candidate_and_others_shrink(tmp_path):
    run = make_region_run(tmp_path / "run", {"a": Image(grid(4, 4, 2), cost_clicks=[4.0] * 4)})
    mask = np.zeros((4, 4))
    mask[:2, :2] = 1
    mask[:2, 2] = 7
    write_png(tmp_path / "ignore/a.png", mask)
    batch = select(run, budget="100%", unit="clicks", ignore=tmp_path / "ignore")
    assert sorted(zip(picks_of(batch), batch.column("cost").to_pylist(), strict=True)) == [
        (("a", 1), 2.0),
        (("a", 2), 4.0),
        (("a", 3), 4.0),
    ]
    write_png(tmp_path / "ignore/a.png", np.zeros((4, 5)))
    with pytest.raises(RunError) as caught:
        select(run, budget="100%", unit="pixels", ignore=tmp_path / "ignore")
    assert str(caught.value) == (
        f"ignore mask {tmp_path}/ignore/a.png has 5 x 4 pixels, the image has 4 x 4; correct the mask, or take it out "
        "of the --ignore directory"
    )
    (tmp_path / "ignore/a.png").write_text("no picture")
    with pytest.raises(RunError, match=r"a\.png is no PNG; "):
        select(run, budget="100%", unit="pixels", ignore=tmp_path / "ignore")


def test_an_image_that_is_ignored_wholly_leaves_an_empty_pool(tmp_path):
    run = make_region_run(tmp_path / "run", hundred())
    write_png(tmp_path / "ignore/a.png", np.full((10, 10), 255))
    for scope in ("pool", "image"):
        for strategy in ("superpixel", "class-superpixel-crf"):
            batch = select(
                run, budget="10%", unit="pixels", strategy=strategy, budget_scope=scope, ignore=tmp_path / "ignore"
            )
            assert batch.num_rows == 0
            assert batch_facts(batch)["pool"] == 0


def test_masks_show_what_was_bought(tmp_path):
    from PIL import Image as Pillow

    images = {f"d/i{k}": Image(grid(9, 7, 2), seed=k) for k in range(3)}
    run = make_region_run(tmp_path / "run", images)
    batch = select(run, budget="20%", unit="pixels", strategy="superpixel", masks=tmp_path / "masks")
    for name in {name for name, _ in picks_of(batch)}:
        mask = np.asarray(Pillow.open(tmp_path / f"masks/{name}.png"))
        regions = [region for image, region in picks_of(batch) if image == name]
        assert np.array_equal(mask, 255 * np.isin(images[name].segments, regions))
    select(run, budget=1, masks=tmp_path / "whole")
    (path,) = (tmp_path / "whole/d").iterdir()
    assert np.asarray(Pillow.open(path)).min() == 255


def test_draws_of_regions_are_fair(tmp_path):
    run = make_region_run(tmp_path, {f"i{k}": Image(grid(4, 4, 2)) for k in range(3)})
    counts = dict.fromkeys(itertools.product(("i0", "i1", "i2"), range(4)), 0)
    for seed in range(300):
        for pick in picks_of(select(run, budget=3, unit="regions", strategy="random-superpixels", seed=seed)):
            counts[pick] += 1
    # 300 draws of 3 in 12: mean 75, standard deviation 7.5; five of them either way
    assert all(37 < count < 113 for count in counts.values()), counts


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 9), st.integers(0, 2)), min_size=1, max_size=40),
    budget=st.integers(1, 40),
    smaller=st.integers(0, 40),
    slack=st.sampled_from([0, 3]),
)
def test_a_shortlist_forgets_only_what_is_never_bought(rows, budget, smaller, slack):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top, "_SLACK_ROWS", slack)
        shortlist = top.Shortlist(float(budget))
        for number, (score, cost, tie) in enumerate(rows):
            columns = {"image_id": ["a"], "uri": ["a"], "region_id": [number], "cost": [float(cost)]}
            shortlist.add(pa.table(columns | {"tie": pa.array([tie], pa.uint64())}), np.array([float(score)]))
    order = sorted(range(len(rows)), key=lambda i: (-rows[i][0], rows[i][2], i))
    for amount in (budget, min(smaller, budget)):
        paid = itertools.accumulate(rows[i][1] for i in order)
        expected = [i for i, total in zip(order, paid, strict=True) if total <= amount]
        assert shortlist.ranked_within(amount).column("region_id").to_pylist() == expected


def test_old_batches_without_rle_can_be_read(tmp_path):
    run = make_region_run(tmp_path / "run", hundred())
    select(run, budget=1, out=tmp_path / "b.parquet")
    table = read_batch(tmp_path / "b.parquet")
    pa.parquet.write_table(table.drop_columns(["rle"]), tmp_path / "old.parquet")
    assert read_batch(tmp_path / "old.parquet").equals(table)


def test_classes_are_named_in_reasons(tmp_path):
    run = make_region_run(tmp_path, hundred(crf_class=[1] * 25))
    reason = select(run, budget=1, unit="regions", strategy="class-superpixel-crf").to_pylist()[0]["reason"]
    assert reason.endswith(f"rank 1 of 25 of class {CLASSES[1]}")
    reason = select(run, budget=1, unit="regions", strategy="superpixel", budget_scope="image").to_pylist()[0]["reason"]
    assert reason.endswith("rank 1 of 25 in its image")
