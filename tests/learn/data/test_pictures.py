"""Pictures and masks of samples: checked against each other; broken files named. Polygons as masks."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import drawn_datasets as drawn

pytest.importorskip("torch")

from alseg_fast.errors import DataError
from alseg_fast.learn.data.dataset import Sample
from alseg_fast.learn.data.formats.polygons import fill_polygon, fill_polygons
from alseg_fast.learn.data.label_images import read_grey, read_ids, read_numbers
from alseg_fast.learn.data.pictures import read_image, read_mask, read_picture


@pytest.fixture
def discs(tmp_path):
    return drawn.discs(tmp_path, n=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0.png.*empty"),
        (b"hello, this is no image", "0.png.*no known image format"),
        (None, "0.png cannot be read"),
    ],
)
def test_broken_pictures_are_named(discs, content, message):
    sample = discs.samples[0]
    sample.image.unlink() if content is None else sample.image.write_bytes(content)
    for read in (lambda: read_image(sample), lambda: read_mask(discs, sample), lambda: read_picture(discs, sample)):
        with pytest.raises(DataError) as raised:
            read()
        assert str(sample.image) in str(raised.value)
    with pytest.raises(DataError, match=message):
        read_image(sample)


@pytest.mark.parametrize(
    ("break_mask", "message"),
    [
        (lambda p: drawn.save(p, np.zeros((40, 59))), "has 59 x 40 pixels, its picture .*0.png has 60 x 40"),
        (lambda p: drawn.save(p, np.full((40, 60), 2)), "2,400 pixels of id 2; discs has the ids 0 .. 1"),
        (lambda p: drawn.save(p, np.zeros((40, 60, 3))), "one channel of numbers; got mode RGB"),
        (lambda p: p.unlink(), "cannot be read"),
        (lambda p: p.write_bytes(p.read_bytes()[:60]), "cannot be decoded"),
        (lambda p: p.write_bytes(b"P"), "no known image format"),
        (lambda p: Image.fromarray(np.zeros((40, 60), np.uint8)).save(p, "JPEG"), "a JPEG, whose values are not exact"),
        (lambda p: Image.fromarray(np.full((40, 60), 300, np.uint16)).save(p), "has the id 300"),
    ],
)
def test_broken_masks_are_named(discs, break_mask, message):
    sample = discs.samples[0]
    break_mask(sample.mask)
    with pytest.raises(DataError, match=f"masks/0.png.*{message}"):
        read_mask(discs, sample)


def test_a_sample_without_a_mask(discs):
    bare = discs.with_labels([])
    assert read_picture(bare, bare.samples[0]).mask is None
    with pytest.raises(DataError, match="image 0 of discs has no mask"):
        read_mask(bare, bare.samples[0])


def test_ignored_pixels_are_allowed(discs):
    drawn.save(discs.samples[0].mask, np.full((40, 60), 255))
    assert (read_mask(discs, discs.samples[0]) == 255).all()


def test_pseudo_masks_are_class_ids_whatever_the_format(tmp_path):
    data = drawn.cub(tmp_path)
    from alseg_fast.learn.data.readers import read_dataset

    found = read_dataset("cub", data)
    path = drawn.save(tmp_path / "pseudo.png", drawn.blocks(0, 1, 255))
    name = found.samples[0].image_id
    made = found.with_labels([], {name: path})
    np.testing.assert_array_equal(read_mask(made, made.samples[0]), drawn.blocks(0, 1, 255))


def test_numbers_and_greys(tmp_path):
    ids = drawn.blocks(0, 1, 200)
    palette = drawn.save(tmp_path / "p.png", ids, palette=[i for v in range(256) for i in (255 - v,) * 3])
    np.testing.assert_array_equal(read_numbers(palette), ids)
    np.testing.assert_array_equal(read_grey(palette), 255 - ids)
    bits = tmp_path / "b.png"
    Image.fromarray(ids > 0).save(bits)
    np.testing.assert_array_equal(read_ids(bits), ids > 0)
    deep = tmp_path / "d.png"
    Image.fromarray(ids.astype(np.uint16)).save(deep)
    np.testing.assert_array_equal(read_ids(deep), ids)
    assert read_ids(deep).dtype == np.uint8


def test_a_reduced_jpeg_is_large_enough(tmp_path):
    path = tmp_path / "a.jpg"
    image = Image.fromarray(drawn.picture(size=(333, 500)))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(path, exif=exif)
    sample = Sample("a", path, None, (), "train")
    data = drawn.discs(tmp_path, n=1)
    got = read_picture(data, sample, stored_size=lambda size: (size[0] // 4, size[1] // 3))
    assert got.size == (500, 333)
    assert got.image.shape == (250, 167, 3)


def inside(points, y, x):
    """Even-odd rule for one point, in plain Python."""
    crossed = False
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if (y0 <= y) != (y1 <= y) and x >= x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            crossed = not crossed
    return crossed


@settings(max_examples=60, deadline=None)
@given(
    points=st.lists(st.tuples(st.floats(-5, 25, width=32), st.floats(-5, 25, width=32)), min_size=1, max_size=8),
    height=st.integers(1, 18),
    width=st.integers(1, 18),
)
def test_polygons_hold_the_pixels_whose_centres_are_inside(points, height, width):
    out = np.zeros((height, width), np.bool_)
    fill_polygon(np.array(points), out)
    want = [[inside(points, y + 0.5, x + 0.5) for x in range(width)] for y in range(height)]
    differ = out != np.array(want)
    # a centre on an edge may fall on either side, by rounding
    for y, x in np.argwhere(differ):
        assert any(inside(points, y + 0.5, x + 0.5 + d) == out[y, x] for d in (-1e-6, 1e-6))


def test_polygons_side_by_side_neither_overlap_nor_leave_a_gap():
    left = fill_polygons([np.array([[0, 0], [10.5, 0], [4.25, 12], [0, 12]])], (12, 20))
    right = fill_polygons([np.array([[10.5, 0], [20, 0], [20, 12], [4.25, 12]])], (12, 20))
    assert (left ^ right).all()


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_polygons_agree_with_the_tools_of_coco():
    mask_tools = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for _ in range(10):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 20))
        radii = rng.uniform(20, 45, 20)
        points = np.stack([50 + radii * np.cos(angles), 50 + radii * np.sin(angles)], 1)
        theirs = mask_tools.decode(mask_tools.frPyObjects([points.ravel().tolist()], 100, 100))[..., 0].astype(bool)
        ours = fill_polygons([points], (100, 100))
        assert (ours & theirs).sum() / (ours | theirs).sum() > 0.95


def test_paths_are_paths():
    with pytest.raises(DataError, match="cannot be read"):
        read_numbers(Path("/nothing/here.png"))
