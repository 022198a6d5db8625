"""Areas, means over seeds, shares of full supervision and times, worked by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alseg_fast.errors import RangeError, RunError, ShapeError
from alseg_fast.simulation.results.auc import auc, spread
from alseg_fast.simulation.results.summary import find_full, shares_of_full, step_times, summarise
from round_rows import row, run

finite = st.floats(-1e3, 1e3)


@given(st.lists(finite, min_size=2, max_size=30))
def test_the_area_is_the_trapezoid_over_rounds(scores):
    expected = sum((a + b) / 2 for a, b in pairwise(scores)) / (len(scores) - 1)
    assert auc(scores) == pytest.approx(expected, abs=1e-9)


@given(finite)
def test_a_constant_curve_and_a_single_round_have_their_score_as_area(score):
    assert auc([score]) == score
    assert auc([score] * 5) == pytest.approx(score)


@pytest.mark.parametrize(
    ("scores", "error", "words"),
    [
        ([], ShapeError, r"scores must have shape \[R\]"),
        ([[1.0, 2.0]], ShapeError, r"got \[1, 2\]"),
        ([0.5, math.nan], RangeError, "scores must be finite"),
    ],
)
def test_areas_that_are_not_defined_are_refused(scores, error, words):
    with pytest.raises(error, match=words):
        auc(scores)


def test_the_spread_is_of_the_population():
    assert spread([1.0, 2.0, 4.0]) == pytest.approx((7 / 3, np.std([1, 2, 4]), 3))
    with pytest.raises(RangeError, match="at least one; got 0"):
        spread([])


def test_means_and_areas_over_seeds():
    rows = run("a", [0.5, 0.7, 0.8], seed=0) + run("a", [0.4, 0.5, 0.8], seed=4)
    (curve,) = summarise(reversed(rows))
    assert curve.seeds == (0, 4)
    assert curve.auc_by_seed == pytest.approx({0: 0.675, 4: 0.55})
    assert curve.auc == pytest.approx((0.6125, 0.0625, 2))
    assert curve.last == pytest.approx((0.8, 0.0, 2))
    assert [r.round for r in curve.rounds] == [0, 1, 2]
    assert curve.rounds[1].values["score"] == pytest.approx((0.6, 0.1, 2))
    assert curve.rounds[1].values["images"].mean == 10
    assert "pseudo_score" not in curve.rounds[1].values


def test_incomplete_runs_count_in_their_rounds_but_not_in_areas():
    rows = run("a", [0.5, 0.7, 0.9], seed=0)
    rows += run("a", [0.1, 0.3], seed=1)  # stopped
    rows += [row("a", seed=2, number=n, score=0.2) for n in (0, 2)]  # a round is missing
    rows += run("a", [0.4, math.nan, 0.8], seed=3)  # a score is missing
    (curve,) = summarise(rows)
    assert curve.incomplete == (1, 2, 3)
    assert curve.auc_by_seed == {0: pytest.approx(0.7)}
    assert curve.rounds[1].values["score"] == pytest.approx((0.5, 0.2, 2))


def test_a_curve_without_a_complete_run_has_no_area():
    (curve,) = summarise([row(number=1)])
    assert curve.auc is None
    assert curve.last is None
    assert curve.headline("auc") == {}
    with pytest.raises(RangeError, match="'auc' or 'last'; got 'best'"):
        curve.headline("best")


def test_settings_are_curves_of_their_own_in_the_order_they_come_in():
    rows = [row("b", "k=5"), row("a"), row("b", "k=1"), row("b", "k=5", number=1)]
    assert [c.name for c in summarise(rows)] == ["b k=5", "b k=1", "a"]


def test_a_row_twice_is_refused():
    with pytest.raises(RunError, match="two rows of a k=1, seed 3, round 2"):
        summarise([row("a", "k=1", 3, 2), row("a", "k=1", 3, 2)])


def test_shares_of_full_supervision_round_by_round_or_of_one_training():
    curves = summarise(run("x", [0.4, 0.6]) + run("full", [0.8, 0.8]) + run("y", [0.2]))
    assert shares_of_full(curves[0], find_full(curves)) == pytest.approx({0: 0.5, 1: 0.75})
    curves = summarise(run("x", [0.4, 0.6]) + run("Full_sup", [0.8]))
    assert shares_of_full(curves[0], find_full(curves)) == pytest.approx({0: 0.5, 1: 0.75})
    # A reference with rounds says nothing about rounds that it does not have.
    curves = summarise(run("x", [0.4, 0.6, 0.7]) + run("full", [0.8, 0.8]))
    assert set(shares_of_full(curves[0], find_full(curves))) == {0, 1}
    assert find_full(summarise(run("x", [0.4]))) is None
    assert shares_of_full(curves[0], None) == {}
    with pytest.raises(RangeError, match="must be a strategy of the results, x, full; got 'z'"):
        find_full(curves, "z")


def test_time_shares():
    steps = [{"train": 90.0, "score": 4.0, "select": 1.0}, {"train": 100.0, "propagate": 5.0, "score": math.nan}]
    rows = [row("a", number=i, step_seconds=s) for i, s in enumerate(steps)] + [row("b")]
    (times,) = step_times(rows)
    assert (times.name, times.rounds, times.total) == ("a", 2, 200.0)
    assert times.share() == pytest.approx(10 / 200)
    assert times.share(("train",)) == pytest.approx(0.95)
