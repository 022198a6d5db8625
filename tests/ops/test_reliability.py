"""Perplexity and the weights of pixels: against their formulas, and where those are not defined."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alseg_fast as alseg
from alseg_fast import _native
from alseg_fast.dispatch import use_backend
from alseg_fast.errors import DataError, DtypeError, RangeError, ShapeError


def formula(m, xi, alpha, beta, least=1e-6):
    """The printed formula, pixel by pixel."""
    xi = min(max(xi, 0.05), 0.95)
    out = np.empty(m.shape)
    for index, value in np.ndenumerate(m.astype(np.float64)):
        ratio = (value - xi) / (1 - xi) if value >= xi else (xi - value) / xi
        out[index] = (-math.log(alpha * min(max(ratio, least), 1))) ** beta
    return out


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_equals_the_formula(data):
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    cam = rng.random((draw(st.integers(1, 3)), draw(st.integers(1, 9)), draw(st.integers(1, 41))), np.float32)
    xi = draw(st.sampled_from([0.0, 0.0625, 0.375, 0.75, 1.0]))
    alpha, beta = draw(st.sampled_from([(0.9, 1.0), (0.8, 1.5), (0.01, 0.25), (0.999, 4.0)]))
    valid = rng.random(cam.shape) < 0.6 if draw(st.booleans()) else None
    form = draw(st.sampled_from(["reciprocal", "printed"]))
    before = _native.simd_level()
    _native.set_simd_level(draw(st.sampled_from(_native.available_levels())))
    try:
        p = alseg.perplexity(cam, xi, alpha, beta)
        w = alseg.reliability_weights(cam, xi, alpha, beta, form=form, valid=valid)
    finally:
        _native.set_simd_level(before)
    expected = formula(cam, xi, alpha, beta)
    np.testing.assert_allclose(p, expected, rtol=2e-4 if alpha > 0.99 else 2e-5)
    inside = np.ones(cam.shape, bool) if valid is None else valid
    for image, weights, mask in zip(expected, w, inside, strict=True):
        total = (1 / image[mask]).sum()
        raw = 1 / image if form == "reciprocal" else image
        scaled = np.where(mask, raw * mask.sum() / total, 0) if mask.any() else np.zeros(image.shape)
        np.testing.assert_allclose(weights, scaled, rtol=5e-4 if alpha > 0.99 else 5e-5)
        if form == "reciprocal" and mask.any():
            assert weights[mask].mean(dtype=np.float64) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.7, 0.95])
def test_next_to_a_threshold_that_no_float_equals(simd_level, threshold):
    """There the difference of two nearly equal numbers counts, and the threshold's own rounding is a large part."""
    near = np.float32(threshold)
    steps = (np.arange(-300, 301) * np.spacing(near)).astype(np.float32)
    cam = (near + steps).reshape(1, 1, -1)
    got = alseg.perplexity(cam, threshold, least_ratio=1e-9)
    np.testing.assert_allclose(got, formula(cam, threshold, 0.9, 1.0, 1e-9), rtol=1e-6)


def test_native_equals_the_reference(simd_level):
    cam = np.random.default_rng(0).random((2, 130, 77), np.float32)
    valid = np.random.default_rng(1).random(cam.shape) < 0.5
    for options in ({}, {"valid": valid}, {"form": "printed"}, {"alpha": 0.8, "beta": 1.5}):
        got = alseg.reliability_weights(cam, 0.4375, **options)
        with use_backend("reference"):
            expected = alseg.reliability_weights(cam, 0.4375, **options)
        assert got.dtype == expected.dtype == np.float32
        np.testing.assert_allclose(got, expected, rtol=3e-5)


def test_reliable_pixels_weigh_more_and_printed_less():
    # The inversion of the printed formula: it is proportional to the perplexity.
    cam = np.linspace(0, 1, 101, dtype=np.float32).reshape(1, 101)
    p = alseg.perplexity(cam, 0.5)
    good, printed = (alseg.reliability_weights(cam, 0.5, form=form) for form in ("reciprocal", "printed"))
    assert np.corrcoef(p.ravel(), printed.ravel())[0, 1] > 0.999999
    assert np.corrcoef(p.ravel(), good.ravel())[0, 1] < -0.4
    assert good[0, 0] == good.max() == pytest.approx(good[0, -1], rel=1e-5)
    assert good[0, 50] == good.min()
    assert printed[0, 50] == printed.max()
    assert good.mean() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("alpha", "beta"), [(0.9, 1.0), (0.8, 1.5)])
def test_largest_reciprocal_is_that_of_the_authors_plot(alpha, beta):
    assert (1 / alseg.perplexity(np.ones((1, 1)), 0.3, alpha, beta)).max() == pytest.approx(9.45, abs=0.06)


@pytest.mark.parametrize("value", [0.0, 0.45, 1.0, 1.0001, -0.0001])
@pytest.mark.parametrize("threshold", [0.0, 0.45, 1.0])
def test_no_value_gives_infinity(simd_level, value, threshold):
    cam = np.full((2, 5, 7), value)
    for form in ("reciprocal", "printed"):
        w = alseg.reliability_weights(cam, threshold, form=form)
        assert np.isfinite(w).all()
        assert (w > 0).all()
    np.testing.assert_allclose(alseg.reliability_weights(cam, threshold), 1, atol=1e-5)


def test_empty_region_gives_zeros():
    valid = np.zeros((2, 4, 5), bool)
    valid[1] = True
    w = alseg.reliability_weights(np.random.default_rng(2).random((2, 4, 5)), 0.4, valid=valid)
    assert (w[0] == 0).all()
    assert w[1].mean() == pytest.approx(1, abs=1e-6)


def test_one_map_and_views_and_threads(simd_level):
    cams = np.random.default_rng(3).random((5, 60, 64), np.float32)
    whole = alseg.reliability_weights(cams, 0.3)
    np.testing.assert_array_equal(alseg.reliability_weights(cams[2], 0.3), whole[2])
    np.testing.assert_array_equal(alseg.reliability_weights(np.asfortranarray(cams), 0.3), whole)
    for threads in (1, 2, 5):
        assert alseg.reliability_weights(cams, 0.3, num_threads=threads).tobytes() == whole.tobytes()
    half = cams.astype(np.float16)
    for kind in (np.float32, np.float64):
        expected = alseg.reliability_weights(half.astype(kind), 0.3)
        np.testing.assert_array_equal(alseg.reliability_weights(half, 0.3), expected)


def test_torch_gives_tensors_of_the_same_values():
    torch = pytest.importorskip("torch")
    from alseg_fast.ops.reliability import _with_torch

    cam = torch.rand(2, 9, 11, generator=torch.Generator().manual_seed(0), requires_grad=True)
    valid = cam.detach() > 0.2
    valid[1] = False
    got = alseg.reliability_weights(cam, 0.4, valid=valid)
    assert isinstance(got, torch.Tensor)
    assert got.dtype == torch.float32
    assert not got.requires_grad
    np.testing.assert_array_equal(got, alseg.reliability_weights(cam.detach().numpy(), 0.4, valid=valid.numpy()))
    assert alseg.perplexity(cam.detach().bfloat16(), 0.4).shape == (2, 9, 11)
    for form in ("reciprocal", "printed"):  # what runs on a GPU
        own = _with_torch("reliability_weights", form, cam.detach(), valid, 0.4, 0.9, 1.5, 1e-6)
        expected = alseg.reliability_weights(cam, 0.4, beta=1.5, valid=valid, form=form)
        np.testing.assert_allclose(own, expected, rtol=2e-4)
    np.testing.assert_allclose(
        _with_torch("perplexity", "perplexity", cam.detach(), None, 0.4, 0.9, 1.0, 1e-6),
        alseg.perplexity(cam, 0.4),
        rtol=2e-4,
    )


CAM = np.random.default_rng(4).random((2, 4, 6))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: alseg.reliability_weights(CAM[None], 0.4), ShapeError, r"cam must have shape \[N, h, w\] or \[h, w\]"),
        (lambda: alseg.reliability_weights(CAM.astype(int), 0.4), DtypeError, "cam must be float16"),
        (lambda: alseg.reliability_weights(CAM * np.nan, 0.4), DataError, "cam must be finite"),
        (lambda: alseg.reliability_weights(CAM / 0, 0.4), DataError, "cam must be finite"),
        (lambda: alseg.reliability_weights(CAM * 9, 0.4), RangeError, r"cam must be in 0\.\.1; got"),
        (lambda: alseg.reliability_weights(CAM - 1, 0.4), RangeError, r"cam must be in 0\.\.1; got -"),
        (lambda: alseg.reliability_weights(CAM, 1.2), RangeError, r"threshold must be a number in \[0, 1\]; got 1.2"),
        (lambda: alseg.reliability_weights(CAM, np.nan), RangeError, "threshold must be"),
        (lambda: alseg.reliability_weights(CAM, None), RangeError, "threshold must be"),
        (lambda: alseg.reliability_weights(CAM, 0.4, 1.0), RangeError, r"alpha must be in \(0, 1\); got 1"),
        (lambda: alseg.reliability_weights(CAM, 0.4, 1.5), RangeError, "alpha must be"),
        (lambda: alseg.reliability_weights(CAM, 0.4, 0.9, 0), RangeError, "beta must be positive"),
        (lambda: alseg.reliability_weights(CAM, 0.4, form="literal"), RangeError, "form must be one of reciprocal"),
        (lambda: alseg.reliability_weights(CAM, 0.4, valid=np.ones((4, 6), bool)), ShapeError, "valid must have shape"),
        (lambda: alseg.reliability_weights(CAM, 0.4, valid=np.ones((2, 4, 6))), DtypeError, "valid must be bool"),
        (lambda: alseg.reliability_weights(CAM, 0.4, threshold_bounds=(0, 1)), RangeError, "must lie inside"),
        (lambda: alseg.reliability_weights(CAM, 0.4, least_ratio=0), RangeError, "least_ratio must be"),
        (lambda: alseg.perplexity(CAM, 0.4, num_threads=-1), RangeError, "num_threads must be"),
    ],
)
def test_errors(call, kind, message):
    with np.errstate(all="ignore"), pytest.raises(kind, match=message):
        call()
