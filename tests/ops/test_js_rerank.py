"""The Jensen-Shannon divergence of pairs: its definition, its bounds, its symmetries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg_fast import _native
from alseg_fast.kernels.js_knn.common import LN2, embed
from alseg_fast.kernels.js_rerank import js_rerank
from histograms import KINDS, draw_histograms, scale_of

native, reference = (js_rerank.implementation(name) for name in ("native", "reference"))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_equals_its_definition_and_lies_between_its_bounds(data):
    draw = data.draw
    channels, bins = draw(st.integers(1, 4)), draw(st.integers(1, 70))
    kind, dtype = draw(st.sampled_from(KINDS)), draw(st.sampled_from([np.float32, np.float16]))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    queries = draw_histograms(rng, 5, bins * channels, channels, kind)
    rows = draw_histograms(rng, 30, bins * channels, channels, kind, dtype)
    rows[:3] = queries[:3].astype(dtype)
    own, other = scale_of(queries, channels), scale_of(rows, channels)
    weights = rng.random(channels) + 0.01
    weights /= weights.sum()
    index = rng.integers(-1, 30, (5, 12))
    before = _native.simd_level()
    _native.set_simd_level(draw(st.sampled_from(_native.available_levels())))
    try:
        got = native(queries, own, rows, other, weights, index)
        assert got.tobytes() == native(queries, own, rows, other, weights, index, 3).tobytes()
    finally:
        _native.set_simd_level(before)
    expected = reference(queries, own, rows, other, weights, index)
    np.testing.assert_array_equal(np.isinf(got), index < 0)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-15)
    s, t = embed(queries, own, weights), embed(rows, other, weights)
    h2 = ((s[:, None] - t[index]) ** 2).sum(axis=2) / 2
    found = index >= 0
    assert (got >= LN2 * h2 - 1e-14)[found].all()
    assert (got <= h2 + 1e-14)[found].all()


def test_the_bounds_are_attained(simd_level):
    p = np.array([[1, 0, 0, 0]], np.float32)
    rows = np.array([[0, 0.5, 0.5, 0], [1, 0, 0, 0]], np.float32)
    one = np.ones((1, 1))
    got = native(p, one, rows, np.ones((2, 1)), np.ones(1), np.array([[0, 1]]))
    np.testing.assert_allclose(got, [[LN2, 0]], rtol=0, atol=1e-16)
    e = 1e-3  # h2 and the divergence of almost equal rows agree
    a, b = np.array([[0.5 + e, 0.5 - e]]), np.array([[0.5 - e, 0.5 + e]])
    s, t = embed(a, one, np.ones(1)), embed(b, one, np.ones(1))
    close = native(a, one, b, one, np.ones(1), np.array([[0]]))[0, 0]
    np.testing.assert_allclose(close, ((s - t) ** 2).sum() / 2, rtol=1e-5)


def test_the_order_of_bins_and_of_sides_changes_no_bit(simd_level):
    rng = np.random.default_rng(3)
    p, q = (rng.dirichlet(np.full(77, 0.3), 20) for _ in range(2))
    one, index = np.ones((20, 1)), np.arange(20)[:, None]
    straight = native(p, one, q, one, np.ones(1), index)
    np.testing.assert_array_equal(native(q, one, p, one, np.ones(1), index), straight)
    order = rng.permutation(77)
    moved = (np.ascontiguousarray(x[:, order]) for x in (p, q))
    p2, q2 = moved
    np.testing.assert_array_equal(native(p2, one, q2, one, np.ones(1), index), straight)


def test_half_precision_rows_hold_what_they_are(simd_level):
    rng = np.random.default_rng(4)
    rows = np.abs(rng.normal(size=(9, 37)) * 1e-6).astype(np.float16)  # subnormal
    rows[:, 0] = 1
    queries, index = rng.random((2, 37)).astype(np.float32), np.tile(np.arange(9), (2, 1))
    arguments = scale_of(queries, 1), rows, scale_of(rows, 1), np.ones(1), index
    np.testing.assert_allclose(native(queries, *arguments), reference(queries, *arguments), rtol=0, atol=1e-15)


def test_rejects_what_would_read_outside():
    hist, one = np.ones((2, 4), np.float32), np.ones((2, 1))
    with pytest.raises(ValueError, match="index must be below the number of rows"):
        native(hist, one, hist, one, np.ones(1), np.array([[2], [0]]))
    with pytest.raises(ValueError, match="differ in their width"):
        native(hist, one, np.ones((2, 5), np.float32), one, np.ones(1), np.array([[0], [0]]))
    with pytest.raises(ValueError, match="C-contiguous"):
        native(hist.T.copy().T, one, hist, one, np.ones(1), np.array([[0], [0]]))
