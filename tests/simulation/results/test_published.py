"""The published figures agree with themselves, and the area code returns the published table from the curves."""

import math

import numpy as np
import pytest

from alseg_fast.errors import RangeError
from alseg_fast.simulation.results.auc import auc
from alseg_fast.simulation.results.published import PUBLISHED, published, same_strategy

TABLE = {
    "belharbi_glas": {"random": 78.57, "entropy": 79.13, "mc_dropout": 77.92, "label_prop": 81.48},
    "belharbi_cub": {"random": 68.15, "entropy": 68.25, "mc_dropout": 67.69, "label_prop": 71.73},
}
SHORT = [(name, strategy) for name, row in TABLE.items() for strategy in row]


@pytest.mark.parametrize(("name", "strategy"), SHORT)
def test_the_area_of_the_published_curve_is_the_published_area(name, strategy):
    curve = published(name).curves[strategy]
    assert abs(auc(curve) - TABLE[name][strategy]) <= 0.01
    assert abs(np.mean(curve) - TABLE[name][strategy]) > 0.04  # a plain mean over rounds is something else
    assert published(name).auc[strategy].mean == TABLE[name][strategy]


@pytest.mark.parametrize("name", TABLE)
def test_methods_trained_once_have_their_score_as_area(name):
    item = published(name)
    for strategy, seeds in item.per_seed.items():
        assert auc(item.curves[strategy]) == item.auc[strategy].mean
        assert np.mean(seeds) == pytest.approx(item.auc[strategy].mean, abs=0.005)
        assert np.std(seeds) == pytest.approx(item.auc[strategy].std, abs=0.006)  # population, not sample
        assert len(seeds) == item.runs == item.auc[strategy].n


def test_rounds_and_pictures_of_the_published_settings():
    glas, cub = published("belharbi_glas"), published("belharbi_cub")
    assert {len(c) for c in glas.curves.values()} == {1, 25}
    assert {len(c) for c in cub.curves.values()} == {1, 20}
    assert (glas.x[1][0], glas.x[1][-1], cub.x[1][0], cub.x[1][-1]) == (8, 56, 200, 4000)
    for name in ("kasarla_cityscapes", "kasarla_mapillary"):
        assert {len(c) for c in published(name).curves.values()} == {7} == {len(published(name).x[1])}


@pytest.mark.parametrize("name", ["kasarla_cityscapes", "kasarla_mapillary"])
def test_printed_shares_are_truncated_shares_of_the_same_rows_baseline(name):
    item = published(name)
    wrong = [
        (strategy, number, printed)
        for strategy, shares in item.shares.items()
        for number, printed in enumerate(shares)
        if printed is not None
        and math.floor(1000 * item.curves[strategy][number] / item.curves["full"][number] + 1e-9) / 10 != printed
    ]
    misprint = [("class-superpixel-crf", 5, 95.2)] if name == "kasarla_cityscapes" else []
    assert wrong == misprint
    assert any("misprint" in note for note in item.notes) == bool(misprint)


def test_ablations_peak_where_the_authors_say():
    glas, cub = published("belharbi_glas").ablations, published("belharbi_cub").ablations
    best = [(a.parameter, max(a.values, key=lambda v, a=a: a.values[v])) for a in (*glas, *cub)]
    assert best == [("k", 40), ("lambda", 0.1), ("lambda", 1e-3)]
    assert len(glas[0].values) == 15
    assert len(glas[1].values) == 20
    assert len(cub[0].values) == 15


def test_every_set_is_whole():
    for name, item in PUBLISHED.items():
        assert item.name == name
        assert set(item.labels) == set(item.curves)
        assert item.full in item.curves
        assert all(0 < v < 100 for curve in item.curves.values() for v in curve)
        assert set(item.auc) <= set(item.labels)
        assert set(item.shares) <= set(item.labels)


def test_names_of_one_strategy_meet():
    assert same_strategy("MC_Dropout") == same_strategy("mc-dropout")
    assert same_strategy("full_sup") == same_strategy("full") == same_strategy("Baseline")
    assert same_strategy("superpixel-crf") != same_strategy("class-superpixel-crf")


def test_an_unknown_name_is_told():
    with pytest.raises(RangeError, match=r"name must be one of belharbi_glas, .*; got 'glas'"):
        published("glas")
