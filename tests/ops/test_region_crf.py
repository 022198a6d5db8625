"""Mean field over regions against its definition, by hand, and where its input is wrong."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alseg_fast as alseg
from alseg_fast import _native
from alseg_fast.dispatch import use_backend
from alseg_fast.errors import DataError, DtypeError, RangeError, ShapeError
from alseg_fast.ops import region_adjacency, region_colors


def picture(rng, size, n_segments, cell):
    """An image and its regions, of which some ids have no pixel and some pixels no region."""
    coarse = rng.integers(-1, n_segments, (-(-size[0] // cell), -(-size[1] // cell)))
    ids = coarse.repeat(cell, axis=0).repeat(cell, axis=1)[: size[0], : size[1]]
    colors = rng.integers(60, 120, (n_segments + 1, 3))
    noise = rng.integers(-9, 10, (*size, 3))
    return (colors[ids] + noise).astype(np.uint8), ids


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_equals_its_definition(data):
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    n_segments, n_classes = draw(st.sampled_from([1, 2, 9, 60])), draw(st.sampled_from([1, 2, 7, 16, 17, 21, 33]))
    size = (draw(st.integers(1, 30)), draw(st.integers(1, 40)))
    image, ids = picture(rng, size, n_segments, draw(st.sampled_from([1, 3, 9])))
    probs = rng.dirichlet([draw(st.sampled_from([0.02, 1.0]))] * n_classes, n_segments)
    options = {
        "n_iter": draw(st.sampled_from([0, 1, 5, 10])),
        "weight": draw(st.sampled_from([0.0, 1.0, 4.0, 100.0])),
        "sigma_rgb": draw(st.sampled_from([3.0, 15.0, 1e3])),
        "compatibility": rng.normal(size=(n_classes, n_classes)) if draw(st.booleans()) else "potts",
        "clamp": rng.integers(-1, n_classes, n_segments) if draw(st.booleans()) else None,
    }
    before = _native.simd_level()
    _native.set_simd_level(draw(st.sampled_from(_native.available_levels())))
    try:
        got = alseg.region_crf(image, ids, probs, **options)
    finally:
        _native.set_simd_level(before)
    with use_backend("reference"):
        expected = alseg.region_crf(image, ids, probs, **options)
    assert got.dtype == np.float32
    # Iterations that swing between two states double what rounding has left.
    tolerance = 1e-5 if options["weight"] <= 4 else 2e-3
    np.testing.assert_allclose(got, expected, atol=tolerance)
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_one_update_by_hand(backend):
    # Two regions with one border: L / sqrt(P P) = 1.
    probs = [[0.5, 0.5], [0.8, 0.2]]
    colors, adjacency = [[0, 0, 0], [3, 0, 4]], ([[0, 1]], [7])
    options = {"n_iter": 1, "weight": 2, "sigma_rgb": 5, "colors": colors, "adjacency": adjacency}
    w = 2 * math.exp(-0.5)
    with use_backend(backend):
        got = alseg.region_crf(None, None, probs, **options)
        matrix = alseg.region_crf(None, None, probs, compatibility=[[0, 3], [1, 0]], **options)
        clamped = alseg.region_crf(None, None, probs, clamp=[-1, 1], **options)
    first = np.array([0.5 * math.exp(-w * 0.2), 0.5 * math.exp(-w * 0.8)])
    second = np.array([0.8 * math.exp(-w * 0.5), 0.2 * math.exp(-w * 0.5)])
    np.testing.assert_allclose(got, [first / first.sum(), second / second.sum()], atol=1e-6)
    # Label 0 pays 3 beside a neighbour of label 1, label 1 pays 1 beside one of label 0.
    first = np.array([math.exp(-w * 3 * 0.2), math.exp(-w * 0.8)])
    np.testing.assert_allclose(matrix[0], first / first.sum(), atol=1e-6)
    first = np.array([math.exp(-w), 1])
    np.testing.assert_allclose(clamped, [first / first.sum(), [0, 1]], atol=1e-6)


def test_neighbours_of_the_same_colour_agree_and_contrast_separates():
    segments = np.arange(36).reshape(6, 6).repeat(4, axis=0).repeat(4, axis=1)
    image = np.full((24, 24, 3), 90, np.uint8)
    image[:, 12:] = 200
    truth = (np.arange(36) % 6 >= 3).astype(int)
    probs = np.where(np.eye(2)[truth] == 1, 0.7, 0.3)
    probs[[8, 28]] = probs[[8, 28], ::-1]  # one mistake on each side
    got = alseg.region_crf(image, segments, probs)
    np.testing.assert_array_equal(got.argmax(axis=1), truth)
    np.testing.assert_array_equal(
        alseg.region_crf(image, segments, probs, weight=0).argmax(axis=1), probs.argmax(axis=1)
    )
    # What is annotated stays, and spreads to what looks the same.
    clamp = np.full(36, -1)
    clamp[0] = 1
    unsure = np.full((36, 2), 0.5)
    got = alseg.region_crf(image, segments, unsure, clamp=clamp, n_iter=20)
    assert got[0, 1] == 1
    assert (got[truth == 0, 1] > 0.5).all()
    np.testing.assert_allclose(got[truth == 1], 0.5, atol=1e-5)


def test_same_bits_for_any_number_of_threads(simd_level):
    rng = np.random.default_rng(0)
    image, ids = picture(rng, (120, 130), 5000, 2)
    probs = rng.dirichlet([1.0] * 21, 5000)
    assert len({alseg.region_crf(image, ids, probs, num_threads=t).tobytes() for t in (1, 2, 5)}) == 1


def test_known_colors_and_neighbours_and_views():
    rng = np.random.default_rng(1)
    image, ids = picture(rng, (40, 50), 20, 5)
    probs = rng.dirichlet([1.0] * 4, 20)
    expected = alseg.region_crf(image, ids, probs)
    pairs, lengths = region_adjacency(ids, 20)
    known = {"colors": region_colors(image, ids, 20), "adjacency": (pairs, lengths)}
    np.testing.assert_array_equal(alseg.region_crf(None, None, probs, **known), expected)
    np.testing.assert_array_equal(alseg.region_crf(None, ids, probs, colors=known["colors"]), expected)
    wide = {"colors": known["colors"].astype(float), "adjacency": (pairs.astype(np.int64), lengths.astype(np.uint16))}
    np.testing.assert_array_equal(alseg.region_crf(None, None, np.asfortranarray(probs), **wide), expected)
    # A pair given in two parts counts as their sum, in any order.
    parts = (np.concatenate([pairs, pairs[:, ::-1]]), np.concatenate([lengths, lengths]))
    np.testing.assert_allclose(alseg.region_crf(image, ids, probs, adjacency=parts), expected, atol=1e-6)


def test_edge_cases():
    image, ids = np.zeros((2, 3), np.uint8), np.array([[0, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(alseg.region_crf(image, ids, np.ones((2, 1))), [[1], [1]])
    assert alseg.region_crf(image, np.full((2, 3), -1), np.ones((0, 3))).shape == (0, 3)
    zero = alseg.region_crf(image, ids, np.array([[1.0, 0.0], [0.0, 1.0]]), n_iter=0)
    np.testing.assert_allclose(zero, [[1 - 1e-5, 1e-5], [1e-5, 1 - 1e-5]], atol=1e-7)
    assert np.isfinite(alseg.region_crf(image, ids, np.eye(2), weight=1e6, compatibility=[[-1e6, 1e6], [0, 3]])).all()
    alone = alseg.region_crf(image, ids * 0, [[0.3, 0.7], [0.6, 0.4]])
    np.testing.assert_allclose(alone, [[0.3, 0.7], [0.6, 0.4]], atol=1e-6)


IMAGE, IDS, PROBS = np.zeros((4, 6, 3), np.uint8), np.arange(24).reshape(4, 6) // 12, np.full((2, 2), 0.5)


def crf(image=IMAGE, segments=IDS, probs=PROBS, **options):
    return alseg.region_crf(image, segments, probs, **options)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: crf(probs=PROBS[0]), ShapeError, r"region_probs must have shape \[S, C\]; got \[2\]"),
        (lambda: crf(probs=PROBS[:, :0]), ShapeError, "region_probs must have shape"),
        (lambda: crf(probs=np.eye(2, dtype=int)), DtypeError, "region_probs must be float; got int64"),
        (lambda: crf(probs=PROBS * 1.1), DataError, "sum to 1; got 0.55 to 0.55 with sum 1.1 in row 0"),
        (lambda: crf(probs=PROBS + np.array([[0, 0], [1, -1]])), DataError, "got -0.5 to 1.5 with sum 1 in row 1"),
        (lambda: crf(probs=PROBS * np.nan), DataError, "region_probs must hold probabilities"),
        (lambda: crf(probs=PROBS[:1]), RangeError, r"segments must be ids from 0 to n_segments - 1 = 0,.*got 0 to 1"),
        (lambda: crf(segments=IDS[0]), ShapeError, r"segments must have shape \[H, W\]"),
        (lambda: crf(segments=IDS.T), ShapeError, r"image must have the size of segments \[6, 4\]; got \[4, 6, 3\]"),
        (lambda: crf(image=IMAGE / 255), DtypeError, "region_crf: image must be uint8; got float64"),
        (lambda: crf(image=None), DtypeError, "image must be uint8; got object"),
        (lambda: crf(n_iter=-1), RangeError, "n_iter must be an integer in 0..10.6; got -1"),
        (lambda: crf(n_iter=2.5), RangeError, "n_iter must be an integer"),
        (lambda: crf(weight=-1), RangeError, r"weight must be in \[0, 1e6\]; got -1"),
        (lambda: crf(weight=np.nan), RangeError, r"weight must be in \[0, 1e6\]; got nan"),
        (lambda: crf(sigma_rgb=0), RangeError, "sigma_rgb must be positive; got 0"),
        (lambda: crf(sigma_rgb=np.inf), RangeError, "sigma_rgb must be positive; got inf"),
        (lambda: crf(compatibility="ising"), RangeError, "compatibility must be 'potts' or an array; got 'ising'"),
        (lambda: crf(compatibility=np.eye(3)), ShapeError, r"\[C, C\] = \[2, 2\]; got \[3, 3\]"),
        (lambda: crf(compatibility=np.eye(2) * np.nan), DataError, "compatibility must be finite"),
        (lambda: crf(clamp=[0]), ShapeError, r"clamp must have shape \[S\] = \[2\]; got \[1\]"),
        (lambda: crf(clamp=[0, 2]), RangeError, r"clamp must be in -1\.\.C - 1 = 1; got 0 to 2"),
        (lambda: crf(clamp=[-2, 0]), RangeError, "clamp must be"),
        (lambda: crf(clamp=[0.0, 1.0]), DtypeError, "clamp must be integers; got float64"),
        (lambda: crf(colors=np.zeros((3, 3))), ShapeError, r"colors must have shape \[S, 3\] = \[2, 3\]; got \[3, 3\]"),
        (lambda: crf(colors=np.full((2, 3), np.nan)), DataError, "colors must be finite"),
        (lambda: crf(adjacency=([[0, 1]], [1, 2])), ShapeError, r"adjacency must be pairs \[E, 2\] and lengths \[E\]"),
        (lambda: crf(adjacency=([[0, 1.0]], [1])), DtypeError, "adjacency must be integers; got float64"),
        (lambda: crf(adjacency=([[0, 2]], [1])), RangeError, r"in 0\.\.S - 1 = 1.* got ids 0 to 2"),
        (lambda: crf(adjacency=([[1, 1]], [1])), RangeError, "adjacency must pair different ids"),
        (lambda: crf(adjacency=([[0, 1]], [0])), RangeError, "lengths from 0"),
        (lambda: crf(num_threads=0), RangeError, "num_threads must be None or"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
