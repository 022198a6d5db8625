"""Class probabilities of regions against their definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alseg_fast as alseg
from alseg_fast import _native
from alseg_fast.dispatch import use_backend
from alseg_fast.errors import DataError, DtypeError, RangeError, ShapeError
from alseg_fast.ops import region_probs


def patches(rng, size, n_segments, cell):
    coarse = rng.integers(-1, n_segments, (-(-size[0] // cell), -(-size[1] // cell)))
    return coarse.repeat(cell, axis=0).repeat(cell, axis=1)[: size[0], : size[1]]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_equals_its_definition(data):
    draw = data.draw
    size = (draw(st.integers(1, 200)), draw(st.integers(1, 90)))
    extent = (draw(st.integers(1, 30)), draw(st.integers(1, 40)))
    if draw(st.booleans()):  # the model answers for every pixel, or for every pixel of a row
        size = draw(st.sampled_from([extent, (size[0], extent[1])]))
    passes = [draw(st.sampled_from([1, 3]))] if draw(st.booleans()) else []
    activation = draw(st.sampled_from(["softmax", "sigmoid", "probabilities"]))
    n_classes = draw(st.sampled_from([2, 3, 21] if activation == "softmax" else [1, 2, 3, 21]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    logits = rng.normal(size=(*passes, n_classes, *extent)) * draw(st.sampled_from([0.1, 3, 60]))
    if activation == "probabilities":
        logits = np.where(rng.random(extent) < 0.2, 0, np.abs(logits) / np.abs(logits).max())
    logits = logits.astype(draw(st.sampled_from([np.float32, np.float16])))
    segments = patches(rng, size, 12, draw(st.sampled_from([1, 3, 17])))
    segments = segments.astype(draw(st.sampled_from([np.int32, np.int64])))
    box = None
    if draw(st.booleans()):
        top, left = rng.random(2) * extent
        box = (top, left, *(rng.random(2) * (extent - np.array([top, left])) + 1e-3).clip(0, None))
        box = (top, left, min(box[2], extent[0] - top), min(box[3], extent[1] - left))
    before = _native.simd_level()
    _native.set_simd_level(draw(st.sampled_from(_native.available_levels())))
    try:
        got = region_probs(logits, segments, 13, activation=activation, box=box)
    finally:
        _native.set_simd_level(before)
    with use_backend("reference"):
        expected = region_probs(logits, segments, 13, activation=activation, box=box)
    assert got.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=2e-6)
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(got[12], np.float32(1 / got.shape[1]))  # no pixel has this id


def test_a_region_of_one_logit_pixel_has_its_probabilities(simd_level):
    logits = np.random.default_rng(0).normal(size=(5, 4, 6)).astype(np.float32)
    e = np.exp(logits - logits.max(axis=0))
    got = region_probs(logits, np.arange(24).reshape(4, 6))
    np.testing.assert_allclose(got, (e / e.sum(axis=0)).reshape(5, -1).T, atol=1e-6)


def test_interpolates_as_uncertainty_does():
    # Probabilities are interpolated by both: over what is predicted as a class, its mean is that of 1 - (1 - p1).
    p = np.random.default_rng(1).dirichlet([1] * 3, (7, 9)).transpose(2, 0, 1).astype(np.float32)
    options = {"activation": "probabilities", "box": (0.5, 1.25, 6, 7)}
    u = alseg.uncertainty(p[None], (50, 64), measures=("least_confidence",), **options)
    got = region_probs(p, u.labels[0], 3, **options)
    confidence = [1 - u.maps["least_confidence"][0][u.labels[0] == c].mean() for c in range(3)]
    np.testing.assert_allclose(got.diagonal(), confidence, atol=1e-5)


def test_no_nan_is_missed(simd_level):
    for value in (np.nan, np.inf, -np.inf):
        for i in (0, 6, 16, 18):
            logits = np.zeros((2, 1, 19), np.float32)
            logits[1, 0, i] = value
            with pytest.raises(DataError, match="logits must be finite"):
                region_probs(logits, SEGMENTS)


def test_same_bits_for_any_number_of_threads(simd_level):
    rng = np.random.default_rng(0)
    logits, segments = rng.normal(size=(2, 7, 40, 50)).astype(np.float32), patches(rng, (600, 300), 40, 9)
    assert len({region_probs(logits, segments, num_threads=t).tobytes() for t in (1, 2, 5)}) == 1


def test_views_and_tensors():
    torch = pytest.importorskip("torch", reason="tensors are torch's")
    rng = np.random.default_rng(2)
    logits, segments = rng.normal(size=(8, 9, 4)).astype(np.float32), patches(rng, (30, 40), 6, 4)
    expected = region_probs(logits.transpose(2, 0, 1).copy(), segments.T.copy())
    np.testing.assert_array_equal(region_probs(logits.transpose(2, 0, 1), segments.T), expected)
    tensor = torch.from_numpy(logits).permute(2, 0, 1)
    np.testing.assert_array_equal(region_probs(tensor, segments.T), expected)
    rough = tensor.to(torch.bfloat16)
    np.testing.assert_array_equal(region_probs(rough, segments.T), region_probs(rough.float(), segments.T))


def test_maps_without_regions_and_large_scores():
    logits = np.array([[[1e30]], [[-1e30]]], np.float32)
    np.testing.assert_array_equal(region_probs(logits, [[0, 0]]), [[1, 0]])
    np.testing.assert_allclose(region_probs(-abs(logits), [[0]], activation="sigmoid"), [[0.5, 0.5]])
    assert region_probs(logits, [[-1, -1]]).shape == (0, 2)
    np.testing.assert_array_equal(region_probs(logits, [[-1, -1]], 1), [[0.5, 0.5]])


LOGITS = np.zeros((3, 4, 5), np.float32)
SEGMENTS = np.zeros((8, 10), np.int32)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: region_probs(LOGITS[0], SEGMENTS), ShapeError, r"shape \[C, h, w\] or \[T, C, h, w\]"),
        (lambda: region_probs(LOGITS[:1], SEGMENTS), ShapeError, "logits must have 2 to 65535 classes for softmax"),
        (lambda: region_probs(LOGITS.astype(int), SEGMENTS), DtypeError, "logits must be float32 or float16"),
        (lambda: region_probs(LOGITS + np.nan, SEGMENTS), DataError, "logits must be finite; they hold NaN or inf"),
        (lambda: region_probs(LOGITS - np.inf, SEGMENTS), DataError, "logits must be finite"),
        (
            lambda: region_probs(LOGITS + 1.5, SEGMENTS, activation="probabilities"),
            DataError,
            r"logits must be in 0\.\.1 with activation='probabilities'; got 1.5 to 1.5",
        ),
        (lambda: region_probs(LOGITS, SEGMENTS, activation="relu"), RangeError, "activation must be one of softmax"),
        (lambda: region_probs(LOGITS, SEGMENTS, box=(0, 0, 5, 5)), RangeError, "box must be"),
        (lambda: region_probs(LOGITS, SEGMENTS[0]), ShapeError, r"segments must have shape \[H, W\]"),
        (lambda: region_probs(LOGITS, SEGMENTS + 2, 2), RangeError, "ids from 0 to n_segments - 1 = 1"),
        (lambda: region_probs(LOGITS, SEGMENTS - 2, 2), RangeError, "got -2 to -2"),
        (lambda: region_probs(LOGITS, SEGMENTS, num_threads=0), RangeError, "num_threads must be None or"),
    ],
)
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_errors(call, kind, message, backend):
    with use_backend(backend), pytest.raises(kind, match=message):
        call()
