"""Superpixels against their definition, and what they promise: connected, numbered in order, as many as asked."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alseg_fast as alseg
from alseg_fast import _native
from alseg_fast.dispatch import use_backend
from alseg_fast.errors import DataError, DtypeError, RangeError, ShapeError


def draw_image(rng, size, channels=3):
    """Patches of a few colours with some noise, as photographs have objects with texture."""
    h, w = size
    coarse = rng.integers(0, 256, (-(-h // 9), -(-w // 7), channels))
    patches = coarse.repeat(9, axis=0).repeat(7, axis=1)[:h, :w]
    return np.clip(patches + rng.normal(0, 6, patches.shape), 0, 255).astype(np.uint8)


def assert_valid(labels, inside=None):
    """Every label is one 4-connected region, and the labels follow their first pixels."""
    inside = np.ones(labels.shape, bool) if inside is None else inside
    np.testing.assert_array_equal(labels < 0, ~inside)
    ids, first = np.unique(labels[inside], return_index=True)
    np.testing.assert_array_equal(ids, np.arange(len(ids)))
    assert (np.diff(first) > 0).all()
    seen = np.zeros(labels.shape, bool)
    parts = 0
    for start in zip(*np.nonzero(inside), strict=True):
        if seen[start]:
            continue
        parts += 1
        seen[start] = True
        todo = [start]
        while todo:
            y, x = todo.pop()
            for p in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                on_image = 0 <= p[0] < labels.shape[0] and 0 <= p[1] < labels.shape[1]
                if on_image and not seen[p] and labels[p] == labels[y, x]:
                    seen[p] = True
                    todo.append(p)
    assert parts == len(ids)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_slic_equals_its_definition(data):
    draw = data.draw
    size = (draw(st.integers(1, 40)), draw(st.integers(1, 75)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    channels = draw(st.sampled_from([1, 3]))
    noise = draw(st.booleans())
    image = rng.integers(0, 256, (*size, channels), np.uint8) if noise else draw_image(rng, size, channels)
    mask = rng.random(size) < draw(st.sampled_from([0.5, 0.97])) if draw(st.booleans()) else None
    pixels = image[..., 0].size if mask is None else int(mask.sum())
    if pixels == 0:
        return
    options = {
        "n_segments": draw(st.integers(1, min(pixels, draw(st.sampled_from([12, 3000]))))),
        "compactness": draw(st.sampled_from([0, 5, 10.0, 400, 1000])),
        "n_iter": draw(st.integers(0, 12)),
        "space": draw(st.sampled_from(["lab", "rgb"])),
        "adaptive": draw(st.booleans()),
        "min_size": draw(st.sampled_from([0, 0.2, 1.0])),
        "mask": mask,
    }
    with use_backend("reference"):
        expected = alseg.slic(image, **options)
    assert_valid(expected, mask)
    before = _native.simd_level()
    try:
        for level in _native.available_levels():
            _native.set_simd_level(level)
            for threads in (1, 2, 5):
                np.testing.assert_array_equal(alseg.slic(image, num_threads=threads, **options), expected)
    finally:
        _native.set_simd_level(before)


def test_slic_has_the_same_bits_for_any_number_of_threads(simd_level):
    image = draw_image(np.random.default_rng(1), (210, 333))
    for options in ({"n_segments": 90}, {"n_segments": 700, "adaptive": True}):
        results = {alseg.slic(image, num_threads=t, **options).tobytes() for t in (1, 2, 5, None)}
        assert len(results) == 1


def test_segments_follow_an_edge_of_colour():
    # The border runs through a column of cells; no segment crosses it by more than the blur does.
    image = np.zeros((60, 90, 3), np.uint8)
    image[:, 37:] = (200, 40, 40)
    sharp, blurred = alseg.slic(image, 24, blur=False), alseg.slic(image, 24)
    assert not np.intersect1d(sharp[:, :37], sharp[:, 37:]).size
    assert not np.intersect1d(blurred[:, :36], blurred[:, 38:]).size


def test_a_constant_image_is_cut_into_its_grid():
    labels = alseg.slic(np.full((60, 90), 77, np.uint8), 6)
    np.testing.assert_array_equal(labels, alseg.grid_segments((60, 90), 30))


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (7, 5)])
def test_extreme_numbers_of_segments(size):
    image = draw_image(np.random.default_rng(2), size)
    one = alseg.slic(image, 1)
    np.testing.assert_array_equal(one, np.zeros(size, np.int32))
    constant = alseg.slic(np.zeros(size, np.uint8), size[0] * size[1], compactness=1000)
    np.testing.assert_array_equal(constant, np.arange(size[0] * size[1]).reshape(size))
    assert_valid(alseg.slic(image, size[0] * size[1]))


def test_kinds_of_images_and_memory_layouts_agree():
    image = draw_image(np.random.default_rng(3), (40, 60))
    expected = alseg.slic(image, 20)
    np.testing.assert_array_equal(alseg.slic(image.astype(np.uint16) * 257, 20), expected)
    for kind in (np.float32, np.float64):
        np.testing.assert_array_equal(alseg.slic(image.astype(kind) / 255, 20), expected)
    np.testing.assert_array_equal(alseg.slic(np.asfortranarray(image), 20), expected)
    np.testing.assert_array_equal(alseg.slic(image.repeat(2, axis=1)[:, ::2], 20), expected)
    grey = image[..., 0]
    np.testing.assert_array_equal(alseg.slic(grey, 20), alseg.slic(grey[..., None].repeat(3, axis=2), 20))
    np.testing.assert_array_equal(alseg.slic(grey[..., None], 20), alseg.slic(grey, 20))


def test_out_is_filled_and_returned():
    image = draw_image(np.random.default_rng(4), (30, 40))
    for mask in (None, np.arange(1200).reshape(30, 40) > 300):
        out = np.full((30, 40), 99, np.int32)
        assert alseg.slic(image, 9, mask=mask, out=out) is out
        np.testing.assert_array_equal(out, alseg.slic(image, 9, mask=mask))


def test_a_mask_holds_as_many_segments_as_asked():
    image = draw_image(np.random.default_rng(5), (120, 160))
    y, x = np.mgrid[:120, :160]
    disk = (y - 60) ** 2 + (x - 80) ** 2 < 50**2
    for n in (1, 30, 200):
        labels = alseg.slic(image, n, mask=disk, compactness=30)
        assert_valid(labels, disk)
        assert 0.7 * n <= labels.max() + 1 <= 1.4 * n
    np.testing.assert_array_equal(alseg.slic(image, 50, mask=np.ones((120, 160), bool)) < 0, False)


def test_lightness_and_colour_are_those_of_cielab():
    from alseg_fast.kernels.slic.reference import _to_planes

    # Values of CIE 15 under D65: white, black, and the sRGB primaries.
    colors = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    lab = np.array([[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86]])
    expected = lab * [2.55, 1, 1] + [0, 128, 128]
    np.testing.assert_allclose(_to_planes(colors[None], lab=True)[0], expected, atol=0.6)


IMAGE = np.zeros((4, 5, 3), np.uint8)
NAN = np.zeros((4, 5), np.float32)
NAN[1, 2] = np.nan


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: alseg.slic(IMAGE, 0), RangeError, "slic: n_segments must be an integer >= 1; got 0."),
        (lambda: alseg.slic(IMAGE, 2.0), RangeError, "slic: n_segments must be an integer >= 1; got 2.0."),
        (lambda: alseg.slic(IMAGE, 21), RangeError, "slic: n_segments must be in 1..20, the pixels of the image"),
        (lambda: alseg.slic(IMAGE[0, 0], 1), ShapeError, "slic: image must have shape [H, W] or [H, W, 3]"),
        (lambda: alseg.slic(IMAGE[:0], 1), ShapeError, "slic: image must not be empty"),
        (lambda: alseg.slic(np.zeros((4, 5, 4), np.uint8), 1), ShapeError, "slic: image must have 1 or 3 channels"),
        (lambda: alseg.slic(IMAGE.astype(np.int32), 1), DtypeError, "slic: image must be uint8, uint16 or float"),
        (lambda: alseg.slic(IMAGE > 0, 1), DtypeError, "slic: image must be uint8, uint16 or float"),
        (lambda: alseg.slic(NAN, 1), DataError, "slic: image must be finite; got nan at row 1, column 2, channel 0"),
        (lambda: alseg.slic(IMAGE + 1.5, 1), RangeError, "slic: image must be in [0, 1] where it is float"),
        (lambda: alseg.slic(IMAGE, 1, -1), RangeError, "slic: compactness must be in 0..1000; got -1"),
        (lambda: alseg.slic(IMAGE, 1, float("nan")), RangeError, "slic: compactness must be in 0..1000; got nan"),
        (lambda: alseg.slic(IMAGE, 1, n_iter=-1), RangeError, "slic: n_iter must be an integer >= 0; got -1"),
        (lambda: alseg.slic(IMAGE, 1, min_size=2), RangeError, "slic: min_size must be in 0..1; got 2"),
        (lambda: alseg.slic(IMAGE, 1, space="hsv"), RangeError, "slic: space must be one of lab, rgb; got 'hsv'"),
        (lambda: alseg.slic(IMAGE, 1, num_threads=0), RangeError, "slic: num_threads must be None or an integer"),
        (lambda: alseg.slic(IMAGE, 1, mask=np.zeros((4, 5), bool)), RangeError, "slic: mask must hold at least one"),
        (lambda: alseg.slic(IMAGE, 1, mask=np.ones((5, 4), bool)), ShapeError, "slic: mask must have the size"),
        (lambda: alseg.slic(IMAGE, 1, mask=np.ones((4, 5))), DtypeError, "slic: mask must be bool; got float64"),
        (lambda: alseg.slic(IMAGE, 3, mask=np.eye(4, 5, 3) > 0), RangeError, "slic: n_segments must be in 1..2"),
        (lambda: alseg.slic(IMAGE, 1, out=np.zeros((4, 5))), DtypeError, "slic: out must be an int32 array"),
        (lambda: alseg.slic(IMAGE, 1, out=np.zeros((5, 4), np.int32)), ShapeError, "slic: out must be writable"),
        (lambda: alseg.grid_segments((4, 0), 2), ShapeError, "grid_segments: size must be (H, W)"),
        (lambda: alseg.grid_segments((4, 5), 0), RangeError, "grid_segments: cell must be an integer >= 1; got 0"),
    ],
)
def test_errors_name_the_argument(call, kind, message):
    with pytest.raises(kind) as error:
        call()
    assert str(error.value).startswith(message)


def test_the_binding_checks_what_it_is_handed():
    from alseg_fast.kernels.slic.common import lab_tables

    to_xyz, roots = lab_tables()
    good = {"image": IMAGE, "mask": None, "to_xyz": to_xyz, "roots": roots}
    good |= {"band_rows": np.array([0, 4], np.int32), "band_clusters": np.array([0, 2], np.int32), "row_step": 1}
    good |= {
        "color_shift": 4,
        "spatial_weight": 1 << 16,
        "adaptive": False,
        "blur": True,
        "n_iter": 1,
        "min_area": 0,
        "most_segments": 9,
    }
    good |= {"num_threads": 1, "labels": np.empty((4, 5), np.int32)}
    assert _native.slic(**good) == 2
    for bad in (
        {"band_rows": np.array([0, 3], np.int32)},
        {"band_rows": np.array([0, 4, 4], np.int32), "band_clusters": np.array([0, 1, 2], np.int32)},
        {"band_clusters": np.array([0, 6], np.int32)},
        {"row_step": 5},
        {"color_shift": 5},
        {"spatial_weight": -1},
        {"labels": np.empty((4, 4), np.int32)},
        {"image": IMAGE[..., :2]},
    ):
        with pytest.raises(ValueError):
            _native.slic(**(good | bad))


def test_grid_segments_by_hand():
    expected = [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]
    np.testing.assert_array_equal(alseg.grid_segments((3, 5), 2), np.array(expected, np.int32))
    assert alseg.grid_segments((3, 5), 99).max() == 0


def test_the_number_of_segments_on_photographs(real_data):
    from PIL import Image

    photographs = sorted((real_data / "bsds500" / "test" / "images").glob("*.jpg"))[::40]
    photographs += sorted((real_data / "camvid" / "test").glob("*.png"))[::40]
    assert photographs
    for path in photographs:
        image = np.asarray(Image.open(path).convert("RGB"))
        for n in (200, 400, 1000, 2048):
            assert 0.8 * n <= alseg.slic(image, n).max() + 1 <= 1.2 * n
    assert_valid(alseg.slic(image, 400))
