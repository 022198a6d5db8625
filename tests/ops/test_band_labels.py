"""Pseudo-labels with an ignored band, against the two arg-max of the released code."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alseg_fast as alseg
from alseg_fast.errors import DataError, DeviceError, DtypeError, RangeError, ShapeError


def two_argmax(cams, tags, low, high, valid):
    """Arg-max over a constant background and the classes that are present, once with each threshold."""
    n, _, h, w = cams.shape
    maps = cams * (tags != 0)[:, :, None, None]
    labels = []
    for threshold in (high, low):
        background = np.full((n, 1, h, w), threshold, np.float32)
        labels.append(np.concatenate([background, maps], axis=1).argmax(axis=1))
    sure = np.where(labels[0] > 0, labels[0], np.where(labels[1] == 0, 0, 255))
    return np.where(valid, sure, 255)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_equals_the_two_argmax(data):
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    n, k = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 5, 254]))
    cams = rng.random((n, k, 5, 7), np.float32)
    if draw(st.booleans()):
        cams = np.round(cams * 4) / np.float32(4)  # ties with each other and with the thresholds
    low, high = sorted(draw(st.tuples(*[st.sampled_from([0.0, 0.25, 0.3, 0.5, 1.0])] * 2)))
    tags = rng.integers(0, 2, (n, k)) if draw(st.booleans()) else None
    valid = rng.random((n, 5, 7)) < 0.8 if draw(st.booleans()) else None
    got = alseg.band_labels(cams, tags, low=low, high=high, valid=valid)
    assert got.dtype == np.uint8
    expected = two_argmax(
        cams,
        np.ones((n, k)) if tags is None else tags,
        np.float32(low),
        np.float32(high),
        np.ones((n, 5, 7), bool) if valid is None else valid,
    )
    np.testing.assert_array_equal(got, expected)


def test_edges_of_the_band():
    cams = np.array([0, 0.2, 0.2001, 0.5, 0.7, 0.7001, 1]).reshape(1, 1, 1, 7)
    np.testing.assert_array_equal(alseg.band_labels(cams, low=0.2, high=0.7)[0, 0], [0, 0, 255, 255, 255, 1, 1])
    assert 255 not in alseg.band_labels(np.random.default_rng(0).random((2, 3, 9, 9)), low=0.4, high=0.4)


def test_without_tags_or_activations_all_is_background():
    cams = np.random.default_rng(1).random((2, 3, 4, 4))
    assert (alseg.band_labels(cams, np.zeros((2, 3)), low=0.1, high=0.5) == 0).all()
    assert (alseg.band_labels(np.zeros((1, 3, 4, 4)), low=0.0, high=0.0) == 0).all()


def test_torch_gives_tensors_of_the_same_labels():
    torch = pytest.importorskip("torch")
    from alseg_fast.ops.band_labels import _with_torch

    cams = (torch.rand(3, 4, 6, 7, generator=torch.Generator().manual_seed(2)) * 8).round() / 8
    tags = torch.tensor([[1.0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]])
    valid = torch.rand(3, 6, 7) < 0.9
    got = alseg.band_labels(cams.requires_grad_(), tags, low=0.25, high=0.625, valid=valid)
    assert isinstance(got, torch.Tensor)
    assert got.dtype == torch.uint8
    cams = cams.detach()
    expected = alseg.band_labels(cams.numpy(), tags.numpy(), low=0.25, high=0.625, valid=valid.numpy())
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(_with_torch(cams, tags != 0, valid, 0.25, 0.625), expected)


CAMS = np.random.default_rng(3).random((2, 3, 4, 5))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: alseg.band_labels(CAMS[0], low=0.2, high=0.5), ShapeError, r"cams must have shape \[N, K, h, w\]"),
        (lambda: alseg.band_labels(np.zeros((1, 255, 1, 1)), low=0.2, high=0.5), ShapeError, "at most 254 tags"),
        (lambda: alseg.band_labels(CAMS, np.ones((2, 2)), low=0.2, high=0.5), ShapeError, r"tags must have shape"),
        (lambda: alseg.band_labels(CAMS, low=0.5, high=0.2), RangeError, r"\(low, high\) must be"),
        (lambda: alseg.band_labels(CAMS, low=-0.1, high=0.2), RangeError, r"\(low, high\) must be"),
        (lambda: alseg.band_labels(CAMS, low=0.1, high=np.nan), RangeError, r"\(low, high\) must be"),
        (lambda: alseg.band_labels(CAMS * np.nan, low=0.1, high=0.2), DataError, "cams must be finite"),
        (lambda: alseg.band_labels(CAMS * 5, low=0.1, high=0.2), RangeError, r"cams must be in 0\.\.1"),
        (lambda: alseg.band_labels(CAMS > 0.5, low=0.1, high=0.2), DtypeError, "cams must be float16"),
        (lambda: alseg.band_labels(CAMS, low=0.1, high=0.2, valid=np.ones((4, 5), bool)), ShapeError, "valid must"),
        (
            lambda: alseg.band_labels(CAMS, low=0.1, high=0.2, valid=np.ones((2, 4, 5))),
            DtypeError,
            "valid must be bool",
        ),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=f"band_labels: .*{message}"):
        call()


def test_torch_on_another_device_is_an_error():
    torch = pytest.importorskip("torch")
    with pytest.raises(DeviceError, match="tags must be on the CPU like the maps; got meta"):
        alseg.band_labels(CAMS, torch.ones(2, 3, device="meta"), low=0.1, high=0.2)
