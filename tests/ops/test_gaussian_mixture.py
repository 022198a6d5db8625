"""Bins of activation values and the mixtures fitted to them, against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg_fast import _native
from alseg_fast.kernels.gaussian_mixture import common, gaussian_mixture, value_moments

count = value_moments.implementation("native"), value_moments.implementation("reference")
fit = gaussian_mixture.implementation("native"), gaussian_mixture.implementation("reference")


def draw_values(rng, shape, kind):
    if kind == "spread":
        return rng.random(shape, np.float32)
    if kind == "edges":
        return rng.choice(np.array([0, 0.05, 0.25, 1 - 2**-24, 1, 1.0005, -0.0005], np.float32), shape)
    return (rng.random(shape, np.float32) < 0.1).astype(np.float32) * rng.random(shape, np.float32)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_bins_equal_their_definition(data):
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 1300)))
    values = draw_values(rng, shape, draw(st.sampled_from(["spread", "edges", "sparse"])))
    weighted = draw(st.booleans())
    weights = rng.random((*shape[:2], shape[3]), np.float32) if weighted else None
    arguments = (values, weights, draw(st.integers(5, 12)), draw(st.sampled_from([-np.inf, 0.0, 0.05, 0.5])))
    before = _native.simd_level()
    _native.set_simd_level(draw(st.sampled_from(_native.available_levels())))
    try:
        got, status = count[0](*arguments, num_threads=draw(st.sampled_from([1, 2, 5])))
    finally:
        _native.set_simd_level(before)
    expected, expected_status = count[1](*arguments)
    assert status == expected_status == 0
    if weighted:
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    else:
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("where", [0, 5, 1023, 1024, 2046])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.01, -0.01])
def test_bad_values_are_told_wherever_they_are(simd_level, where, bad):
    for planes in (1, 3):
        values = np.full((1, 2, planes, 2047), 0.5, np.float32)
        values[0, 1, planes - 1, where] = bad
        assert count[0](values, None, 8, 0.05)[1] == common.BAD_VALUE
        assert count[0](values, np.ones((1, 2, 2047), np.float32), 8, 0.05)[1] == common.BAD_VALUE
        assert count[1](values, None, 8, 0.05)[1] == common.BAD_VALUE


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_bad_weights_are_told(bad):
    values, weights = np.full((1, 1, 1, 100), 0.5, np.float32), np.ones((1, 1, 100), np.float32)
    weights[0, 0, 99] = bad
    assert count[0](values, weights, 8, 0.05)[1] == count[1](values, weights, 8, 0.05)[1] == common.BAD_WEIGHT


@pytest.mark.parametrize("weighted", [False, True])
def test_same_bits_for_any_number_of_threads(simd_level, weighted):
    rng = np.random.default_rng(0)
    values = rng.random((2, 3, 2, 40000), np.float32)
    weights = rng.random((2, 3, 40000), np.float32) if weighted else None
    results = {count[0](values, weights, 8, 0.05, num_threads=t)[0].tobytes() for t in (1, 2, 5)}
    assert len(results) == 1
    x, weight = points(rng.beta(2, 5, 30000))
    starts = common.starts_of(x, weight, 3, 1e-6)
    results = {b"".join(p.tobytes() for p in fit[0](x, weight, starts, 1e-6, 200, 1e-6, False, t)) for t in (1, 2, 5)}
    assert len(results) == 1


def points(values):
    sums, status = count[1](np.asarray(values, np.float32).reshape(1, 1, 1, -1), None, 8, -np.inf)
    assert status == 0
    x, weight = common.points_of(sums[0])
    order = np.argsort(x, kind="stable")
    return x[order], weight[order] / weight.sum()


def test_points_keep_weight_mean_and_variance():
    values = np.random.default_rng(1).beta(2, 5, 5000).astype(np.float32)
    x, weight = points(values)
    exact = values.astype(np.float64)
    assert abs(weight @ x - exact.mean()) < 1e-7
    assert abs(weight @ x**2 - (exact**2).mean()) < 1e-7
    # A histogram of bin centres would be off by the variance of a bin, 1.3e-6.
    assert abs(weight @ np.sin(9 * x) - np.sin(9 * exact).mean()) < 2e-7


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_mixture_finds_what_plain_iterations_find(data):
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    k = draw(st.sampled_from([2, 3, 5]))
    centres = np.linspace(0.1, 0.9, k) + rng.uniform(-0.03, 0.03, k)
    values = np.clip(np.concatenate([rng.normal(c, 0.2 / k, rng.integers(300, 3000)) for c in centres]), 0, 1)
    x, weight = points(values)
    starts = common.starts_of(x, weight, k, 1e-6)[:1]
    before = _native.simd_level()
    _native.set_simd_level(draw(st.sampled_from(_native.available_levels())))
    try:
        got, facts = fit[0](x, weight, starts, 1e-9, 20000, 1e-6, False)
        plain, plain_facts = fit[0](x, weight, starts, 1e-4, 200, 1e-6, True)
    finally:
        _native.set_simd_level(before)
    expected, expected_facts = fit[1](x, weight, starts, 1e-9, 20000, 1e-6, False)
    assert facts[0, 2] == 1
    assert facts[0, 0] >= expected_facts[0, 0] - 1e-9
    if expected_facts[0, 2] == 1 and expected_facts[0, 1] < 3000:
        np.testing.assert_allclose(got, expected, atol=2e-5)
        assert facts[0, 1] <= 1.5 * expected_facts[0, 1] + 30, "acceleration does not pay"
    expected, expected_facts = fit[1](x, weight, starts, 1e-4, 200, 1e-6, True)
    np.testing.assert_allclose(plain, expected, rtol=1e-9)
    np.testing.assert_allclose(plain_facts, expected_facts, rtol=1e-9)


def test_a_component_without_points_is_left_alone():
    x, weight = np.array([0.1, 0.2, 0.3]), np.full(3, 1 / 3)
    starts = np.array([[[0.5, 0.2, 1e-3], [0.5, 50.0, 1e-3]]])
    for run in fit:
        got, _ = run(x, weight, starts, 1e-9, 100, 1e-6, False)
        np.testing.assert_allclose(got[0, 0], [1, 0.2, 0.02 / 3 + 1e-6], rtol=1e-9)
        np.testing.assert_allclose(got[0, 1, 1:], [50, 1e-3])
        assert got[0, 1, 0] < 1e-300


@settings(max_examples=200, deadline=None)
@given(
    shares=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
    means=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    deviations=st.tuples(st.floats(0.01, 0.5), st.floats(0.01, 0.5)),
)
def test_crossing_is_where_the_densities_are_equal(shares, means, deviations):
    low, high = min(means), max(means)
    first, second = ((shares[i], (low, high)[i], deviations[i] ** 2) for i in range(2))

    def log_density(part, at):
        return np.log(part[0]) - np.log(part[2]) / 2 - (at - part[1]) ** 2 / (2 * part[2])

    found = common.crossing(first, second)
    gaps = [log_density(first, at) - log_density(second, at) for at in (low, high)]
    if found is None:
        assert high == low or not (gaps[0] > 1e-12 and gaps[1] < -1e-12)
    else:
        assert low <= found <= high
        assert abs(log_density(first, found) - log_density(second, found)) <= 1e-9 * (1 + abs(gaps[0]) + abs(gaps[1]))


def test_crossing_of_equal_variances_is_the_solution_of_a_line():
    assert common.crossing((0.5, 0.2, 0.01), (0.5, 0.6, 0.01)) == pytest.approx(0.4, abs=1e-15)
    moved = common.crossing((0.8, 0.2, 0.01), (0.2, 0.6, 0.01))
    assert moved == pytest.approx(0.4 + 0.01 / 0.4 * np.log(4), abs=1e-12)
    assert common.crossing((0.999, 0.2, 0.04), (0.001, 0.3, 0.04)) is None


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 9999), n=st.integers(1, 9), k=st.sampled_from([2, 3, 4]))
def test_cuts_of_kmeans_are_the_best(seed, n, k):
    from itertools import combinations

    rng = np.random.default_rng(seed)
    x, weight = np.sort(rng.random(n)), rng.dirichlet(np.ones(n))
    sums = common.prefix_sums(x, weight)
    if n < k:
        assert len(common.cut_by_kmeans(sums, k)) == k - 1
        return

    def cost(cuts):
        total = 0.0
        for a, b in zip([0, *cuts], [*cuts, n], strict=True):
            mean = np.average(x[a:b], weights=weight[a:b])
            total += weight[a:b] @ (x[a:b] - mean) ** 2
        return total

    best = min(cost(cuts) for cuts in combinations(range(1, n), k - 1))
    assert cost(list(common.cut_by_kmeans(sums, k))) == pytest.approx(best, abs=1e-12)
