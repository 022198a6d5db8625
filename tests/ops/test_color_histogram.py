"""Colour histograms against their definition, and against other libraries where these have one."""

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alseg_fast as alseg
from alseg_fast import _native
from alseg_fast.dispatch import use_backend
from alseg_fast.errors import DataError, DtypeError, RangeError, ShapeError
from alseg_fast.kernels.color_histogram import reference
from support import draw_picture

SPACES = ("rgb", "hsv", "lab")


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def by_definition(*args, **kwargs):
    with use_backend("reference"):
        return alseg.color_histogram(*args, **kwargs)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_equals_its_definition(data):
    draw = data.draw
    shape = (draw(st.integers(1, 150)), draw(st.integers(1, 150)))
    space, joint = draw(st.sampled_from(SPACES)), draw(st.booleans())
    bins = draw(st.integers(2, 32) if joint else st.integers(8, 256))
    images = [noise(draw(st.integers(0, 99)), *shape, 3) for _ in range(draw(st.integers(1, 3)))]
    if draw(st.booleans()):
        images = [image // 40 * 40 for image in images]  # few colours, many ties
    view = draw(st.sampled_from(["whole", "crop", "flipped", "bgr", "planes", "step", "grey"]))
    images = [of_view(image, view) for image in images]
    masks = None
    if draw(st.booleans()):
        rng = np.random.default_rng(0)
        masks = [rng.random(image.shape[:2]) < 0.3 for image in images]
        for mask in masks:
            mask[0, 0] = True
    before = _native.simd_level()
    _native.set_simd_level(draw(st.sampled_from(_native.available_levels())))
    try:
        got = alseg.color_histogram(images, bins, space, joint, mask=masks)
    finally:
        _native.set_simd_level(before)
    assert got.dtype == np.float32
    assert got.shape == (len(images), bins**3 if joint else 3 * bins)
    np.testing.assert_array_equal(got, by_definition(images, bins, space, joint, mask=masks))
    np.testing.assert_allclose(got.reshape(len(images), 1 if joint else 3, -1).sum(axis=2), 1, atol=1e-5)


def of_view(image, view):
    if view == "crop" and min(image.shape[:2]) > 2:
        return image[1:-1, 1:]
    if view == "flipped":
        return image[::-1, ::-1]
    if view == "bgr":
        return image[..., ::-1]
    if view == "planes":
        return np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0)
    if view == "step":
        return image[::2, ::3]
    return image[..., 1] if view == "grey" else image


@pytest.mark.parametrize("bins", [8, 16, 24, 32, 33, 64, 100, 128, 255, 256])
@pytest.mark.parametrize("space", SPACES)
def test_large_images_at_every_level(simd_level, bins, space):
    image = np.concatenate([noise(bins, 150, 400, 3), draw_picture(bins, (200, 400))])
    expected = by_definition(image, bins, space)
    for threads in (1, 2, 5):
        np.testing.assert_array_equal(alseg.color_histogram(image, bins, space, num_threads=threads), expected)


@pytest.mark.parametrize("bins", [2, 5, 8, 16, 17, 32])
def test_large_joint_histograms_at_every_level(simd_level, bins):
    image = np.concatenate([noise(bins, 700, 500, 3), draw_picture(bins, (100, 500))])
    expected = by_definition(image, bins, "rgb", True)
    for threads in (1, 2, 5):
        got = alseg.color_histogram(image, bins, "rgb", True, num_threads=threads)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("space", ["hsv", "lab"])
def test_every_colour_is_converted_exactly(simd_level, space):
    """Of 20^3 colours, and of all those with a channel at an end or in the middle."""
    steps = np.concatenate([np.arange(0, 256, 17), [1, 2, 127, 128, 254]]).astype(np.uint8)
    dense = np.stack(np.meshgrid(np.arange(256), np.arange(256), [0, 1, 127, 254, 255]), axis=-1).astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1)
    pixels = np.concatenate([grid.reshape(-1, 3), *(np.roll(dense.reshape(-1, 3), k, axis=1) for k in range(3))])
    image = np.ascontiguousarray(pixels[None])
    for bins, joint in ((256, False), (32, True)):
        got = alseg.color_histogram(image, bins, space, joint)
        np.testing.assert_array_equal(got, by_definition(image, bins, space, joint))


def test_hsv_is_that_of_the_standard_library():
    rgb = noise(0, 500, 3)
    ours = reference.to_hsv(rgb.astype(np.int64))
    theirs = np.array([colorsys.rgb_to_hsv(*(pixel / 255)) for pixel in rgb.tolist() and rgb]) * [256, 255, 255]
    difference = np.abs(ours - theirs)
    difference[:, 0] = np.minimum(difference[:, 0], 256 - difference[:, 0])  # hue is a circle
    assert difference.max() <= 0.5 + 1e-9


def test_hue_wraps():
    image = np.array([[[255, 0, 0], [255, 0, 1], [255, 1, 0]]], np.uint8)
    hue = reference.to_hsv(image.astype(np.int64))[0, :, 0]
    assert hue.tolist() == [0, 0, 0]  # 255.8 is 256, which is 0
    near = reference.to_hsv(np.array([[200, 100, 103]]))[0, 0]
    assert near == 255


def test_counts_worked_by_hand():
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0] = 255, 128, 7
    rows = alseg.color_histogram(image, 8)
    assert rows.shape == (1, 24)
    assert rows[0, [0, 7]].tolist() == [0.75, 0.25]
    assert rows[0, [8, 12]].tolist() == [0.75, 0.25]
    assert rows[0, 16] == 1
    joint = alseg.color_histogram(image, 2, joint=True)
    assert joint[0].tolist() == [0.75, 0, 0, 0, 0, 0, 0.25, 0]


def test_same_as_numpy():
    image = noise(0, 301, 203, 3)
    got = alseg.color_histogram(image, 32).reshape(3, 32)
    for c in range(3):
        np.testing.assert_array_equal(
            got[c], (np.bincount(image[..., c].ravel() >> 3) / image[..., c].size).astype("f4")
        )


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (1, 70000), (2, 3)])
@pytest.mark.parametrize("space", [*SPACES, "belharbi"])
def test_extreme_shapes(simd_level, shape, space):
    if space == "belharbi" and shape[1] > 512 * shape[0]:
        with pytest.raises(ShapeError, match="512 times as wide as high"):
            alseg.color_histogram(noise(0, *shape, 3), space=space)
        return
    got = alseg.color_histogram(noise(0, *shape, 3), space=space)
    np.testing.assert_array_equal(got, by_definition(noise(0, *shape, 3), space=space))


def test_forms_of_the_images():
    image, grey = noise(0, 40, 30, 3), noise(1, 20, 50)
    one = alseg.color_histogram(image)
    np.testing.assert_array_equal(alseg.color_histogram(image[None]), one)
    np.testing.assert_array_equal(alseg.color_histogram([image]), one)
    both = alseg.color_histogram((image, grey))
    np.testing.assert_array_equal(both[:1], one)
    np.testing.assert_array_equal(both[1:], alseg.color_histogram(np.repeat(grey[..., None], 3, axis=2)))
    np.testing.assert_array_equal(both[1, :32], both[1, 32:64])
    stacked = noise(2, 5, 12, 9, 3)
    np.testing.assert_array_equal(alseg.color_histogram(stacked), alseg.color_histogram(list(stacked)))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_many_images_of_many_sizes(threads):
    images = [noise(i, 5 + 37 * i % 300, 7 + 91 * i % 500, 3) for i in range(12)]
    expected = np.concatenate([alseg.color_histogram(image, num_threads=1) for image in images])
    np.testing.assert_array_equal(alseg.color_histogram(images, num_threads=threads), expected)


def test_masks():
    image = noise(0, 60, 50, 3)
    mask = np.random.default_rng(0).random((60, 50)) < 0.4
    expected = alseg.color_histogram(image[mask][None])
    for given_mask in (mask, mask.astype(np.uint8) * 200, np.asfortranarray(mask)):
        np.testing.assert_array_equal(alseg.color_histogram(image, mask=given_mask), expected)
    two = np.stack([image, image])
    got = alseg.color_histogram(two, mask=np.stack([mask, ~mask]))
    np.testing.assert_array_equal(got[0], expected[0])
    np.testing.assert_array_equal(got[1], alseg.color_histogram(image, mask=~mask)[0])


def test_float16():
    image = noise(0, 60, 50, 3)
    half = alseg.color_histogram(image, dtype="float16")
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, alseg.color_histogram(image).astype(np.float16))
    assert alseg.color_histogram(image, space="belharbi", dtype=np.float16).dtype == np.float16


def test_inputs_are_not_changed():
    image = noise(0, 60, 50, 3)
    image.flags.writeable = False
    before = image.copy()
    for space in (*SPACES, "belharbi"):
        alseg.color_histogram(image, space=space)
    np.testing.assert_array_equal(image, before)


IMAGE = np.zeros((4, 5, 3), np.uint8)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: alseg.color_histogram(IMAGE.astype("f4")), DtypeError, "images must be uint8; got float32"),
        (
            lambda: alseg.color_histogram([IMAGE, IMAGE.astype("i4")]),
            DtypeError,
            r"images\[1\] must be uint8; got int32",
        ),
        (lambda: alseg.color_histogram(IMAGE[..., :2]), ShapeError, r"\[H, W, 3\] or \[H, W\]; got \[4, 5, 2\]"),
        (lambda: alseg.color_histogram(IMAGE[:0]), ShapeError, "at least one pixel"),
        (lambda: alseg.color_histogram([]), ShapeError, "at least one image; got none"),
        (lambda: alseg.color_histogram(IMAGE[None][:0]), ShapeError, "at least one image; got none"),
        (lambda: alseg.color_histogram(IMAGE, 7), RangeError, r"bins must be in 8..256 with joint=False; got 7"),
        (lambda: alseg.color_histogram(IMAGE, 257), RangeError, "got 257"),
        (lambda: alseg.color_histogram(IMAGE, 33, joint=True), RangeError, r"2..32 with joint=True; got 33"),
        (lambda: alseg.color_histogram(IMAGE, 32.0), RangeError, "bins must be an integer; got 32.0"),
        (lambda: alseg.color_histogram(IMAGE, True), RangeError, "bins must be an integer; got True"),
        (lambda: alseg.color_histogram(IMAGE, space="luv"), RangeError, "space must be one of rgb, hsv, lab, belharbi"),
        (
            lambda: alseg.color_histogram(IMAGE, 64, "belharbi"),
            RangeError,
            "256 bins a channel, not joint; got bins=64",
        ),
        (lambda: alseg.color_histogram(IMAGE, space="belharbi", joint=True), RangeError, "joint=True"),
        (lambda: alseg.color_histogram(IMAGE, dtype="float64"), DtypeError, "float32 or float16; got 'float64'"),
        (lambda: alseg.color_histogram(IMAGE, dtype="nonsense"), DtypeError, "float32 or float16; got 'nonsense'"),
        (lambda: alseg.color_histogram(IMAGE, num_threads=0), RangeError, "num_threads"),
        (lambda: alseg.color_histogram(IMAGE, mask=np.ones((4, 4), bool)), ShapeError, r"size of its image \[4, 5\]"),
        (
            lambda: alseg.color_histogram(IMAGE, mask=np.ones((4, 5))),
            DtypeError,
            "mask must be bool or uint8; got float64",
        ),
        (lambda: alseg.color_histogram(IMAGE, mask=np.zeros((4, 5), bool)), DataError, "at least one pixel; got none"),
        (
            lambda: alseg.color_histogram([IMAGE] * 2, mask=[np.ones((4, 5), bool), np.zeros((4, 5), bool)]),
            DataError,
            r"mask\[1\] must hold at least one pixel; got none. Leave image 1 out",
        ),
        (
            lambda: alseg.color_histogram([IMAGE] * 2, mask=[np.ones((4, 5), bool)]),
            ShapeError,
            "one mask an image, 2; got 1",
        ),
        (
            lambda: alseg.color_histogram(IMAGE, space="belharbi", mask=np.ones((4, 5), bool)),
            RangeError,
            "mask must be None with space='belharbi'",
        ),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()
