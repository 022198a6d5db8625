"""Resizing and normalisation against the reference, Pillow, and every layout a model may want."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alseg_fast import _native, ops
from alseg_fast.dispatch import use_backend
from alseg_fast.errors import DtypeError, RangeError, ShapeError

# A rounded uint8 may differ where the exact value lies within float error of a half.
ATOL = {np.float32: 2e-5, np.float16: 2e-3, np.uint8: 1}


def both(image, shape, dtype, **options):
    native, reference = np.zeros(shape, dtype), np.zeros(shape, dtype)
    ops.resize_normalize(image, native, **options)
    with use_backend("reference"):
        ops.resize_normalize(image, reference, **options)
    return native, reference


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(
    ("source", "target"),
    [((7, 5), (20, 31)), ((60, 80), (13, 17)), ((33, 64), (33, 64)), ((1, 1), (4, 3)), ((100, 3), (7, 300))],
)
def test_native_equals_reference(simd_level, source, target, antialias, dtype):
    image = np.random.default_rng(0).integers(0, 256, (*source, 3), dtype=np.uint8)
    options = {"antialias": antialias, "bgr": True}
    if dtype != np.uint8:
        options |= {"scale": 1 / 255, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}
    native, reference = both(image, (3, *target), dtype, **options)
    np.testing.assert_allclose(native.astype(float), reference.astype(float), atol=ATOL[dtype])
    if dtype == np.uint8:
        assert (native != reference).mean() < 0.05


@settings(max_examples=80, deadline=None)
@given(
    h=st.integers(1, 40),
    w=st.integers(1, 40),
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    last=st.booleans(),
    antialias=st.booleans(),
    threads=st.integers(1, 3),
)
def test_native_equals_reference_on_random_sizes(h, w, height, width, last, antialias, threads):
    image = np.random.default_rng(h * w).integers(0, 256, (h, w, 3), dtype=np.uint8)
    shape = (height, width, 3) if last else (3, height, width)
    options = {"channels_last": last, "antialias": antialias, "num_threads": threads, "mean": 3.0, "std": 2.0}
    native, reference = both(image, shape, np.float32, **options)
    np.testing.assert_allclose(native, reference, atol=1e-4)


def test_equals_pillow_when_shrinking():
    image = np.random.default_rng(1).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    out = np.zeros((100, 200, 3), np.uint8)
    ops.resize_normalize(image, out, channels_last=True)
    pillow = np.asarray(Image.fromarray(image).resize((200, 100), Image.Resampling.BILINEAR))
    assert np.abs(out.astype(int) - pillow).max() <= 1  # Pillow rounds to 8 bits between the two directions


def test_same_size_is_the_picture_itself(simd_level):
    image = np.random.default_rng(2).integers(0, 256, (31, 17, 3), dtype=np.uint8)
    out = np.zeros((31, 17, 3), np.uint8)
    ops.resize_normalize(image, out, channels_last=True)
    np.testing.assert_array_equal(out, image)


def test_writes_into_a_part_of_a_padded_batch():
    image = np.full((10, 10, 3), 200, np.uint8)
    batch = np.full((2, 3, 8, 12), -1.0, np.float32)
    ops.resize_normalize(image, batch[1, :, 2:6, 3:9])
    assert (batch[1, :, 2:6, 3:9] == 200).all()
    assert (batch == -1).sum() == batch.size - 3 * 4 * 6


def test_half_floats_round_to_nearest_even_and_reach_subnormals():
    image = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    for scale in (1.0, 2.0**-20, 2.0**-24, 300.0):
        out = np.zeros((3, 1, 256), np.float16)
        ops.resize_normalize(image, out, scale=scale)
        with np.errstate(over="ignore"):  # 300 * 255 is above the largest half: infinity, as NumPy has it
            expected = (np.arange(256) * np.float32(scale)).astype(np.float32).astype(np.float16)
        np.testing.assert_array_equal(out[0, 0], expected)


def test_same_bits_for_any_number_of_threads(simd_level):
    image = np.random.default_rng(3).integers(0, 256, (123, 231, 3), dtype=np.uint8)
    bits = set()
    for threads in (1, 2, 7):
        out = np.zeros((3, 97, 111), np.float32)
        ops.resize_normalize(image, out, num_threads=threads)
        bits.add(out.tobytes())
    assert len(bits) == 1


def test_a_view_with_strided_rows_is_read_in_place():
    image = np.random.default_rng(4).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    out, expected = np.zeros((3, 8, 8), np.float32), np.zeros((3, 8, 8), np.float32)
    ops.resize_normalize(image[2:18:2, 5:25], out)
    ops.resize_normalize(image[2:18:2, 5:25].copy(), expected)
    np.testing.assert_array_equal(out, expected)
    ops.resize_normalize(image[:, ::-1], out)
    ops.resize_normalize(image[:, ::-1].copy(), expected)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("image", "out", "options", "kind", "message"),
    [
        (np.zeros((2, 2, 3)), np.zeros((3, 2, 2), np.float32), {}, DtypeError, "image must be uint8; got float64"),
        (np.zeros((2, 2), np.uint8), np.zeros((3, 2, 2), np.float32), {}, ShapeError, r"image must have shape \[h, w"),
        (np.zeros((2, 2, 4), np.uint8), np.zeros((3, 2, 2), np.float32), {}, ShapeError, "must have 3 channels"),
        (np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.float32), {}, ShapeError, "must have 3 channels"),
        (np.zeros((2, 2, 3), np.uint8), np.zeros((3, 2, 2)), {}, DtypeError, "out must be float32"),
        (np.zeros((2, 2, 3), np.uint8), np.zeros((3, 2, 2), np.float32), {"std": 0.0}, RangeError, "std not 0"),
    ],
)
def test_error_messages(image, out, options, kind, message):
    with pytest.raises(kind, match=message):
        ops.resize_normalize(image, out, **options)


def test_native_refuses_what_would_be_read_out_of_bounds():
    with pytest.raises(ValueError, match="image must be uint8"):
        _native.resize_normalize(
            np.zeros((2, 2, 3), np.float32), np.zeros((3, 2, 2), np.float32), 0, [1] * 3, [0] * 3, False, True, 1
        )
