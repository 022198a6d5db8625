"""Pseudo-masks: the threshold against its literal definition, probabilities, the PNG."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alseg_fast.errors import ModelError
from alseg_fast.kernels.uncertainty.common import Request
from alseg_fast.stages import pseudo_masks as masks


def literal_scores(images, ignore_index):
    """The mean score of each threshold, by its sentence."""
    scores = []
    for threshold in masks.THRESHOLDS:
        each = []
        for p, truth in images:
            counted = np.ones(truth.shape, bool) if ignore_index is None else truth != ignore_index
            predicted, real = (p >= threshold)[counted], (truth != 0)[counted]
            ious = [((a & b).sum() + 1) / ((a | b).sum() + 1) for a, b in ((predicted, real), (~predicted, ~real))]
            each.append(sum(ious) / 2)
        scores.append(np.mean(each))
    return np.array(scores)


@given(
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.sampled_from([None, 255]),
    st.sampled_from(["smooth", "grid", "certain"]),
    st.sampled_from([0.0, 0.3, 1.0]),
)
@settings(max_examples=50, deadline=None)
def test_the_threshold_is_the_literal_best(seed, n, ignore_index, kind, share):
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(n):
        shape = tuple(rng.integers(1, 12, 2))
        truth = (rng.random(shape) < share).astype(np.uint8) * 7
        truth[rng.random(shape) < 0.1] = 255
        p = np.clip(rng.normal(0.4 + 0.2 * (truth > 0), 0.2), 0, 1).astype(np.float32)
        if kind == "grid":
            p = rng.choice(masks.THRESHOLDS, shape)  # exactly at a threshold counts as reached
        elif kind == "certain":
            p = np.rint(p).astype(np.float32)
        images.append((p, truth))
    search = masks.ThresholdSearch()
    for p, truth in images:
        search.add(masks.thresholds_reached(p), truth, ignore_index)
    scores = literal_scores(images, ignore_index)
    threshold, score = search.best()
    assert score == pytest.approx(scores.max(), abs=1e-12)
    at = np.flatnonzero(np.float32(threshold) == masks.THRESHOLDS)[0]
    assert scores[at] == pytest.approx(scores.max(), abs=1e-12)
    assert (scores[:at] < scores.max() + 1e-12).all()


def test_of_equal_thresholds_the_lowest():
    search = masks.ThresholdSearch()
    p = np.array([[0.2, 0.8]], np.float32)
    search.add(masks.thresholds_reached(p), np.array([[0, 1]]), None)
    assert search.best() == (0.21, 1.0)


def spec(n_classes, activation="softmax"):
    return SimpleNamespace(n_classes=n_classes, activation=activation, path="m.onnx")


BOX = (0.0, 0.0, 5.0, 6.0)


@pytest.mark.parametrize(
    ("channels", "activation"), [(1, "sigmoid"), (2, "softmax"), (2, "sigmoid"), (1, "probabilities")]
)
def test_probability_of_the_foreground(channels, activation):
    from alseg_fast.kernels.uncertainty.reference import probabilities, upsample

    rng = np.random.default_rng(1)
    logits = rng.normal(size=(1, channels, 5, 6)).astype(np.float32) * 2
    if activation == "probabilities":
        logits = rng.random((1, channels, 5, 6)).astype(np.float32)
    request = Request.__new__(Request)
    for name, value in {
        "activation": activation,
        "size": (17, 23),
        "box": BOX,
        "align_corners": False,
        "temperature": 1.0,
    }.items():
        object.__setattr__(request, name, value)
    expected = probabilities(upsample(logits[:, None], request), request)[0, 0, -1]
    p = masks.Probabilities(spec(channels, activation)).foreground(logits, BOX, (17, 23))
    assert p == pytest.approx(expected, abs=2e-6)


def test_independent_classes_take_the_most_probable():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(1, 3, 5, 6)).astype(np.float32)
    labels, p = masks.Probabilities(spec(3, "sigmoid")).best(logits, BOX, (5, 6))
    each = 1 / (1 + np.exp(-logits[0].astype(np.float64)))
    assert np.array_equal(labels, each.argmax(axis=0))
    assert p == pytest.approx(each.max(axis=0), abs=1e-6)


def test_reliability_is_the_mean_probability_of_what_is_named():
    p = np.array([[0.1, 0.6], [0.9, 0.5]], np.float32)
    made = masks.binary_mask(p, np.float32(0.5))
    assert made.mask.tolist() == [[0, 1], [1, 1]]
    assert made.reliability == pytest.approx(2 / 3)
    assert made.named_share == 0.75
    nothing = masks.binary_mask(p, np.float32(0.95))
    assert (nothing.reliability, nothing.named_share) == (None, 0.0)
    several = masks.class_mask(np.array([[3, 0], [2, 1]]), p, np.float32(0.6))
    assert several.mask.tolist() == [[255, 0], [2, 255]]
    assert several.reliability == pytest.approx(0.75)


def test_png_has_the_voc_colours_and_the_same_bytes_every_time():
    ids = np.arange(256, dtype=np.uint8).reshape(16, 16)
    data = masks.encode_palette_png(ids)
    assert data == masks.encode_palette_png(ids.copy())
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), ids)
        colours = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert colours[:6].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128]]
    assert colours[[15, 20, 255]].tolist() == [[192, 128, 128], [0, 64, 128], [224, 224, 192]]


def test_too_many_classes_for_a_palette():
    with pytest.raises(ModelError, match="has 256 classes, a palette mask holds 255"):
        masks.check_model(spec(256))
