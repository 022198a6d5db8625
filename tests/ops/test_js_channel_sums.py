"""Divergences added over all pairs, channel by channel, against their definition."""

import numpy as np
import pytest

from alseg_fast.kernels.js_channel_sums import js_channel_sums
from histograms import KINDS, draw_histograms, scale_of

native, reference = (js_channel_sums.implementation(name) for name in ("native", "reference"))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_its_definition(kind, dtype, simd_level):
    rng = np.random.default_rng(len(kind))
    for n, bins, channels in ((1, 5, 2), (2, 1, 3), (60, 33, 3), (90, 256, 1), (40, 7, 4), (20, 1200, 1)):
        hist = draw_histograms(rng, n, bins * channels, channels, kind, dtype)
        scale = scale_of(hist, channels)
        got = native(hist, scale)
        np.testing.assert_allclose(got, reference(hist, scale), rtol=1e-5, atol=1e-12 * n * n)
        assert got.tobytes() == native(hist, scale, 5).tobytes()


def test_close_pairs_keep_their_precision(simd_level):
    rng = np.random.default_rng(0)
    base = rng.random(96) + 0.1
    hist = (base * (1 + 1e-3 * rng.normal(size=(50, 96)))).astype(np.float32)  # divergences near 1e-7
    scale = scale_of(hist, 1)
    np.testing.assert_allclose(native(hist, scale), reference(hist, scale), rtol=1e-5)


def test_what_is_all_alike_adds_nothing(simd_level):
    hist = np.tile(np.arange(1, 21, dtype=np.float32), (30, 1))
    np.testing.assert_array_equal(native(hist, scale_of(hist, 2)), [0, 0])
