"""The scores of a published program, as it computes them."""

import math

import numpy as np
import pytest

import alseg_fast as alseg
from alseg_fast.dispatch import use_backend
from alseg_fast.errors import BackendError, DataError, ShapeError

E = 1 / math.e


def constant(p, size=(1, 1)):
    """Logits [1, 1, h, w] of the foreground probability p."""
    return np.full((1, 1, *size), math.log(p / (1 - p)), np.float32)


def test_entropy_peaks_at_one_over_e():
    """Both terms hold p: largest, 2 / e = 0.736, at p = 1/e = 0.368, and not symmetric."""
    p = np.linspace(0.01, 0.99, 981)
    scores = np.array([alseg.belharbi_entropy(constant(v))[0] for v in p])
    assert p[scores.argmax()] == pytest.approx(E, abs=1e-3)
    assert scores.max() == pytest.approx(2 * E, abs=1e-6)
    np.testing.assert_allclose(scores, -2 * p * np.log(p), atol=1e-6)
    assert alseg.belharbi_entropy(constant(0.2))[0] != pytest.approx(alseg.belharbi_entropy(constant(0.8))[0], abs=0.1)


def test_entropy_of_a_saturated_sigmoid_is_zero_not_nan():
    for z in (-1e4, 1e4):
        assert alseg.belharbi_entropy(np.full((1, 1, 2, 2), z, np.float32))[0] == 0


def masks(kind, passes=50, side=64):
    """Probabilities [1, T, 1, side, side]: a certain mask, half foreground; or a flat one that is unsure."""
    if kind == "certain":
        p = np.zeros((side, side))
        p[:, side // 2 :] = 1
        return np.broadcast_to(np.clip(p, 0.001, 0.999), (1, passes, 1, side, side)).astype(np.float32)
    noise = np.random.default_rng(0).normal(size=(1, passes, 1, side, side))
    return np.clip(0.5 + 0.1 * noise, 0, 1).astype(np.float32)


def test_dropout_score_orders_masks_the_wrong_way_round():
    """Published: a certain half mask 0.249, a totally unsure flat one 0.010; meant: about 0, and 0.010."""
    published, meant = {}, {}
    for kind in ("certain", "unsure"):
        p = masks(kind)
        published[kind] = alseg.belharbi_mc_dropout(p, activation="probabilities")[0]
        u = alseg.uncertainty(p, measures=("variance",), activation="probabilities", maps=False)
        meant[kind] = u.scores["variance_mean"][0]
        assert published[kind] == pytest.approx(np.var(p.astype(np.float64), ddof=1), abs=1e-6)
    assert published["certain"] == pytest.approx(0.249, abs=5e-4)
    assert published["unsure"] == pytest.approx(0.010, abs=5e-4)
    assert meant["certain"] == pytest.approx(0, abs=1e-6)
    assert meant["unsure"] == pytest.approx(0.010 * 49 / 50, abs=5e-4)


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("activation", ["sigmoid", "probabilities", "softmax"])
def test_native_equals_reference(simd_level, activation, dtype, passes):
    rng = np.random.default_rng(passes)
    z = rng.normal(size=(2, passes, 2 if activation == "softmax" else 1, 5, 7)) * 4
    z = (1 / (1 + np.exp(-z)) if activation == "probabilities" else z).astype(dtype)
    for size in ((5, 7), (33, 70), (3, 2)):
        for score in (alseg.belharbi_entropy, alseg.belharbi_mc_dropout):
            got = score(z, size, activation=activation)
            with use_backend("reference"):
                expected = score(z, size, activation=activation)
            np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6)
            assert score(z, size, activation=activation, num_threads=1).tobytes() == got.tobytes()


def test_errors():
    z = np.zeros((1, 2, 3, 3), np.float32)
    with pytest.raises(ShapeError, match=r"logits must have 1 channel\(s\) with activation='sigmoid'; got 2"):
        alseg.belharbi_entropy(z)
    with pytest.raises(DataError, match=r"logits must be finite .* images \[0\] are not"):
        alseg.belharbi_mc_dropout(np.full((1, 1, 2, 2), np.nan, np.float32))
    with pytest.raises(DataError, match=r"images \[0\] are not"):
        alseg.belharbi_entropy(z[:, :1] + 3, activation="probabilities")
    with pytest.raises(BackendError, match="backend 'triton' cannot run"), use_backend("triton"):
        alseg.belharbi_entropy(z[:, :1])
