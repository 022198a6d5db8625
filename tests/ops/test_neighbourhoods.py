"""Region impurity and edges against their definitions, and what they do at the borders of their input."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alseg_fast as alseg
from alseg_fast import _native
from alseg_fast.dispatch import use_backend
from alseg_fast.errors import DataError, DeviceError, DtypeError, RangeError, ShapeError


def blobs(rng, shape, n_classes, dtype=np.uint8):
    """Labels in patches of a few pixels, as predictions are."""
    n, h, w = shape
    coarse = rng.integers(0, n_classes, (n, -(-h // 4), -(-w // 5)))
    return coarse.repeat(4, axis=1).repeat(5, axis=2)[:, :h, :w].astype(dtype)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_region_impurity_equals_its_definition(data):
    draw = data.draw
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 40)), draw(st.integers(1, 60)))
    n_classes = draw(st.sampled_from([1, 2, 7, 300]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    labels = blobs(rng, shape, n_classes, np.uint8 if n_classes <= 256 else np.uint16)
    entropy = rng.random(shape, np.float32) * 3 if draw(st.booleans()) else None
    valid = rng.random(shape) < draw(st.sampled_from([0.0, 0.3, 0.95])) if draw(st.booleans()) else None
    radius = draw(st.sampled_from([0, 1, 2, 5, 32, 100]))
    before = _native.simd_level()
    _native.set_simd_level(draw(st.sampled_from(_native.available_levels())))
    try:
        got = alseg.region_impurity(labels, entropy, n_classes=n_classes, radius=radius, valid=valid)
    finally:
        _native.set_simd_level(before)
    with use_backend("reference"):
        expected = alseg.region_impurity(labels, entropy, n_classes=n_classes, radius=radius, valid=valid)
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_region_impurity_by_hand():
    # A 3x3 window with six pixels of one class and three of another, and the mean of nine entropies.
    labels = np.array([[0, 0, 1], [0, 0, 1], [0, 0, 1]], np.uint8)
    entropy = np.arange(9, dtype=np.float32).reshape(3, 3)
    impurity = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert alseg.region_impurity(labels)[1, 1] == pytest.approx(impurity, abs=1e-6)
    assert alseg.region_impurity(labels, entropy)[1, 1] == pytest.approx(impurity * 4, abs=1e-5)
    assert alseg.region_impurity(labels)[0, 0] == 0  # the window is cut at the border: one class


def test_region_impurity_has_the_same_bits_for_any_number_of_threads(simd_level):
    rng = np.random.default_rng(0)
    labels, entropy = blobs(rng, (2, 150, 90), 5), rng.random((2, 150, 90), np.float32)
    results = {alseg.region_impurity(labels, entropy, radius=3, num_threads=t).tobytes() for t in (1, 2, 5)}
    assert len(results) == 1


def test_region_impurity_takes_tensors_and_wide_labels():
    torch = pytest.importorskip("torch", reason="tensors are torch's")
    labels = blobs(np.random.default_rng(1), (1, 20, 20), 4, np.int64)
    score = alseg.region_impurity(torch.from_numpy(labels), radius=2)
    assert isinstance(score, torch.Tensor)
    np.testing.assert_array_equal(score.numpy(), alseg.region_impurity(labels.astype(np.uint8), radius=2))


LABELS = np.zeros((4, 5), np.uint8)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: alseg.region_impurity(LABELS[0]), ShapeError, "labels must have shape"),
        (lambda: alseg.region_impurity(LABELS + 0.5), DtypeError, "labels must be int or uint; got float64"),
        (lambda: alseg.region_impurity(LABELS, radius=-1), RangeError, "radius must be an integer >= 0; got -1"),
        (lambda: alseg.region_impurity(LABELS + 7, n_classes=4), RangeError, "labels must be in 0..n_classes - 1 = 3"),
        (lambda: alseg.region_impurity(LABELS - np.int64(1)), RangeError, "n_classes must be in 1..65536; got 0"),
        (
            lambda: alseg.region_impurity(LABELS, np.zeros((5, 4), np.float32)),
            ShapeError,
            "entropy must have the shape",
        ),
        (
            lambda: alseg.region_impurity(LABELS, np.full((4, 5), np.nan, np.float32)),
            DataError,
            "entropy must be finite",
        ),
        (lambda: alseg.region_impurity(LABELS, valid=np.ones((4, 5))), DtypeError, "valid must be bool; got float64"),
    ],
)
def test_region_impurity_errors(call, kind, message):
    with pytest.raises(kind, match=message.replace(".", r"\.")):
        call()


def test_region_impurity_does_not_mix_kinds_of_arrays():
    torch = pytest.importorskip("torch", reason="tensors are torch's")
    with pytest.raises(DeviceError, match="entropy must be on cpu like labels"):
        alseg.region_impurity(torch.zeros(4, 5, dtype=torch.uint8), np.zeros((4, 5), np.float32))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_edges_equal_their_definition(data):
    draw = data.draw
    size = (draw(st.integers(1, 40)), draw(st.integers(1, 60)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    kind = draw(st.sampled_from(["rgb", "grey", "labels"]))
    given_ = {"labels": blobs(rng, (1, *size), 3, np.int64)[0]}
    if kind != "labels":
        grey = blobs(rng, (1, *size), 255)[0]
        given_ = {"image": grey if kind == "grey" else np.stack([grey, grey // 2, 255 - grey], axis=2)}
    # A threshold between the values that gradients of bytes take, where rounding cannot decide.
    options = {"threshold": draw(st.sampled_from([0.0503, 0.2007])), "dilation": draw(st.sampled_from([0, 1, 3, 80]))}
    before = _native.simd_level()
    _native.set_simd_level(draw(st.sampled_from(_native.available_levels())))
    try:
        got = alseg.edge_map(**given_, **options)
    finally:
        _native.set_simd_level(before)
    with use_backend("reference"):
        expected = alseg.edge_map(**given_, **options)
    assert (got != expected).mean() <= (0 if kind == "labels" else 0.01)


def test_steepest_edge_has_gradient_one():
    image = np.zeros((9, 9), np.uint8)
    image[:, 5:] = 255
    assert not alseg.edge_map(image, threshold=0.71, dilation=0).any()  # one axis: 1 / sqrt(2)
    edges = alseg.edge_map(image, threshold=0.7, dilation=0)
    assert edges[:, 4:6].all()
    assert edges.sum() == 18


def test_edge_weighting():
    entropy = np.array([[0.0, 0.5, 1.0]], np.float32)
    edges = np.array([[True, True, False]])
    np.testing.assert_allclose(alseg.edge_weighted(entropy, edges, weight=2), [[0, 1.5, 1]])
    np.testing.assert_allclose(alseg.edge_weighted(entropy, edges, weight=2, mode="add"), [[2, 2.5, 1]])
    with pytest.raises(RangeError, match="mode must be one of multiply, add"):
        alseg.edge_weighted(entropy, edges, mode="max")
    with pytest.raises(RangeError, match="weight must be a number >= 0; got -1"):
        alseg.edge_weighted(entropy, edges, weight=-1)
    with pytest.raises(ShapeError, match="edges must have the shape of entropy"):
        alseg.edge_weighted(entropy, edges[0])


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: alseg.edge_map(), ShapeError, "either image or labels must be given; got neither"),
        (lambda: alseg.edge_map(LABELS, labels=LABELS), ShapeError, "either image or labels must be given; got both"),
        (lambda: alseg.edge_map(LABELS.astype(float)), DtypeError, "image must be uint8; got float64"),
        (lambda: alseg.edge_map(LABELS, threshold=2), RangeError, r"threshold must be in \[0, 1\]; got 2"),
        (lambda: alseg.edge_map(LABELS, dilation=-1), RangeError, "dilation must be an integer >= 0; got -1"),
        (lambda: alseg.edge_map(np.zeros((4, 5, 4), np.uint8)), ShapeError, "image must have 3 channels"),
        (lambda: alseg.edge_map(labels=LABELS * 0.5), DtypeError, "labels must be integers; got float64"),
    ],
)
def test_edge_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.slow
def test_interpreted_triton_kernel_equals_the_definition():
    pytest.importorskip("torch", reason="the Triton back end needs torch")
    pytest.importorskip("triton", reason="the Triton back end needs triton")
    file = Path(__file__).with_name("impurity_interpreted.py")
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}  # Triton decides at its import whether it interprets
    done = subprocess.run(command, cwd=file.parents[2], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_compiled_triton_kernels_do_not_spill():
    pytest.importorskip("torch", reason="the Triton back end needs torch")
    pytest.importorskip("triton", reason="the Triton back end needs triton")
    file = Path(__file__).with_name("impurity_compiled.py")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-P", str(file)],
        cwd=file.parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    assert all(line.endswith("spilled 0") for line in lines), done.stdout
