"""Rates, schedules and parameter groups against formulas written out."""

import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from alseg_fast.learn.training.config import StageConfig  # noqa: E402
from alseg_fast.learn.training.optimiser import make_optimiser, parameters_of, rate_at, set_rate  # noqa: E402


def rates(**values):
    stage = StageConfig(steps=10, rate=0.1, **values)
    return [rate_at(stage, s) for s in range(10)]


def test_constant():
    assert rates() == [0.1] * 10


def test_step_is_the_published_schedule():
    expected = [0.1 * 0.9 ** (s // 3) for s in range(10)]
    assert rates(schedule="step", step_every=3, gamma=0.9) == pytest.approx(expected)
    assert min(rates(schedule="step", step_every=1, gamma=0.1, min_rate=1e-7)) == 1e-7


def test_poly():
    assert rates(schedule="poly", power=0.9) == pytest.approx([0.1 * (1 - s / 10) ** 0.9 for s in range(10)])


def test_cosine_goes_down_to_the_least_rate():
    expected = [0.01 + 0.09 * (1 + math.cos(math.pi * s / 10)) / 2 for s in range(10)]
    assert rates(schedule="cosine", min_rate=0.01) == pytest.approx(expected)


def test_warmup_is_linear_and_the_schedule_goes_on_from_its_own_place():
    expected = [0.025, 0.05, 0.075, 0.1] + [0.1 * (1 - s / 10) ** 0.9 for s in range(4, 10)]
    assert rates(schedule="poly", warmup=4) == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["constant", "step", "poly", "cosine"]),
    st.integers(1, 50),
    st.integers(0, 60),
    st.floats(0, 0.1),
    st.floats(0.01, 1),
)
def test_rates_stay_in_bounds(schedule, steps, warmup, least, gamma):
    stage = StageConfig(steps=steps, rate=0.1, schedule=schedule, warmup=warmup, min_rate=least, gamma=gamma)
    found = [rate_at(stage, s) for s in range(steps)]
    assert all(0 < r <= 0.1 + 1e-12 for r in found)
    assert all(r >= min(least, 0.1) - 1e-12 for r in found[warmup:])


def test_groups_have_their_own_rates_and_weight_decay():
    a, b, frozen = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    frozen.requires_grad_(False)
    groups = [{"params": [a, frozen]}, {"params": [b], "lr_factor": 10.0, "weight_decay": 0.0}, {"params": []}]
    optimiser = make_optimiser(groups, StageConfig(steps=1, rate=0.1, weight_decay=0.2))
    set_rate(optimiser, 0.05)
    assert [(g["lr"], g["weight_decay"]) for g in optimiser.param_groups] == [(0.05, 0.2), (0.5, 0.0)]
    assert [p is q for p, q in zip(parameters_of(optimiser), (a, b), strict=True)] == [True, True]


def test_sgd_is_nesterov_with_momentum_and_decay():
    """Two steps against the update rule written out."""
    stage = StageConfig(steps=2, optimiser="sgd", rate=0.1, momentum=0.9, weight_decay=0.01)
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimiser = make_optimiser([{"params": [weight]}], stage)
    w, v = [1.0, -2.0], [0.0, 0.0]
    for gradient in ([0.5, 1.0], [-0.25, 0.5]):
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimiser.step()
        for i in range(2):
            g = gradient[i] + 0.01 * w[i]
            v[i] = 0.9 * v[i] + g
            w[i] -= 0.1 * (g + 0.9 * v[i])
    assert weight.tolist() == pytest.approx(w, rel=1e-12)
