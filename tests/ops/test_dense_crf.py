"""The dense CRF against all pairs of pixels, against a readable lattice, and what holds whatever is approximated."""

import re
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alseg_fast as alseg
from alseg_fast import _native
from alseg_fast.dispatch import use_backend
from alseg_fast.errors import DataError, DtypeError, RangeError, ShapeError, UsageError
from ops.permutohedral import filter_matrix


def picture(rng, size, channels=3):
    """A few flat areas with some noise."""
    h, w = size
    coarse = rng.integers(0, 256, (-(-h // 7), -(-w // 9), channels))
    flat = coarse.repeat(7, axis=0).repeat(9, axis=1)[:h, :w]
    return np.clip(flat + rng.integers(-6, 7, flat.shape), 0, 255).astype(np.uint8)


def random_probs(rng, classes, size, sharpness=1.0):
    logits = rng.normal(size=(classes, *size)) * sharpness
    p = np.exp(logits - logits.max(axis=0))
    return (p / p.sum(axis=0)).astype(np.float32)


def reference(*args, **kwargs):
    with use_backend("reference"):
        return alseg.dense_crf(*args, **kwargs)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_gaussian_term_equals_all_pairs_of_pixels(data):
    draw = data.draw
    size = (draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    classes = draw(st.sampled_from([1, 2, 5, 17]))
    sigma = draw(st.sampled_from([0.3, 0.8, 1.0, 1.7, 3.0, 12.0]))
    options = {"gaussian": (sigma, 3.0), "bilateral": None, "n_iter": draw(st.integers(0, 4))}
    options["normalization"] = draw(st.sampled_from(["symmetric", "none"]))
    if options["normalization"] == "none":
        options["gaussian"] = (sigma, 0.5 / max(1.0, sigma**2))
    if draw(st.booleans()):
        mu = rng.random((classes, classes))
        options["compatibility"] = (mu + mu.T) / 2
    if draw(st.booleans()):
        options["clamp"] = np.where(rng.random(size) < 0.1, rng.integers(0, classes, size), -1)
    if draw(st.booleans()):
        options["confidence"] = rng.random(size)
    image, probs = np.zeros((*size, 3), np.uint8), random_probs(rng, classes, size, 2.0)
    before = _native.simd_level()
    _native.set_simd_level(draw(st.sampled_from(_native.available_levels())))
    try:
        got = alseg.dense_crf(image, probs, **options)
    finally:
        _native.set_simd_level(before)
    # Below one pixel the filter is the Gaussian itself; above, splines come the nearer the larger it is.
    tolerance = 1e-5 if sigma < 1 else 0.03
    np.testing.assert_allclose(got, reference(image, probs, **options), atol=tolerance)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("normalization", ["symmetric", "none"])
def test_bilateral_term_equals_a_readable_lattice(simd_level, channels, normalization):
    rng = np.random.default_rng(channels)
    size, classes = (35, 37), 4
    image, probs = picture(rng, size, channels), random_probs(rng, classes, size)
    sxy, srgb, weight = 9.0, 20.0, 5.0
    places = np.argwhere(np.ones(size))[:, ::-1] / sxy
    features = np.hstack([places, image.reshape(-1, channels) / srgb])
    k = filter_matrix(features)
    if normalization == "symmetric":
        root = np.sqrt(k.sum(axis=1))
        k = k / root[:, None] / root[None]
    else:  # the sum over an even spread of pixels is the Gaussian's
        weight, d = 0.03, 2 + channels
        k *= (2 * np.pi) ** (d / 2) / (1.5 ** (d / 2) / np.sqrt(d + 1) * 2 ** (d + 1))
    q = p = probs.reshape(classes, -1).astype(np.float64)
    for _ in range(3):
        z = np.log(p) + weight * q @ k.T  # not quite symmetric where vertices are missing
        q = np.exp(z - z.max(axis=0))
        q /= q.sum(axis=0)
    got = alseg.dense_crf(image, probs, 3, None, (sxy, srgb, weight), normalization=normalization)
    np.testing.assert_allclose(got.reshape(classes, -1), q, atol=2e-4)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("channels", [1, 3])
def test_both_terms_are_near_all_pairs_of_pixels(seed, channels):
    rng = np.random.default_rng(seed)
    size = (30, 41)
    image, probs = picture(rng, size, channels), random_probs(rng, 3, size)
    options = {"gaussian": (2.0, 1.0), "bilateral": (8.0, 25.0, 2.0)}
    got, expected = alseg.dense_crf(image, probs, **options), reference(image, probs, **options)
    # What the lattice of the bilateral term is off by; without that term, or with half its weight, it is far more.
    assert np.abs(got - expected).mean() < 0.004
    assert np.abs(got - expected).max() < 0.05
    weaker = reference(image, probs, gaussian=(2.0, 1.0), bilateral=(8.0, 25.0, 1.0))
    assert np.abs(weaker - expected).mean() > 0.012


@pytest.mark.parametrize("unary", ["probs", "logits", "labels"])
def test_no_iteration_returns_the_unary(simd_level, unary):
    rng = np.random.default_rng(4)
    size, classes = (33, 50), 5
    image = picture(rng, size)
    clamp = np.where(rng.random(size) < 0.2, 2, -1)
    options = {"n_iter": 0, "unary": unary, "clamp": clamp, "confidence": rng.random(size).astype(np.float32)}
    source = random_probs(rng, classes, size)
    source[:, 3, :] = np.eye(classes)[0][:, None]  # certain, which is clipped
    if unary == "logits":
        source = np.log(source + 1e-30) * 3 + 7
    if unary == "labels":
        source = rng.integers(0, classes, size)
        options |= {"n_classes": classes, "unsure": 3}
    got = alseg.dense_crf(image, source, **options)
    np.testing.assert_allclose(got, reference(image, source, **options), atol=2e-6)
    free = clamp < 0
    assert (got[:, ~free] == np.eye(classes, dtype=np.float32)[2][:, None]).all()
    if unary == "labels":
        np.testing.assert_allclose(got[:, free & (source == 3)], 1 / classes, atol=1e-6)


def test_labels_have_probability_confidence():
    labels = np.array([[0, 1], [2, 9]])
    p = alseg.dense_crf(np.zeros((2, 2), np.uint8), labels, 0, unary="labels", n_classes=3, unsure=9)
    np.testing.assert_allclose(p[:, 0, 0], [0.7, 0.15, 0.15], atol=1e-6)
    np.testing.assert_allclose(p[:, 1, 1], 1 / 3, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_holds_whatever_is_approximated(data):
    draw = data.draw
    size = (draw(st.integers(1, 70)), draw(st.integers(1, 70)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    classes = draw(st.sampled_from([1, 2, 3, 16, 21, 33]))
    image = picture(rng, size, draw(st.sampled_from([1, 3]))) if draw(st.booleans()) else np.full(size, 7, np.uint8)
    probs = random_probs(rng, classes, size)
    clamp = np.where(rng.random(size) < 0.2, rng.integers(0, classes, size), -1)
    options = {"clamp": clamp, "gaussian": draw(st.sampled_from([None, (3.0, 3.0)]))}
    q = alseg.dense_crf(image, probs, 3, **options)
    np.testing.assert_allclose(q.sum(axis=0), 1, atol=1e-5)
    assert (q >= 0).all()
    fixed = clamp >= 0
    assert (q[:, fixed] == np.eye(classes, dtype=np.float32)[:, clamp[fixed]]).all()
    # Other names of the classes, other order of the results.
    order = rng.permutation(classes)
    options["clamp"] = np.where(fixed, np.argsort(order)[clamp], -1)
    np.testing.assert_allclose(alseg.dense_crf(image, probs[order], 3, **options), q[order], atol=2e-5)


def test_terms_of_no_weight_leave_the_unary():
    rng = np.random.default_rng(5)
    image, probs = picture(rng, (20, 30)), random_probs(rng, 4, (20, 30))
    for gaussian, bilateral in (((3, 0), (80, 13, 0)), (None, None), ((3, 0), None)):
        np.testing.assert_allclose(alseg.dense_crf(image, probs, 3, gaussian, bilateral), probs, atol=1e-6)


def test_result_has_the_same_bits_for_any_number_of_threads(simd_level):
    rng = np.random.default_rng(6)
    image, probs = picture(rng, (130, 150)), random_probs(rng, 7, (130, 150))
    assert len({alseg.dense_crf(image, probs, 3, num_threads=t).tobytes() for t in (1, 2, 5)}) == 1


def test_levels_agree():
    rng = np.random.default_rng(7)
    image, probs = picture(rng, (70, 90)), random_probs(rng, 21, (70, 90))
    before = _native.simd_level()
    results = []
    for level in _native.available_levels():
        _native.set_simd_level(level)
        results.append(alseg.dense_crf(image, probs))
    _native.set_simd_level(before)
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=1e-4)


def test_lattice_is_reusable_from_threads():
    rng = np.random.default_rng(8)
    size = (60, 70)
    image = picture(rng, size)
    inputs = [random_probs(rng, c, size) for c in (2, 21, 5, 21)]
    lattice = alseg.CrfLattice(image, (2.0, 3.0), (30.0, 10.0, 5.0))
    fresh = [alseg.dense_crf(image, p, 4, (2.0, 3.0), (30.0, 10.0, 5.0)) for p in inputs]
    results = [None] * len(inputs)

    def solve(i):
        for _ in range(3):
            results[i] = alseg.dense_crf(None, inputs[i], 4, lattice=lattice)

    threads = [threading.Thread(target=solve, args=(i,)) for i in range(len(inputs))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for result, expected in zip(results, fresh, strict=True):
        np.testing.assert_array_equal(result, expected)


def test_window_with_a_wide_margin_is_the_whole_solution():
    rng = np.random.default_rng(9)
    size = (60, 80)
    image, probs = picture(rng, size), random_probs(rng, 3, size)
    clamp = np.where(rng.random(size) < 0.05, 1, -1)
    options = {"gaussian": (2.0, 2.0), "bilateral": (4.0, 30.0, 3.0), "clamp": clamp}
    whole = alseg.dense_crf(image, probs, **options)
    x, y, w, h = window = (30, 20, 17, 9)
    inside = whole[:, y : y + h, x : x + w]
    part = alseg.dense_crf(image, probs, window=window, margin=1000, **options)
    assert part.shape == (3, h, w)
    np.testing.assert_array_equal(part, inside)
    near = alseg.dense_crf(image, probs, window=window, margin=14, **options)
    assert np.abs(near - inside).mean() < 0.01
    lattice = alseg.CrfLattice(image, (2.0, 2.0), (4.0, 30.0, 3.0), window=window, margin=14)
    again = alseg.dense_crf(None, probs, lattice=lattice, window=window, margin=14, clamp=clamp)
    np.testing.assert_array_equal(again, near)
    out = np.empty((3, h, w), np.float32)
    assert alseg.dense_crf(image, probs, window=window, margin=14, out=out, **options) is out
    np.testing.assert_array_equal(out, near)


def test_edges_of_the_picture_attract_the_labels():
    # Two flat halves; the unary is right but for a strip beside the edge.
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = (200, 60, 90)
    probs = np.full((2, 40, 60), 0.4, np.float32)
    probs[0, :, :36] = probs[1, :, 36:] = 0.6
    q = alseg.dense_crf(image, probs)
    np.testing.assert_array_equal(q.argmax(axis=0), image[:, :, 0] > 0)


def test_known_pixels_spread():
    image = np.full((30, 30, 3), 90, np.uint8)
    probs = np.full((3, 30, 30), 1 / 3, np.float32)
    clamp = np.full((30, 30), -1)
    clamp[14:16, 14:16] = 2
    q = alseg.dense_crf(image, probs, clamp=clamp)
    assert (q[2] > 1 / 3).all()
    assert (q.argmax(axis=0) == 2).all()


def test_inputs_need_not_be_contiguous_or_float32():
    rng = np.random.default_rng(10)
    image, probs = picture(rng, (40, 50)), random_probs(rng, 3, (40, 50))
    expected = alseg.dense_crf(image, probs)
    turned = np.ascontiguousarray(probs.transpose(1, 2, 0)).transpose(2, 0, 1)
    wide = np.repeat(image, 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(alseg.dense_crf(wide, turned), expected)
    np.testing.assert_array_equal(alseg.dense_crf(image, probs.astype(np.float64)), expected)
    image.flags.writeable = probs.flags.writeable = False
    np.testing.assert_array_equal(alseg.dense_crf(image, probs), expected)


def test_result_may_replace_its_input():
    rng = np.random.default_rng(11)
    image, probs = picture(rng, (40, 50)), random_probs(rng, 3, (40, 50))
    expected = alseg.dense_crf(image, probs)
    memory = np.zeros(probs.size + 64, np.float32)
    memory[: probs.size] = probs.ravel()
    shifted = memory[64:].reshape(probs.shape)
    np.testing.assert_array_equal(
        alseg.dense_crf(image, memory[: probs.size].reshape(probs.shape), out=shifted), expected
    )
    assert alseg.dense_crf(image, probs, out=probs) is probs
    np.testing.assert_array_equal(probs, expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1)])
@pytest.mark.parametrize("classes", [1, 2, 70])
def test_smallest_pictures(size, classes):
    rng = np.random.default_rng(12)
    probs = random_probs(rng, classes, size)
    q = alseg.dense_crf(picture(rng, size), probs)
    assert q.shape == probs.shape
    np.testing.assert_allclose(q.sum(axis=0), 1, atol=1e-5)
    if classes == 1:
        assert (q == 1).all()
    elif size == (1, 1):  # the pixel is all of its own neighbourhood: D = K
        np.testing.assert_allclose(q, reference(np.zeros((1, 1), np.uint8), probs), atol=1e-4)


def test_noise_that_shares_no_vertex():
    rng = np.random.default_rng(13)
    image = rng.integers(0, 256, (70, 70, 3), dtype=np.uint8)
    probs = random_probs(rng, 3, (70, 70))
    q = alseg.dense_crf(image, probs, 2, None, (1.0, 1.0, 1.0))
    np.testing.assert_allclose(q.sum(axis=0), 1, atol=1e-5)
    # Every pixel is alone: its message is its own marginal.
    z = np.log(probs)
    expected = probs
    for _ in range(2):
        expected = np.exp(z + expected)
        expected /= expected.sum(axis=0)
    np.testing.assert_allclose(q, expected, atol=2e-3)


IMAGE = np.zeros((4, 5, 3), np.uint8)
PROBS = np.full((2, 4, 5), 0.5, np.float32)
LABELS = np.zeros((4, 5), np.int64)
HUGE = np.float64(1e300)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: alseg.dense_crf(IMAGE * 1.0, PROBS), DtypeError, "image must be uint8; got float64"),
        (lambda: alseg.dense_crf(IMAGE[..., :2], PROBS), ShapeError, "image must have 1 or 3 channels"),
        (lambda: alseg.dense_crf(IMAGE[0, 0], PROBS), ShapeError, "image must have shape"),
        (lambda: alseg.dense_crf(IMAGE[:0], PROBS), ShapeError, "image must not be empty"),
        (lambda: alseg.dense_crf(IMAGE, PROBS[0]), ShapeError, "probs must have shape [C, H, W]"),
        (lambda: alseg.dense_crf(IMAGE, PROBS[:, :3]), ShapeError, "probs must have the size of the image"),
        (lambda: alseg.dense_crf(IMAGE, PROBS.astype(int)), DtypeError, "probs must be float16 or float32 or float64"),
        (lambda: alseg.dense_crf(IMAGE, PROBS * np.nan), DataError, "probs must be finite"),
        (lambda: alseg.dense_crf(IMAGE, PROBS * HUGE), DataError, "probs must be finite"),
        (lambda: alseg.dense_crf(IMAGE, PROBS * np.inf, unary="logits"), DataError, "probs must be finite"),
        (
            lambda: alseg.dense_crf(IMAGE, PROBS + np.array([-1, 1])[:, None, None]),
            DataError,
            "probs must be >= 0; got negative",
        ),
        (lambda: alseg.dense_crf(IMAGE, PROBS * 0.99), DataError, "probs must sum to 1 over classes within 0.001"),
        (lambda: alseg.dense_crf(IMAGE, PROBS * 0), DataError, "probs must sum to 1 over classes"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, -1), RangeError, "n_iter must be an integer in 0..1000000; got -1"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, 2.5), RangeError, "n_iter must be an integer in 0..1000000; got 2.5"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, gaussian=(0, 3)), RangeError, "gaussian must have deviations"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, gaussian=(3, -1)), RangeError, "gaussian must have a weight in 0..1e9"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, gaussian=3), ShapeError, "gaussian must be (sigma_xy, weight)"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, bilateral=(80, 13)), ShapeError, "bilateral must be (sigma_xy, sigma"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, bilateral=(80, -1, 3)), RangeError, "bilateral must have deviations"),
        (
            lambda: alseg.dense_crf(IMAGE, PROBS, bilateral=(80, np.nan, 3)),
            RangeError,
            "bilateral must have deviations",
        ),
        (lambda: alseg.dense_crf(IMAGE, PROBS, bilateral=(80, 1e-4, 3)), RangeError, "does not fit in 64 bits"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, unary="softmax"), RangeError, "unary must be one of probs, logits"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, n_classes=3), RangeError, "n_classes must be the length of the first"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, clip=0), RangeError, "clip must lie in (0, 1); got 0"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, normalization="mean"), RangeError, "normalization must be one of"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, confidence=1.5), RangeError, "confidence must be in [0, 1]"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, confidence=np.nan), RangeError, "confidence must be in [0, 1]"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, confidence=[0.5]), ShapeError, "confidence must be one number or [H"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, clamp=LABELS[:3]), ShapeError, "clamp must be [H, W] = [4, 5]"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, clamp=LABELS + 0.0), DtypeError, "clamp must be integers; got float64"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, clamp=LABELS + 2), RangeError, "clamp must hold ids in 0..1"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, clamp=LABELS - 2), RangeError, "clamp must hold ids in 0..1"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, compatibility="ising"), RangeError, "compatibility must be 'potts'"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, compatibility=np.eye(3)), ShapeError, "compatibility must be 'potts'"),
        (
            lambda: alseg.dense_crf(IMAGE, PROBS, compatibility=np.array([[0, 1], [2, 0]])),
            RangeError,
            "compatibility must be symmetric",
        ),
        (
            lambda: alseg.dense_crf(IMAGE, PROBS, compatibility=np.full((2, 2), np.nan)),
            RangeError,
            "compatibility must be symmetric",
        ),
        (lambda: alseg.dense_crf(IMAGE, LABELS, unary="labels"), UsageError, "n_classes must be given"),
        (lambda: alseg.dense_crf(IMAGE, LABELS, unary="labels", n_classes=0), RangeError, "n_classes must be in 1.."),
        (lambda: alseg.dense_crf(IMAGE, LABELS + 3, unary="labels", n_classes=3), RangeError, "probs must hold labels"),
        (
            lambda: alseg.dense_crf(IMAGE, LABELS + 2**40, unary="labels", n_classes=3),
            RangeError,
            "probs must hold labels",
        ),
        (lambda: alseg.dense_crf(IMAGE, LABELS * 0.5, unary="labels", n_classes=3), DtypeError, "probs must be integ"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, window=(0, 0, 6, 4)), RangeError, "window must be (x, y, w, h) inside"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, window=(-1, 0, 2, 2)), RangeError, "window must be (x, y, w, h) inside"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, window=(0, 0, 0, 2)), RangeError, "window must be (x, y, w, h) inside"),
        (
            lambda: alseg.dense_crf(IMAGE, PROBS, window=(0, 0, 2, 2), margin=-1),
            RangeError,
            "margin must be None or an integer",
        ),
        (lambda: alseg.dense_crf(IMAGE, PROBS, margin=3), UsageError, "margin must come with a window"),
        (lambda: alseg.dense_crf(None, PROBS), UsageError, "image must be given where lattice is not"),
        (lambda: alseg.dense_crf(IMAGE, PROBS, num_threads=0), RangeError, "num_threads must be None or an integer"),
        (
            lambda: alseg.dense_crf(IMAGE, PROBS, out=np.empty((2, 4, 4), np.float32)),
            ShapeError,
            "out must have shape [2, 4, 5]",
        ),
        (lambda: alseg.dense_crf(IMAGE, PROBS, out=np.empty((2, 4, 5))), DtypeError, "out must be a writable C-contig"),
        (
            lambda: alseg.dense_crf(None, PROBS, gaussian=(2, 2), lattice=alseg.CrfLattice(IMAGE)),
            UsageError,
            "gaussian must be that of the lattice",
        ),
        (
            lambda: alseg.dense_crf(IMAGE[1:], PROBS, lattice=alseg.CrfLattice(IMAGE)),
            UsageError,
            "image must have the size of the lattice",
        ),
        (
            lambda: alseg.dense_crf(None, PROBS, window=(0, 0, 2, 2), margin=1, lattice=alseg.CrfLattice(IMAGE)),
            UsageError,
            "lattice must be made with the same window",
        ),
        (lambda: alseg.CrfLattice(IMAGE, normalization="x"), RangeError, "CrfLattice: normalization must be one of"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        call()


def test_real_picture(real_data):
    from PIL import Image

    image = np.asarray(Image.open(sorted((real_data / "bsds500").rglob("*.jpg"))[0]).convert("RGB"))[:140, :150]
    rng = np.random.default_rng(14)
    bright = (image.sum(axis=2) > np.median(image.sum(axis=2))).astype(int)
    labels = np.where(rng.random(bright.shape) < 0.3, 1 - bright, bright)
    q = alseg.dense_crf(image, labels, unary="labels", n_classes=21)
    np.testing.assert_allclose(q.sum(axis=0), 1, atol=1e-5)
    wrong = np.mean(q.argmax(axis=0) != bright)
    assert wrong < 0.1, wrong
