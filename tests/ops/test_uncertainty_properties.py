"""What must hold for any logits, and what is stated for degenerate ones."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alseg_fast as alseg
from alseg_fast.errors import DataError, DeviceError, DtypeError, RangeError, ShapeError
from alseg_fast.types import MC_MEASURES, MEASURES

PASSES = st.tuples(st.integers(1, 2), st.integers(2, 6), st.integers(2, 9), st.integers(1, 6), st.integers(1, 6))
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 70))


def logits(shape, seed, spread=3.0):
    return (np.random.default_rng(seed).normal(size=shape) * spread).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(shape=PASSES, size=SIZES, seed=st.integers(0, 999), spread=st.sampled_from([0.01, 1.0, 20.0]))
def test_predictive_is_expected_plus_mutual_information(shape, size, seed, spread):
    u = alseg.uncertainty(logits(shape, seed, spread), size, measures=MEASURES)
    bald = u.maps["mutual_information"]
    assert (bald >= 0).all()
    np.testing.assert_allclose(u.maps["expected_entropy"] + bald, u.maps["entropy"], atol=4e-6)
    most = math.log(shape[2]) + 1e-6
    for name in ("entropy", "expected_entropy", "mutual_information"):
        assert (u.maps[name] <= most).all()
    assert (u.maps["variance"] <= 0.25 + 1e-6).all()
    assert (u.maps["variation_ratio"] <= 1 - 1 / shape[1] + 1e-6).all()


@settings(max_examples=40, deadline=None)
@given(shape=PASSES, size=SIZES, value=st.sampled_from([-1e4, -3.0, 0.0, 1e4]))
def test_uniform_logits(shape, size, value):
    u = alseg.uncertainty(np.full(shape, value, np.float32), size, measures=MEASURES)
    np.testing.assert_allclose(u.maps["entropy"], math.log(shape[2]), rtol=2e-6)
    np.testing.assert_allclose(u.maps["margin"], 1, atol=2e-6)
    for name in ("mutual_information", "variance", "variation_ratio"):
        np.testing.assert_allclose(u.maps[name], 0, atol=2e-6)


@settings(max_examples=40, deadline=None)
@given(shape=PASSES, size=SIZES, height=st.sampled_from([200.0, 1e4, 1e30]))
def test_certain_logits(shape, size, height):
    z = np.zeros(shape, np.float32)
    z[:, :, 1] = height
    u = alseg.uncertainty(z, size, measures=MEASURES)
    for name in MEASURES:
        np.testing.assert_allclose(u.maps[name], 0, atol=5e-7, err_msg=name)
    assert (u.labels == 1).all()


@settings(max_examples=40, deadline=None)
@given(shape=PASSES, size=SIZES, seed=st.integers(0, 999), shift=st.sampled_from([-1e4, -77.0, 500.0, 1e4]))
def test_a_constant_added_to_the_logits_changes_nothing(shape, size, seed, shift):
    z = np.round(logits(shape, seed) * 32) / 32  # so that adding the constant is exact
    u = alseg.uncertainty(z, size, measures=MEASURES)
    v = alseg.uncertainty(z + np.float32(shift), size, measures=MEASURES)
    for name in MEASURES:
        np.testing.assert_allclose(v.maps[name], u.maps[name], atol=1e-6, err_msg=name)


@settings(max_examples=40, deadline=None)
@given(
    shape=PASSES,
    size=SIZES,
    seed=st.integers(0, 999),
    n_segments=st.integers(1, 50),
    activation=st.sampled_from(["softmax", "sigmoid"]),
)
def test_sums_over_segments_add_up_to_the_image(shape, size, seed, n_segments, activation):
    rng = np.random.default_rng(seed)
    segments = rng.integers(0, n_segments, (shape[0], *size))
    valid = rng.random((shape[0], *size)) < 0.9
    valid[:, 0, 0] = True
    u = alseg.uncertainty(
        logits(shape, seed),
        size,
        measures=MEASURES,
        activation=activation,
        maps=False,
        reduce=("mean",),
        class_stats=True,
        valid=valid,
        segments=segments,
        n_segments=n_segments,
    )
    pixels = u.valid_pixels
    np.testing.assert_array_equal(pixels, valid.sum(axis=(1, 2)))
    np.testing.assert_array_equal(u.segments["area"].sum(axis=1), pixels)
    for name in MEASURES:
        total = u.segments[f"{name}_sum"].sum(axis=1)
        np.testing.assert_allclose(total / pixels, u.scores[f"{name}_mean"], rtol=2e-6, atol=1e-9)
    area = u.segments["area"][..., None]
    share = np.where(area > 0, u.segments["class_fraction"], 0)
    np.testing.assert_allclose((share * area).sum(axis=1) / pixels[:, None], u.class_fraction, atol=1e-5)


def test_equal_passes_tell_nothing():
    z = np.repeat(logits((1, 1, 5, 4, 4), 0), 6, axis=1)
    u = alseg.uncertainty(z, (40, 40), measures=MEASURES)
    one = alseg.uncertainty(z[:, 0], (40, 40), measures=MEASURES)
    for name in MEASURES:
        np.testing.assert_allclose(u.maps[name], one.maps[name], atol=2e-6, err_msg=name)
    for name in ("mutual_information", "variance", "variation_ratio"):
        assert (one.maps[name] == 0).all(), "one pass is compared with nothing"
    np.testing.assert_array_equal(one.maps["expected_entropy"], one.maps["entropy"])


def test_a_small_variance_keeps_its_digits():
    """E[p^2] - E[p]^2 in float32 would be off by 1e-7, a thousand times the variance."""
    rng = np.random.default_rng(0)
    z = (logits((1, 1, 4, 3, 3), 1) + rng.normal(size=(1, 8, 4, 3, 3)) * 1e-4).astype(np.float32)
    u = alseg.uncertainty(z, measures=("variance",))
    e = np.exp(z.astype(np.float64))
    exact = (e / e.sum(axis=2, keepdims=True)).var(axis=1).mean(axis=1)
    assert exact.max() < 1e-8
    np.testing.assert_allclose(u.maps["variance"], exact, rtol=0.02, atol=1e-13)


def test_hand_worked_passes():
    # Two passes: (1, 0) and (1/2, 1/2). Mean (3/4, 1/4).
    z = np.array([[200.0, 0.0], [0.0, 0.0]], np.float32).reshape(1, 2, 2, 1, 1)
    u = alseg.uncertainty(z, measures=MEASURES)
    expected = {
        "entropy": 0.562335,
        "margin": 0.5,
        "least_confidence": 0.25,
        "expected_entropy": math.log(2) / 2,
        "mutual_information": 0.562335 - math.log(2) / 2,
        "variance": 0.0625,
        "variation_ratio": 0,
    }
    for name, value in expected.items():
        assert u.scores[f"{name}_mean"][0] == pytest.approx(value, abs=1e-6), name


def test_temperature_divides_logits():
    z = logits((1, 5, 4, 4), 2)
    hot = alseg.uncertainty(z, (20, 20), temperature=2.0)
    np.testing.assert_allclose(hot.maps["entropy"], alseg.uncertainty(z / 2, (20, 20)).maps["entropy"], atol=1e-6)
    assert hot.scores["entropy_mean"][0] > alseg.uncertainty(z, (20, 20)).scores["entropy_mean"][0]


# Class activation maps


def test_activation_maps_by_hand():
    """Largest value 4 in the first map; the second image label is absent; the background has 0.5."""
    cams = np.array([[[4.0, -1.0]], [[9.0, 9.0]]], np.float32).reshape(1, 2, 1, 2)
    u = alseg.uncertainty(cams, activation="cam", image_labels=np.array([[1, 0]]), background=0.5, class_stats=True)
    p = np.array([0.5, 1.0]) / 1.5  # left pixel: background, class 1
    entropy = -(p * np.log(p)).sum()
    np.testing.assert_allclose(u.maps["entropy"][0, 0], [entropy, 0], atol=1e-6)
    assert u.labels[0, 0].tolist() == [1, 0]
    np.testing.assert_allclose(u.class_fraction[0], [0.5, 0.5, 0])


def test_activation_maps_that_are_empty_are_background():
    u = alseg.uncertainty(np.full((1, 3, 2, 2), -5, np.float32), (8, 8), activation="cam")
    assert (u.labels == 0).all()
    assert u.scores["entropy_max"][0] == pytest.approx(0, abs=1e-6)


def test_activation_maps_of_a_tensor():
    torch = pytest.importorskip("torch", reason="tensors are torch's")
    cams = torch.from_numpy(logits((2, 3, 4, 4), 5)).to(torch.bfloat16)
    labels = torch.tensor([[1, 0, 1], [0, 1, 0]])
    u = alseg.uncertainty(cams, (9, 9), activation="cam", image_labels=labels)
    v = alseg.uncertainty(cams.float().numpy(), (9, 9), activation="cam", image_labels=labels.numpy())
    np.testing.assert_array_equal(u.maps["entropy"].numpy(), v.maps["entropy"])


# Degenerate input: stated results, or errors


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "cam"])
def test_nothing_but_bad_logits(bad, activation):
    z = np.full((2, 3, 4, 4, 4), bad, np.float32)
    with pytest.raises(DataError, match="logits must be finite"):
        alseg.uncertainty(z, (9, 9), activation=activation)
    u = alseg.uncertainty(
        z, (9, 9), measures=MEASURES, activation=activation, nan_policy="mark", segments=np.zeros((9, 9), int)
    )
    assert not u.finite.any()
    assert all(np.isnan(v).all() for v in u.scores.values())
    assert np.isnan(u.segments["entropy_mean"]).all()


def test_no_valid_pixel():
    valid = np.ones((2, 6, 6), bool)
    valid[1] = False
    u = alseg.uncertainty(
        logits((2, 3, 2, 2), 0),
        (6, 6),
        measures=MEASURES,
        valid=valid,
        class_stats=True,
        segments=np.zeros((6, 6), int),
    )
    assert u.valid_pixels.tolist() == [36, 0]
    assert u.finite.all()
    for name, score in u.scores.items():
        assert np.isfinite(score[0])
        assert np.isnan(score[1]), name
    assert np.isnan(u.class_fraction[1]).all()
    assert (u.maps["entropy"][1] == 0).all()
    assert u.segments["area"][1, 0] == 0
    assert u.segments["entropy_sum"][1, 0] == 0
    assert np.isnan(u.segments["entropy_mean"][1, 0])


def test_top_share_is_of_the_valid_pixels():
    z = logits((1, 3, 20, 20), 1)
    valid = np.zeros((20, 20), bool)
    valid[:5, :8] = True  # 40 pixels: the top 5 % are two
    u = alseg.uncertainty(z, valid=valid)
    exact = np.sort(alseg.uncertainty(z).maps["entropy"][0][valid])[-2:].mean()
    assert u.scores["entropy_top"][0] == pytest.approx(exact, abs=1e-7)


def test_empty_segments_have_no_mean():
    u = alseg.uncertainty(logits((1, 3, 4, 4), 0), segments=np.full((4, 4), 2), n_segments=5, class_stats=True)
    assert u.segments["area"].tolist() == [[0, 0, 16, 0, 0]]
    assert np.isnan(u.segments["entropy_mean"][0, [0, 1, 3, 4]]).all()
    assert np.isnan(u.segments["class_fraction"][0, 0]).all()
    assert u.segments["entropy_sum"][0, 0] == 0
    assert u.segments["entropy_mean"][0, 2] == pytest.approx(u.scores["entropy_mean"][0], abs=1e-6)


Z = np.zeros((1, 3, 4, 4), np.float32)
IDS = np.zeros((4, 4), np.int64)


@pytest.mark.parametrize("ids", [IDS + 5, IDS - 1, (IDS + 5).astype(np.int32), (IDS - 1).astype(np.int32)])
def test_segment_ids_out_of_range(ids):
    with pytest.raises(RangeError, match=r"segments must be ids from 0 to n_segments - 1 = 4; got (5 to 5|-1 to -1)"):
        alseg.uncertainty(Z, segments=ids, n_segments=5)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: alseg.uncertainty(Z, segments=IDS * 0.5), DtypeError, "segments must be integers; got float64"),
        (
            lambda: alseg.uncertainty(Z, segments=IDS[:3]),
            ShapeError,
            r"segments must have shape \[N, H, W\] = \[1, 4, 4\]",
        ),
        (lambda: alseg.uncertainty(Z, n_segments=3), RangeError, "n_segments must be None without segments; got 3"),
        (lambda: alseg.uncertainty(Z, segments=IDS, n_segments=0), RangeError, "n_segments must be None or an integer"),
        (lambda: alseg.uncertainty(Z, valid=np.ones((4, 4))), DtypeError, "valid must be bool; got float64"),
        (lambda: alseg.uncertainty(Z, (8, 8), valid=IDS == 0), ShapeError, r"valid must have shape .* got \[4, 4\]"),
        (lambda: alseg.uncertainty(Z, temperature=0), RangeError, "temperature must be positive; got 0"),
        (lambda: alseg.uncertainty(Z, temperature=2, activation="probabilities"), RangeError, "temperature must be 1"),
        (lambda: alseg.uncertainty(Z, image_labels=[[1, 1, 1]]), RangeError, "image_labels must be None with"),
        (lambda: alseg.uncertainty(Z, activation="cam", background=1.0), RangeError, r"background must be in \(0, 1\)"),
        (
            lambda: alseg.uncertainty(Z, activation="cam", image_labels=[1, 1, 1]),
            ShapeError,
            r"image_labels must have shape \[N, C\] = \[1, 3\]; got \[3\]",
        ),
        (lambda: alseg.uncertainty(Z, (2**21, 2**20)), ShapeError, r"size must have at most 2\^40 pixels"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_mixed_devices_are_an_error_not_a_copy():
    torch = pytest.importorskip("torch", reason="devices are torch's")
    z = torch.zeros(1, 3, 4, 4)
    with pytest.raises(DeviceError, match="valid must be on cpu like logits; got meta"):
        alseg.uncertainty(z, valid=torch.ones(4, 4, dtype=torch.bool, device="meta"))
    u = alseg.uncertainty(z, valid=np.ones((4, 4), bool), segments=torch.zeros(4, 4, dtype=torch.int64))
    assert isinstance(u.segments["area"], torch.Tensor)


@pytest.mark.slow
def test_more_than_two_to_the_31_pixels():
    """Sums over 2^31 + 2^20 output pixels, of which no map exists: 64-bit offsets and counts."""
    size = (2**11 + 1, 2**20)
    z = np.array([3.0, 0.0], np.float32).reshape(1, 2, 1, 1)
    u = alseg.uncertainty(z, size, maps=False, reduce=("mean", "max"))
    assert u.valid_pixels[0] == size[0] * size[1] > 2**31
    one = alseg.uncertainty(z, reduce=("mean",)).scores["entropy_mean"][0]
    assert u.scores["entropy_mean"][0] == pytest.approx(one, rel=3e-6)


def test_measures_of_one_name_alone():
    for name in MC_MEASURES:
        z = logits((1, 4, 3, 5, 5), 3)
        alone = alseg.uncertainty(z, (33, 20), measures=(name,))
        together = alseg.uncertainty(z, (33, 20), measures=MEASURES)
        np.testing.assert_allclose(alone.maps[name], together.maps[name], atol=5e-7, err_msg=name)
