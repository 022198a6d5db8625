"""The public divergence: broadcasting, weights, and what it refuses."""

import numpy as np
import pytest

import alseg_fast as alseg
from alseg_fast.dispatch import use_backend
from alseg_fast.errors import DataError, DtypeError, RangeError, ShapeError

RNG = np.random.default_rng(0)
P, Q = RNG.dirichlet(np.full(12, 0.4), (4, 1)), RNG.dirichlet(np.full(12, 0.4), 5)


def test_is_the_square_of_scipys_distance():
    distance = pytest.importorskip("scipy.spatial.distance", reason="SciPy is the independent form")
    got = alseg.js_divergence(P, Q)
    assert got.shape == (4, 5)
    np.testing.assert_allclose(got, distance.jensenshannon(P, Q, axis=-1) ** 2, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(alseg.js_divergence(Q, P), got)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_channels_and_weights(backend):
    with use_backend(backend):
        each = [alseg.js_divergence(P[..., i : i + 4], Q[..., i : i + 4]) for i in (0, 4, 8)]
        np.testing.assert_allclose(alseg.js_divergence(P, Q, channels=3), sum(each) / 3, rtol=0, atol=1e-15)
        weighted = alseg.js_divergence(P, Q, channels=3, weights=(2, 0.5, 7))
        np.testing.assert_allclose(weighted, 2 * each[0] + 0.5 * each[1] + 7 * each[2], rtol=1e-14)


def test_counts_views_and_one_pair(simd_level):
    counts = RNG.integers(1, 9, (6, 20))
    got = alseg.js_divergence(counts[::2].astype(np.uint8), counts[1::2, ::1])
    np.testing.assert_array_equal(got, alseg.js_divergence(counts[::2] / 2, counts[1::2] * 4.0))
    one = alseg.js_divergence([1, 0], [0, 3])
    assert one.shape == ()
    assert abs(float(one) - np.log(2)) < 1e-16
    np.testing.assert_array_equal(alseg.js_divergence(P.T.copy().T, Q), alseg.js_divergence(P, Q))
    assert alseg.js_divergence(np.ones((0, 3)), np.ones((1, 3))).shape == (0,)


def test_same_bits_for_any_number_of_threads(simd_level):
    p, q = RNG.random((30, 1, 100)), RNG.random((40, 100))
    assert len({alseg.js_divergence(p, q, num_threads=t).tobytes() for t in (1, 2, 5)}) == 1


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: alseg.js_divergence(P, Q[:, :5]), ShapeError, "q must have as many bins as p = 12; got 5"),
        (lambda: alseg.js_divergence(P, Q, channels=5), ShapeError, "p must have a multiple of channels = 5 bins"),
        (
            lambda: alseg.js_divergence(P[:, 0], Q),
            ShapeError,
            r"axes that broadcast; got \[4, 12\] and \[5, 12",
        ),
        (lambda: alseg.js_divergence(1.0, Q), ShapeError, r"p must have shape \[..., D\], D >= 1; got \[\]"),
        (lambda: alseg.js_divergence(P, Q, channels=0), RangeError, "channels must be an integer >= 1; got 0"),
        (lambda: alseg.js_divergence(P, Q, channels=True), RangeError, "channels must be an integer >= 1; got True"),
        (lambda: alseg.js_divergence(P, Q, weights=(1, 2)), RangeError, "weights must be 1 positive finite numbers"),
        (lambda: alseg.js_divergence(P, Q, weights=[0]), RangeError, r"one a channel; got \[0\]"),
        (lambda: alseg.js_divergence(P + 1j, Q), DtypeError, "p must hold real numbers; got complex128"),
        (lambda: alseg.js_divergence(P, -Q), DataError, "q must be finite and >= 0; got -"),
        (lambda: alseg.js_divergence(P * np.nan, Q), DataError, "p must be finite and >= 0; got nan"),
        (lambda: alseg.js_divergence(P, Q * 0), DataError, "got a sum of 0 in channel 0 of row 0"),
        (lambda: alseg.js_divergence(P, Q, num_threads=0), RangeError, "num_threads must be None or"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
