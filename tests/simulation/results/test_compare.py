"""What is called noise, and which published orderings are said to come out."""

import math

import pytest

from alseg_fast.simulation.results.ablations import ablation_charts, read_setting
from alseg_fast.simulation.results.compare import (
    CLEAR,
    INSIDE,
    NEAR,
    UNKNOWN,
    difference,
    differences,
    main_curves,
    orderings,
    stand_ins,
    verdict_of,
    within_strategies,
)
from alseg_fast.simulation.results.published import published
from alseg_fast.simulation.results.summary import summarise
from round_rows import run


def test_the_rule_is_the_stated_one():
    assert [verdict_of(d, 1.0) for d in (0.0, -1.0, 1.01, -2.0, 2.01)] == [INSIDE, INSIDE, NEAR, NEAR, CLEAR]
    assert verdict_of(5.0, None) == verdict_of(5.0, 0.0) == UNKNOWN
    equal = difference("a", dict.fromkeys(range(3), 0.1), "b", dict.fromkeys(range(3), 0.3))
    assert equal.verdict == UNKNOWN  # although the spread of three 0.1 is not 0 in floating point


def test_a_difference_by_hand():
    d = difference("a", {0: 0.5, 1: 0.7, 2: 0.6}, "b", {0: 0.55, 1: 0.45})
    assert d is not None
    assert d.mean == pytest.approx(0.1)
    assert d.noise == pytest.approx(math.sqrt(((0.02 / 3) + 0.0025) / 2))
    assert (d.ahead, d.paired, d.verdict) == (1, 2, NEAR)
    assert difference("a", {0: 0.5}, "b", {}) is None
    assert difference("a", {0: 0.5}, "b", {0: 0.1}).verdict == UNKNOWN


def test_the_higher_one_comes_first():
    curves = summarise(run("low", [0.1], 0) + run("low", [0.2], 1) + run("high", [0.8], 0) + run("high", [0.9], 1))
    (d,) = differences(curves)
    assert (d.first, d.second, d.ahead, d.paired, d.verdict) == ("high", "low", 2, 2, CLEAR)


def seeds(strategy, means, setting=""):
    return [r for seed, mean in enumerate(means) for r in run(strategy, [mean] * 3, seed, setting)]


def test_published_orderings_come_out_or_not_or_stay_open():
    rows = seeds("random", [0.70, 0.71, 0.72]) + seeds("entropy", [0.60, 0.61, 0.62])
    rows += seeds("mc_dropout", [0.70, 0.71, 0.721]) + seeds("label_prop", [0.80, 0.81, 0.82])
    told = {(o.first, o.second): o for o in orderings(summarise(rows), published("belharbi_glas"))}
    assert told["label_prop", "random"].outcome == "comes out"
    assert told["entropy", "random"].outcome == "does not come out"
    assert told["random", "mc_dropout"].outcome == "undecided"
    assert told["entropy", "random"].published_verdict == INSIDE  # 0.56 points between 0.93 and 0.26
    assert "10.00 points behind, ahead in 0 of 3 shared seeds, clearly" in told["entropy", "random"].words
    assert "paper's own noise" in told["entropy", "random"].words
    assert "inside the noise" in told["random", "mc_dropout"].words
    assert len(told) == 6


def test_the_last_score_counts_where_the_paper_ranks_by_it():
    rows = [r for s in (0, 1) for r in run("superpixel", [0.1, 0.1, 0.9 + s / 1000], s)]
    rows += [r for s in (0, 1) for r in run("random", [0.9, 0.9, 0.5 + s / 1000], s)]
    (o,) = orderings(summarise(rows), published("kasarla_cityscapes"))
    assert (o.first, o.outcome) == ("superpixel", "comes out")


def test_the_published_form_of_a_score_stands_for_the_published_strategy():
    rows = seeds("entropy", [0.8, 0.81]) + seeds("entropy_published", [0.6, 0.61]) + seeds("random", [0.7, 0.71])
    curves = summarise(rows)
    (o,) = orderings(curves, published("belharbi_glas"))
    assert (o.first, o.outcome) == ("entropy_published", "does not come out")
    assert stand_ins(curves[:1], published("belharbi_glas"))["entropy"].strategy == "entropy"
    names = summarise(seeds("random-pixels", [0.1]) + seeds("entropy-pixels", [0.1]))
    assert set(stand_ins(names, published("kasarla_cityscapes"))) == {"random", "entropy"}


def test_one_seed_decides_nothing():
    rows = run("random", [0.5, 0.6]) + run("label_prop", [0.7, 0.8])
    (o,) = orderings(summarise(rows), published("belharbi_glas"))
    assert o.outcome == "undecided"
    assert "do not tell" in o.words


def test_the_main_setting_stands_for_its_strategy():
    curves = summarise(seeds("a", [0.1, 0.2], "k=1") + seeds("a", [0.3, 0.4], "k=5") + seeds("b", [0.5, 0.6]))
    assert [c.name for c in main_curves(curves)] == ["a k=1", "b"]
    assert [c.name for c in main_curves(curves, {"a": "k=5"})] == ["a k=5", "b"]
    assert [(d.first, d.second) for d in within_strategies(curves)] == [("a k=5", "a k=1")]


def test_settings_are_read():
    assert read_setting("k=5, lambda=0.1") == {"k": "5", "lambda": "0.1"}
    assert read_setting("as published") == {"": "as published"}
    assert read_setting("") == {}


def test_one_chart_a_parameter_with_the_others_held():
    rows = []
    for i, setting in enumerate(("k=40 lambda=0.1", "k=1 lambda=0.1", "k=40 lambda=1", "")):
        rows += seeds("label_prop", [0.1 * i, 0.1 * i], setting)
    charts = ablation_charts(summarise(rows), published("belharbi_glas"), ["label_prop"])
    assert [c["parameter"] for c in charts] == ["k", "lambda"]
    assert [len(c["published"]) for c in charts] == [15, 20]
    (line,) = charts[0]["lines"]
    assert line["name"] == "lambda=0.1"
    assert [(p["value"], p["number"]) for p in line["points"]] == [("40", 40.0), ("1", 1.0)]
    assert line["points"][1]["auc"][0] == pytest.approx(0.1)
    assert ablation_charts(summarise(seeds("random", [0.1], "k=1")), None, ["random"]) == []
