"""The text form of a histogram specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import alseg_fast as alseg
from alseg_fast.errors import UsageError
from alseg_fast.ops import HistogramSpec

SPECS = st.one_of(
    st.builds(HistogramSpec, st.sampled_from(["rgb", "hsv", "lab"]), st.integers(8, 256)),
    st.builds(HistogramSpec, st.sampled_from(["rgb", "hsv", "lab"]), st.integers(2, 32), st.just(True)),
    st.just(HistogramSpec("belharbi", 256)),
)


@given(spec=SPECS)
def test_text_and_back(spec):
    assert HistogramSpec.parse(str(spec)) == spec
    assert spec.dim == (spec.bins**3 if spec.joint else 3 * spec.bins)
    assert spec.channels == (1 if spec.joint else 3)


def test_what_is_left_out():
    assert HistogramSpec.parse("rgb") == HistogramSpec("rgb", 32)
    assert str(HistogramSpec.parse("lab")) == "lab:32"
    assert HistogramSpec.parse("belharbi").dim == 768


@pytest.mark.parametrize(
    "text",
    [
        *("", "xyz", "rgb:", "rgb:7", "rgb:257", "rgb:+8", "rgb:8.0", "rgb:8:", "rgb:8:joined", "rgb:8:joint:1"),
        *("rgb:1:joint", "hsv:33:joint", "belharbi:256", "RGB:8", "rgb:٣٢", "rgb:999999999999", "none"),
    ],
)
def test_anything_else_is_a_usage_error(text):
    with pytest.raises(UsageError, match="histogram"):
        HistogramSpec.parse(text)


def test_fields_are_checked_too():
    with pytest.raises(UsageError, match="256 bins a channel; got belharbi:32"):
        HistogramSpec("belharbi")
    with pytest.raises(UsageError, match="got space 'x'"):
        HistogramSpec("x", 8)


@pytest.mark.parametrize("text", ["rgb:32", "hsv:9", "lab:4:joint", "belharbi"])
def test_compute_is_color_histogram_of_one_image(text):
    spec = HistogramSpec.parse(text)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (30, 20, 3), dtype=np.uint8)
    row = spec.compute(image)
    assert row.shape == (spec.dim,)
    assert row.dtype == np.float32
    np.testing.assert_array_equal(row, alseg.color_histogram(image, spec.bins, spec.space, spec.joint)[0])
    np.testing.assert_allclose(row.reshape(spec.channels, -1).sum(axis=1), 1, atol=1e-6)
    if text != "belharbi":
        mask = rng.random((30, 20)) < 0.5
        expected = alseg.color_histogram(image, spec.bins, spec.space, spec.joint, mask=mask)[0]
        np.testing.assert_array_equal(spec.compute(image, mask), expected)
