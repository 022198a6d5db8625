"""The fused uncertainty kernel against its float64 reference, hostile input, and hand-worked values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alseg_fast as alseg
from alseg_fast import _native
from alseg_fast.dispatch import use_backend
from alseg_fast.errors import BackendError, DataError, DtypeError, RangeError, ShapeError
from alseg_fast.kernels.uncertainty import reference as definition
from alseg_fast.kernels.uncertainty import uncertainty as op
from alseg_fast.kernels.uncertainty.common import MEASURES, Request, n_labels

ALL = MEASURES
ACTIVATIONS = ("softmax", "sigmoid", "probabilities")


def scores_for(activation, shape, seed, spread=4.0, dtype=np.float32):
    """Plausible input of an activation: normal logits, or probabilities that sum to one over classes (axis -3).

    Passes differ by a third of the spread, as with dropout.
    """
    rng = np.random.default_rng(seed)
    z = rng.normal(size=shape) * spread
    if len(shape) == 5:
        z = z[:, :1] + rng.normal(size=shape) * spread / 3
    if activation == "probabilities":
        e = np.exp(z - z.max(axis=-3, keepdims=True))
        z = e / e.sum(axis=-3, keepdims=True) if shape[-3] > 1 else 1 / (1 + np.exp(-z))
    return z.astype(dtype)


def request_for(z, size, activation, **changes):
    values = {
        "size": size,
        "measures": ALL,
        "activation": activation,
        "align_corners": False,
        "box": (0.0, 0.0, float(z.shape[-2]), float(z.shape[-1])),
        "maps": True,
        "labels": True,
        "class_stats": True,
        "top_fraction": 0.05,
        "sums": True,
        "num_threads": 1,
    }
    return Request(**{**values, **changes})


def tolerance(z, request):
    """float32 interpolation is off by a few units in the last place of the logits; a measure changes by at most
    about ln C times that."""
    largest = float(np.abs(z.astype(np.float64)).max()) if request.activation != "probabilities" else 1.0
    return 2e-6 + 4e-7 * (1 + largest / request.temperature) * (1 + math.log(z.shape[2] + 1))


def assert_same(native, reference, z, request, valid=None, segments=None):
    """Values within rounding; labels and votes equal except where two classes tie within rounding."""
    atol = tolerance(z, request)
    exact = [m for m in request.measures if m != "variation_ratio"]  # a vote flips as a label does
    for name in exact:
        np.testing.assert_allclose(native.maps[name], reference.maps[name], rtol=0, atol=atol, err_msg=name)
    columns = [MEASURES.index(m) for m in exact]
    np.testing.assert_array_equal(native.n_valid, reference.n_valid)
    for column in ("mean", "max", "top"):
        got, expected = getattr(native, column)[:, columns], getattr(reference, column)[:, columns]
        np.testing.assert_allclose(got, expected, rtol=0, atol=atol, err_msg=column)
    assert label_gap(native.labels, z, request, valid) < 20 * atol, "labels differ where there is no tie"
    flipped = np.abs(native.maps["variation_ratio"] - reference.maps["variation_ratio"]) > 1e-6
    assert (vote_gap(z, request)[flipped] < 20 * atol).all(), "votes differ where no pass has a tie"
    own = own_sums(native, z, request, valid, segments)
    np.testing.assert_array_equal(native.class_count, own[0])
    np.testing.assert_allclose(native.class_sum, own[1], rtol=1e-5, atol=1e-4)
    if segments is not None:
        np.testing.assert_array_equal(native.segment_area, reference.segment_area)
        np.testing.assert_allclose(native.segment_sum, own[2], rtol=1e-5, atol=1e-4)
        np.testing.assert_array_equal(native.segment_class, own[3])
    np.testing.assert_array_equal(native.status, reference.status)


def label_gap(labels, z, request, valid):
    """How much less probable than the best class the labels are, at worst, by the reference's mean probabilities."""
    p = definition.probabilities(definition.upsample(z, request), request).mean(axis=1)  # [N, C, H, W]
    if p.shape[1] == 1:
        p = np.concatenate([1 - p, p], axis=1)
    chosen = np.take_along_axis(p, labels[:, None].astype(np.int64), axis=1)[:, 0]
    gap = p.max(axis=1) - chosen
    return gap.max() if valid is None else np.where(valid, gap, 0).max()


def vote_gap(z, request):
    """[N, H, W] how close the closest decision of any pass is."""
    p = definition.probabilities(definition.upsample(z, request), request)  # [N, T, C, H, W]
    if request.activation == "sigmoid" or p.shape[2] == 1:
        return np.abs(p - 0.5).min(axis=(1, 2))
    ranked = np.sort(p, axis=2)
    return (ranked[:, :, -1] - ranked[:, :, -2]).min(axis=1)


def own_sums(native, z, request, valid, segments):
    """Sums over classes and segments that belong to a kernel's own maps and labels."""
    n, labels, k, s = len(z), n_labels(z.shape[2]), len(MEASURES), request.n_segments
    count, total = np.zeros((n, labels), np.int64), np.zeros((n, k, labels))
    in_segment, shares = np.zeros((n, k, s)), np.zeros((n, s, labels), np.int64)
    for i in range(n):
        counts = np.ones(request.size, bool) if valid is None else valid[i]
        ids = native.labels[i][counts].astype(np.int64)
        values = [native.maps[name][i][counts].astype(float) for name in MEASURES]
        count[i] = np.bincount(ids, minlength=labels)
        total[i] = [np.bincount(ids, v, minlength=labels) for v in values]
        if segments is not None:
            where = segments[i][counts]
            in_segment[i] = [np.bincount(where, v, minlength=s) for v in values]
            np.add.at(shares[i], (where, ids), 1)
    return count, total, in_segment, shares


SHAPES = [
    (1, 2, 1, 1, 1, 1),
    (2, 5, 7, 9, 33, 65),
    (1, 21, 8, 8, 64, 64),
    (1, 3, 40, 50, 13, 17),  # downsampling
    (3, 4, 16, 16, 16, 16),  # same size
    (1, 19, 5, 3, 100, 7),
    (1, 7, 3, 97, 31, 129),
    (1, 300, 4, 5, 20, 40),  # labels need 16 bits
    (1, 1000, 2, 2, 9, 18),
    (1, 2, 31, 1, 64, 1),
]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
@pytest.mark.parametrize("passes", [1, 3])
def test_native_equals_reference(simd_level, shape, activation, align_corners, passes):
    n, c, h, w, height, width = shape
    z = scores_for(activation, (n, passes, c, h, w), seed=c * h)
    request = request_for(z, (height, width), activation, align_corners=align_corners)
    assert_same(op.implementation("native")(z, request), op.implementation("reference")(z, request), z, request)


@pytest.mark.parametrize("passes", [1, 5])
@pytest.mark.parametrize("activation", ["sigmoid", "probabilities"])
def test_one_channel_is_a_two_class_problem(simd_level, activation, passes):
    z = scores_for(activation, (2, passes, 1, 6, 5), seed=3)
    request = request_for(z, (20, 31), activation)
    native = op.implementation("native")(z, request)
    assert_same(native, op.implementation("reference")(z, request), z, request)
    assert native.class_count.shape == (2, 2)
    assert set(np.unique(native.labels)) == {0, 1}


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_native_equals_reference_on_random_requests(data):
    draw = data.draw
    activation = draw(st.sampled_from(ACTIVATIONS))
    c = draw(st.integers(1 if activation != "softmax" else 2, 40))
    passes = draw(st.sampled_from([1, 1, 2, 3, 8, 11]))
    shape = (draw(st.integers(1, 3)), passes, c, draw(st.integers(1, 20)), draw(st.integers(1, 40)))
    size = (draw(st.integers(1, 60)), draw(st.integers(1, 150)))
    z = scores_for(activation, shape, draw(st.integers(0, 99)), spread=draw(st.sampled_from([0.0, 0.1, 3.0, 30.0])))
    if draw(st.booleans()):
        z = z.astype(np.float16)
    if draw(st.booleans()):  # channels last, as NHWC models give it
        z = np.ascontiguousarray(z.transpose(0, 1, 3, 4, 2)).transpose(0, 1, 4, 2, 3)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    valid = rng.random((shape[0], *size)) < draw(st.sampled_from([0.0, 0.5, 0.99])) if draw(st.booleans()) else None
    n_segments = draw(st.sampled_from([0, 1, 7, 300]))
    segments = None
    if n_segments:
        blocky = rng.integers(0, n_segments, (shape[0], size[0], -(-size[1] // 9))).repeat(9, axis=2)
        segments = np.ascontiguousarray(blocky[:, :, : size[1]], np.int32)
    level = draw(st.sampled_from(_native.available_levels()))
    request = request_for(
        z,
        size,
        activation,
        align_corners=draw(st.booleans()),
        top_fraction=draw(st.sampled_from([0.01, 0.05, 0.5, 1.0])),
        temperature=1.0 if activation == "probabilities" else draw(st.sampled_from([1.0, 0.5, 3.0])),
        num_threads=draw(st.integers(1, 4)),
        n_segments=n_segments,
    )
    before = _native.simd_level()
    _native.set_simd_level(level)
    try:
        native = op.implementation("native")(z, request, valid, segments)
    finally:
        _native.set_simd_level(before)
    reference = op.implementation("reference")(z, request, valid, segments)
    assert_same(native, reference, z, request, valid, segments)


def test_parity_test_can_fail():
    z = scores_for("softmax", (1, 1, 4, 6, 6), seed=0)
    request = request_for(z, (20, 20), "softmax")
    reference = op.implementation("reference")(z, request)
    native = op.implementation("native")(z, request)
    native.maps["entropy"][0, -1, -7:] = 0  # a kernel that drops the last seven pixels
    with pytest.raises(AssertionError, match="entropy"):
        assert_same(native, reference, z, request)


def test_same_bits_for_any_number_of_threads(simd_level):
    z = scores_for("softmax", (3, 21, 17, 23), seed=1)
    results = []
    for threads in (1, 2, 7):
        u = alseg.uncertainty(z, (203, 311), measures=ALL, class_stats=True, num_threads=threads)
        arrays = [*u.maps.values(), u.labels, *u.scores.values(), u.class_fraction, *u.class_means.values()]
        results.append([a.tobytes() for a in arrays])
    assert results[0] == results[1] == results[2]


def test_uniform_logits_have_the_highest_entropy():
    u = alseg.uncertainty(np.zeros((1, 4, 2, 2), np.float32), (8, 8), measures=ALL)
    assert u.scores["entropy_mean"][0] == pytest.approx(math.log(4), abs=1e-6)
    assert u.scores["margin_max"][0] == pytest.approx(1.0, abs=1e-6)
    assert u.scores["least_confidence_top"][0] == pytest.approx(0.75, abs=1e-6)


def test_hand_worked_two_classes():
    # softmax([ln 3, 0]) = (3/4, 1/4)
    z = np.array([math.log(3), 0.0], np.float32).reshape(1, 2, 1, 1)
    u = alseg.uncertainty(z, (1, 1), measures=ALL)
    assert u.scores["entropy_mean"][0] == pytest.approx(0.562335, abs=1e-6)
    assert u.scores["margin_mean"][0] == pytest.approx(0.5, abs=1e-6)
    assert u.scores["least_confidence_mean"][0] == pytest.approx(0.25, abs=1e-6)
    assert u.labels[0, 0, 0] == 0


def test_extreme_logits_stay_finite(simd_level):
    z = np.zeros((1, 3, 2, 2), np.float32)
    z[0, 0], z[0, 1, 0], z[0, 2] = 1e30, -1e30, 1e30
    u = alseg.uncertainty(z, (7, 9), measures=ALL)
    for name in ALL:
        assert np.isfinite(u.maps[name]).all(), name
    assert u.scores["entropy_mean"][0] == pytest.approx(math.log(2), abs=1e-5)


def test_torch_half_precision_subnormals_and_bfloat16():
    torch = pytest.importorskip("torch", reason="torch tensors need torch")
    z = scores_for("softmax", (1, 5, 4, 4), seed=2)
    tiny = (z * 1e-6).astype(np.float16)
    exact = alseg.uncertainty(tiny.astype(np.float32), (16, 16))
    np.testing.assert_array_equal(alseg.uncertainty(tiny, (16, 16)).maps["entropy"], exact.maps["entropy"])
    tensor = torch.from_numpy(z).to(torch.bfloat16)
    u = alseg.uncertainty(tensor, (16, 16))
    assert isinstance(u.maps["entropy"], torch.Tensor)
    exact = alseg.uncertainty(tensor.float().numpy(), (16, 16))
    np.testing.assert_array_equal(u.maps["entropy"].numpy(), exact.maps["entropy"])


@pytest.mark.parametrize("align_corners", [False, True])
def test_equals_torch(align_corners):
    torch = pytest.importorskip("torch", reason="the comparison needs torch")
    z = torch.from_numpy(scores_for("softmax", (2, 6, 9, 11), seed=5))
    up = torch.nn.functional.interpolate(z.double(), (50, 70), mode="bilinear", align_corners=align_corners)
    p = up.softmax(1)
    u = alseg.uncertainty(z, (50, 70), align_corners=align_corners)
    expected = -(p * p.log()).sum(1)
    np.testing.assert_allclose(u.maps["entropy"].numpy(), expected.numpy(), atol=5e-6)
    assert (u.labels.numpy() == up.argmax(1).numpy()).mean() > 0.999


def test_box_samples_a_part_of_the_logits():
    z = scores_for("softmax", (1, 3, 8, 12), seed=6)
    part = alseg.uncertainty(z, (6, 10), box=(1.0, 1.0, 6.0, 10.0))
    whole = alseg.uncertainty(z)
    np.testing.assert_array_equal(part.maps["entropy"][0], whole.maps["entropy"][0, 1:7, 1:11])


def test_nothing_is_made_that_was_not_asked_for():
    u = alseg.uncertainty(np.zeros((1, 2, 2, 2), np.float32), maps=False, reduce=("mean",))
    assert u.maps == {}
    assert u.labels is None
    assert list(u.scores) == ["entropy_mean"]
    assert u.class_fraction is None


def test_out_is_written_again():
    z = scores_for("softmax", (2, 3, 4, 4), seed=7)
    first = alseg.uncertainty(z, (16, 16), class_stats=True)
    memory = first.maps["entropy"]
    second = alseg.uncertainty(z * 2, (16, 16), class_stats=True, out=first)
    assert second.maps["entropy"] is memory
    fresh = alseg.uncertainty(z * 2, (16, 16), class_stats=True)
    np.testing.assert_array_equal(memory, fresh.maps["entropy"])
    np.testing.assert_array_equal(second.scores["entropy_top"], fresh.scores["entropy_top"])
    with pytest.raises(ShapeError, match="out must be the result of a call with the same shapes"):
        alseg.uncertainty(z, (16, 17), class_stats=True, out=first)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [(12, 12), (3, 3), (1, 1)])  # up, and down past whole rows
def test_not_finite_logits_are_found_wherever_they_are(simd_level, bad, size):
    for y in range(6):
        z = scores_for("softmax", (2, 3, 6, 6), seed=8)
        z[1, 2, y, 5] = bad
        u = alseg.uncertainty(z, size, nan_policy="mark")
        assert u.finite.tolist() == [True, False]
        assert np.isnan(u.scores["entropy_mean"][1])
        assert np.isfinite(u.scores["entropy_top"][0])
        with pytest.raises(DataError, match=r"logits must be finite; images \[1\] hold NaN or inf"):
            alseg.uncertainty(z, size)


def test_scores_that_are_no_probabilities_are_refused():
    with pytest.raises(DataError, match=r"logits must lie in 0\.\.1 with activation='probabilities'"):
        alseg.uncertainty(np.full((1, 2, 3, 3), 4.0, np.float32), activation="probabilities")


def test_all_zero_probabilities_are_uniform():
    u = alseg.uncertainty(np.zeros((1, 4, 2, 2), np.float32), activation="probabilities", measures=ALL)
    assert u.scores["entropy_mean"][0] == pytest.approx(math.log(4), abs=1e-6)
    assert u.scores["margin_mean"][0] == 1.0


def test_top_mean_is_exact_on_large_maps_with_ties():
    rng = np.random.default_rng(0)
    z = np.round(rng.normal(size=(1, 2, 300, 400)), 1).astype(np.float32)
    u = alseg.uncertainty(z, top_fraction=0.05)
    values = np.sort(u.maps["entropy"].ravel().astype(np.float64))[::-1]
    assert u.scores["entropy_top"][0] == np.float32(values[: math.ceil(0.05 * values.size)].mean())


Z = np.zeros((1, 3, 4, 4), np.float32)
ERRORS = [
    (
        lambda: alseg.uncertainty(Z.astype(np.float64)),
        DtypeError,
        "uncertainty: logits must be float32 or float16; got float64. Convert with logits.astype(np.float32).",
    ),
    (
        lambda: alseg.uncertainty(Z[0]),
        ShapeError,
        "uncertainty: logits must have shape [N, C, h, w] or [N, T, C, h, w]; got [3, 4, 4]. "
        "Add or drop axes so that it has 4 or 5 dimensions.",
    ),
    (
        lambda: alseg.uncertainty(Z[:, :1]),
        ShapeError,
        "uncertainty: logits must have 2 to 65535 classes for softmax (1 for sigmoid or probabilities); got 1. "
        'Use activation="sigmoid" for a one-channel model.',
    ),
    (
        lambda: alseg.uncertainty(Z, (0, 5)),
        ShapeError,
        "uncertainty: size must be (H, W), two positive integers; got (0, 5). Pass pixels.",
    ),
    (
        lambda: alseg.uncertainty(Z, measures=("bald",)),
        RangeError,
        "uncertainty: measures must be among entropy, margin, least_confidence, expected_entropy, mutual_information, "
        "variance, variation_ratio; got 'bald'. Correct or drop the name.",
    ),
    (
        lambda: alseg.uncertainty(Z, num_threads=0),
        RangeError,
        "uncertainty: num_threads must be None or an integer >= 1; got 0. None uses every CPU.",
    ),
    (
        lambda: alseg.uncertainty(Z, top_fraction=0),
        RangeError,
        "uncertainty: top_fraction must be in (0, 1]; got 0. 0.05 is the usual value.",
    ),
    (
        lambda: alseg.uncertainty(Z, box=(0, 0, 5, 4)),
        RangeError,
        "uncertainty: box must be (top, left, height, width) inside the [4, 4] logits; got (0, 0, 5, 4). "
        "Give it in logit pixels.",
    ),
    (
        lambda: alseg.uncertainty(np.zeros((0, 3, 4, 4), np.float32)),
        ShapeError,
        "uncertainty: logits must not be empty; got shape [0, 3, 4, 4]. Pass at least one image.",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS, ids=lambda v: getattr(v, "__name__", None))
def test_error_messages(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message


def test_forced_backend_that_cannot_run_is_an_error(monkeypatch):
    monkeypatch.setenv("ALSEG_BACKEND", "triton")
    with pytest.raises(BackendError, match=r"backend 'triton' cannot run this call on cpu"):
        alseg.uncertainty(Z)


def test_reference_backend_through_the_public_function():
    z = scores_for("softmax", (1, 3, 4, 4), seed=9)
    native = alseg.uncertainty(z, (12, 12), measures=ALL, class_stats=True)
    with use_backend("reference"):
        reference = alseg.uncertainty(z, (12, 12), measures=ALL, class_stats=True)
    for name, values in reference.scores.items():
        np.testing.assert_allclose(native.scores[name], values, atol=5e-6)
    np.testing.assert_allclose(native.class_fraction, reference.class_fraction)


@pytest.mark.parametrize("passes", [1, 4])
@pytest.mark.parametrize("kind", ["steep", "opposite", "half steep"])
def test_bands_leave_what_they_cannot_do_to_the_exact_path(simd_level, kind, passes):
    """Upsampling takes rows in bands, unless logits change too steeply or cross too far below their chord."""
    z = scores_for("softmax", (1, passes, 5, 6, 7), seed=4, spread=400.0 if kind == "steep" else 3.0)
    if kind == "opposite":  # each class leads by 100 at every other row: half way all are far below the largest
        z += np.where(np.add.outer(np.arange(5), np.arange(6)) % 2, 100, -100)[None, None, :, :, None].astype(
            np.float32
        )
    if kind == "half steep":
        z[..., 3:] *= 200
    for scale in (4, 9, 32):
        request = request_for(z, (6 * scale, 7 * scale), "softmax")
        native = op.implementation("native")(z, request)
        assert_same(native, op.implementation("reference")(z, request), z, request)


def test_a_row_of_a_band_is_the_row_alone():
    """How many rows are worked on together must not be seen: chunks of 16 rows against a picture of another height."""
    z = scores_for("softmax", (1, 6, 4, 5), seed=5)
    whole = alseg.uncertainty(z, (64, 80))
    part = alseg.uncertainty(z, (48, 80), box=(0.0, 0.0, 3.0, 5.0))
    np.testing.assert_allclose(part.maps["entropy"], whole.maps["entropy"][:, :48], atol=1e-6)
