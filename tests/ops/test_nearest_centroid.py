"""Nearest centroids of embedded histograms against their definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg_fast import _native
from alseg_fast.kernels.js_knn.common import embed
from alseg_fast.kernels.nearest_centroid import nearest_centroid
from histograms import KINDS, draw_histograms, scale_of

native, reference = (nearest_centroid.implementation(name) for name in ("native", "reference"))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_equals_its_definition(data):
    draw = data.draw
    channels, bins = draw(st.integers(1, 4)), draw(st.integers(1, 70))
    n, n_centroids = draw(st.sampled_from([1, 2, 13, 200])), draw(st.sampled_from([1, 2, 31, 33, 100]))
    kind, dtype = draw(st.sampled_from(KINDS)), draw(st.sampled_from([np.float32, np.float16]))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    hist = draw_histograms(rng, n, bins * channels, channels, kind, dtype)
    scale, weights = scale_of(hist, channels), rng.dirichlet(np.ones(channels))
    centroids = embed(hist, scale, weights)[rng.integers(0, n, n_centroids)] * rng.choice([1, 0.7])
    centroids = (centroids + rng.normal(size=centroids.shape) * rng.choice([0, 0.1])).astype(np.float32)
    before = _native.simd_level()
    _native.set_simd_level(draw(st.sampled_from(_native.available_levels())))
    try:
        cell, distance = native(hist, scale, weights, centroids)
        again = native(hist, scale, weights, centroids, 3)
    finally:
        _native.set_simd_level(before)
    assert cell.tobytes() + distance.tobytes() == again[0].tobytes() + again[1].tobytes()
    assert (cell.dtype, distance.dtype) == (np.int32, np.float32)
    best = reference(hist, scale, weights, centroids)[1]
    rows = embed(hist, scale, weights)
    own = np.sqrt(((rows - centroids[cell].astype(float)) ** 2).sum(axis=1))
    np.testing.assert_allclose(distance, own, rtol=0, atol=2e-6)
    np.testing.assert_allclose(own**2, best**2, rtol=0, atol=2e-5)


def test_of_equal_centroids_the_lower(simd_level):
    hist = draw_histograms(np.random.default_rng(0), 40, 24, 1)
    scale = scale_of(hist, 1)
    centroids = np.tile(embed(hist[:30], scale[:30], np.ones(1)).astype(np.float32), (4, 1))
    cell, distance = native(hist[:30], scale[:30], np.ones(1), centroids)
    np.testing.assert_array_equal(cell, np.arange(30))
    np.testing.assert_allclose(distance, 0, atol=1e-6)


def test_rejects_what_would_read_outside():
    hist = np.ones((2, 4), np.float32)
    with pytest.raises(ValueError, match="centroids must"):
        native(hist, np.full((2, 1), 0.25), np.ones(1), np.ones((3, 5), np.float32))
    with pytest.raises(ValueError, match="centroids must"):
        native(hist, np.full((2, 1), 0.25), np.ones(1), np.ones((0, 4), np.float32))
