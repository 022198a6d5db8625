"""The published colour histogram: against its definition, and each of its steps against Pillow and NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

import alseg_fast as alseg
from alseg_fast import _native
from alseg_fast.dispatch import use_backend
from alseg_fast.kernels.belharbi_histogram import common, reference
from support import draw_picture


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def by_definition(images):
    with use_backend("reference"):
        return alseg.color_histogram(images, space="belharbi")


def as_published(image):
    """Step by step with Pillow and NumPy, in floating point: [768]."""
    vivid = ImageEnhance.Color(Image.fromarray(image)).enhance(3.0)
    width = max(1, image.shape[1] * 128 // image.shape[0])
    # One axis a call, across first: what one call for both did when the recipe was published.
    small = vivid.resize((width, image.shape[0]), Image.Resampling.BICUBIC).resize(
        (width, 128), Image.Resampling.BICUBIC
    )
    values = np.asarray(small, np.float32) / np.float32(255)
    line = np.exp(-(np.arange(-1, 2) ** 2) / (2 * 0.9**2))
    kernel = np.outer(line, line) / np.outer(line, line).sum()
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    smoothed = np.zeros(values.shape)
    for i in range(3):
        for j in range(3):
            smoothed += kernel[i, j] * padded[i : i + 128, j : j + width]
    edges = np.arange(257) / 256

    def sigmoid(x):
        return 0.5 * (1 + np.tanh(x / 2))

    parts = []
    for c in range(3):
        v = smoothed[..., c].ravel()
        soft = [(sigmoid(1e5 * (v - edges[k])) * sigmoid(1e5 * (edges[k + 1] - v))).sum() for k in range(256)]
        parts.append((np.array(soft) + 1e-8) / (np.array(soft) + 1e-8).sum())
    return np.concatenate(parts)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_equals_its_definition(data):
    draw = data.draw
    shape = (draw(st.integers(20, 300)), draw(st.integers(1, 200)))
    image = noise(draw(st.integers(0, 99)), *shape, 3) if draw(st.booleans()) else draw_picture(1, shape)
    view = draw(st.sampled_from(["whole", "flipped", "planes", "grey"]))
    if view == "flipped":
        image = image[::-1, ::-1, ::-1]
    elif view == "planes":
        image = np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0)
    elif view == "grey":
        image = image[..., 1]
    before = _native.simd_level()
    _native.set_simd_level(draw(st.sampled_from(_native.available_levels())))
    try:
        got = alseg.color_histogram(image, space="belharbi", num_threads=draw(st.sampled_from([1, 2, 5])))
    finally:
        _native.set_simd_level(before)
    np.testing.assert_array_equal(got, by_definition(image))
    np.testing.assert_allclose(got.reshape(3, 256).sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_large_images_at_every_level(simd_level, threads):
    images = [draw_picture(0, (700, 900)), noise(0, 150, 3000, 3), noise(1, 3000, 40, 3), noise(2, 128, 128, 3)]
    got = alseg.color_histogram(images, space="belharbi", num_threads=threads)
    np.testing.assert_array_equal(got, by_definition(images))


@pytest.mark.parametrize("seed", range(6))
def test_near_the_published_floating_point_form(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(v) for v in rng.integers(20, 500, 2))
    image = draw_picture(seed, shape)
    if seed % 2:
        image = (image // 2 + noise(seed, *shape, 3) // 2).astype(np.uint8)
    if seed % 3 == 0:
        image = np.where(image > 120, 255, image // 3).astype(np.uint8)  # much of it saturated
    got = alseg.color_histogram(image, space="belharbi")[0]
    np.testing.assert_allclose(got, as_published(image), atol=2e-4)
    assert np.abs(got - as_published(image)).sum() < 3e-3  # of 3


def test_near_the_published_form_on_photographs(real_data):
    for path in sorted((real_data / "bsds500" / "test" / "images").glob("*.jpg"))[:5]:
        with Image.open(path) as file:
            image = np.array(file.convert("RGB"))
        got = alseg.color_histogram(image, space="belharbi")[0]
        assert np.abs(got - as_published(image)).sum() < 3e-3


def test_saturation_is_pillows():
    image = noise(0, 200, 300, 3)
    vivid = np.asarray(ImageEnhance.Color(Image.fromarray(image)).enhance(3.0))
    np.testing.assert_array_equal(reference.saturate(image.astype(np.int64)), vivid)


@pytest.mark.parametrize("size", [(128, 1), (128, 128), (127, 300), (500, 129), (1, 7), (960, 64), (40, 1280)])
def test_resizing_is_pillows_on_each_axis(size):
    image = noise(0, *size, 3)
    width = common.width_for(*size)
    across = Image.fromarray(image).resize((width, size[0]), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(reference.resize(image.astype(np.int64), size[0], width), np.asarray(across))
    both = across.resize((width, 128), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(reference.resize(image.astype(np.int64), 128, width), np.asarray(both))


def test_smoothing_keeps_what_is_flat():
    image = np.full((5, 4, 3), 255)
    np.testing.assert_array_equal(reference.smooth(image), common.WHITE)
    np.testing.assert_array_equal(reference.smooth(0 * image), 0)
    centre, side, corner = common.gaussian_weights()
    assert centre + 4 * side + 4 * corner == 2**22
    spot = np.zeros((5, 5, 3), np.int64)
    spot[0, 0] = 1  # reflected without its border: the corner's neighbour sees it twice along each axis
    smoothed = reference.smooth(spot)[..., 0]
    assert [smoothed[0, 0], smoothed[0, 1], smoothed[1, 1]] == [centre, side, corner]


def test_black_and_white_count_half():
    got = alseg.color_histogram(np.zeros((10, 10, 3), np.uint8), space="belharbi").reshape(3, 256)
    np.testing.assert_allclose(got[:, 0], 1, atol=1e-6)  # all of a half is still all of it
    half_white = np.zeros((256, 256, 3), np.uint8)
    half_white[:, :128] = 255
    half_white[:, 128:] = 100
    raw = reference.belharbi_histogram([half_white]).reshape(3, 256).astype(np.int64)
    # Half of the columns are white and count half; in the others the value lies within a bin.
    n = 128 * 64
    white = raw[:, 255] / common.ONE
    assert (abs(white - n / 2) < 0.03 * n).all()
    assert (abs(raw.sum(axis=1) / common.ONE - 1.5 * n) < 0.03 * n).all()


def test_values_near_an_edge_are_shared():
    shares = common.edge_shares()
    assert shares[0] == common.ONE // 2
    assert shares[-1] == common.ONE
    assert (np.diff(shares) >= 0).all()
    at_edge = common.BIN_WIDTH * 7
    counts = reference.soft_counts(np.array([at_edge, at_edge + common.EDGE, at_edge - common.EDGE, common.WHITE, 0]))
    assert counts[7] == counts[6] == common.ONE * 3 // 2
    assert counts[255] == counts[0] == common.ONE // 2
    assert counts.sum() == 4 * common.ONE


def test_width():
    assert [common.width_for(h, w) for h, w in ((128, 7), (321, 481), (900, 5), (1, 3))] == [7, 191, 1, 384]
