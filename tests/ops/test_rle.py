"""Run-length strings against the definition of the format, and strings that are none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alseg_fast as alseg
from alseg_fast.dispatch import use_backend
from alseg_fast.errors import DataError, DtypeError, RangeError, ShapeError


def patches(rng, size, n_segments, cell):
    """Ids in blocks of cell x cell pixels, -1 among them; not every id has a pixel."""
    coarse = rng.integers(-1, n_segments, (-(-size[0] // cell), -(-size[1] // cell)))
    return coarse.repeat(cell, axis=0).repeat(cell, axis=1)[: size[0], : size[1]]


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_label_map_equals_its_definition(data):
    draw = data.draw
    size = (draw(st.integers(1, 50)), draw(st.integers(1, 90)))
    n_segments, cell = draw(st.sampled_from([1, 2, 7, 40])), draw(st.sampled_from([1, 3, 17]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    dtype = draw(st.sampled_from([np.int8, np.int32, np.int64]))
    ids = patches(rng, size, n_segments, cell).astype(dtype)
    got = alseg.encode_rle(ids, n_segments)
    with use_backend("reference"):
        assert got == alseg.encode_rle(ids, n_segments)
        assert got == [alseg.encode_mask(ids == i) for i in range(n_segments)]
    assert got == [alseg.encode_mask(ids == i) for i in range(n_segments)]
    np.testing.assert_array_equal(alseg.decode_regions(got, size), ids)
    for i, text in enumerate(got[:3]):
        np.testing.assert_array_equal(alseg.decode_rle(text, size), ids == i)
        with use_backend("reference"):
            np.testing.assert_array_equal(alseg.decode_rle(text.encode(), size), ids == i)


def test_strings_by_hand():
    # Counts in column-major order: [1, 2, 1]; [0, 4]; [4].
    assert alseg.encode_mask(np.array([[False, True], [True, False]])) == "121"
    assert alseg.encode_mask(np.ones((2, 2), bool)) == "04"
    assert alseg.encode_mask(np.zeros((2, 2), bool)) == "4"
    # 16 needs a second group, for the fifth bit of a last group is the sign.
    assert alseg.encode_mask(np.zeros((4, 4), bool)) == "`0"
    # [3, 1, 1, 2, 5]: the fourth as 2 - 1, the fifth as 5 - 1.
    mask = np.array([0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0, 0], bool)
    assert alseg.encode_mask(mask[None]) == "31114"
    assert alseg.encode_mask(mask[:, None]) == "31114"


@pytest.mark.parametrize("seed", range(4))
def test_strings_are_those_of_pycocotools(seed):
    coco = pytest.importorskip("pycocotools.mask", reason="the format's own implementation")
    rng = np.random.default_rng(seed)
    ids = patches(rng, (rng.integers(1, 400), rng.integers(1, 400)), 30, (1, 5, 40, 300)[seed])
    expected = [coco.encode(np.asfortranarray(ids == i, np.uint8))["counts"].decode() for i in range(30)]
    assert alseg.encode_rle(ids, 30) == expected


def test_real_annotations(real_data):
    from PIL import Image

    for path in sorted((real_data / "camvid" / "testannot").glob("*.png"))[::20]:
        with Image.open(path) as picture:
            labels = np.asarray(picture)
        strings = alseg.encode_rle(labels, 12)
        np.testing.assert_array_equal(alseg.decode_regions(strings, labels.shape), labels)
        with use_backend("reference"):
            assert strings == alseg.encode_rle(labels, 12)


def test_views_and_missing_ids():
    ids = patches(np.random.default_rng(0), (40, 60), 9, 4)
    np.testing.assert_array_equal(alseg.decode_regions(alseg.encode_rle(ids.T, 9), (60, 40)), ids.T)
    np.testing.assert_array_equal(alseg.decode_regions(alseg.encode_rle(ids[::-2, ::3], 9), (20, 20)), ids[::-2, ::3])
    assert len(alseg.encode_rle(ids, 20)) == 20
    assert alseg.encode_rle(ids, 20)[19] == alseg.encode_mask(np.zeros((40, 60), bool))
    assert alseg.encode_rle(np.full((3, 4), -1)) == []
    assert (alseg.decode_regions([], (3, 4)) == -1).all()


def test_long_runs():
    # Counts of more than 2^15 pixels, whole columns, and a run that begins and ends within one.
    mask = np.zeros((300, 700), bool)
    mask[:, 100:650] = True
    mask[250:, 99] = mask[:20, 650] = True
    text = alseg.encode_mask(mask)
    with use_backend("reference"):
        assert text == alseg.encode_mask(mask)
    np.testing.assert_array_equal(alseg.decode_rle(text, mask.shape), mask)


@pytest.mark.parametrize("width", [256, 511, 512])
def test_label_maps_of_any_width(width):
    ids = patches(np.random.default_rng(5), (70, width), 25, 9)
    np.testing.assert_array_equal(alseg.decode_regions(alseg.encode_rle(ids, 25), ids.shape), ids)
    with pytest.raises(DataError, match="earlier one"):
        alseg.decode_regions([alseg.encode_mask(ids >= 0), alseg.encode_mask(ids == 3)], ids.shape)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "do not add up"),
        ("5", "do not add up"),
        ("41", "do not add up"),
        ("oooo", "ends within a number"),
        ("ooooooooooooo", "negative or too large"),
        ("M1", "negative or too large"),  # a first count of -3
        ("1110J", "negative or too large"),
        ("1 2", "outside '0' to 'o'"),
        ("1/2", "outside '0' to 'o'"),
        ("p", "outside '0' to 'o'"),
        ("1é", "must be a COCO compressed RLE"),
        (b"\xff1", "must be a COCO compressed RLE"),
        ("\ud800", "must be a COCO compressed RLE"),
    ],
)
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_malformed_strings(text, why, backend):
    with use_backend(backend):
        with pytest.raises(DataError, match=why):
            alseg.decode_rle(text, (2, 2))
        with pytest.raises(DataError, match=why):
            alseg.decode_regions(["4", text], (2, 2))


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.sampled_from([chr(c) for c in range(46, 114)]), max_size=30))
def test_any_text_is_read_or_refused_as_the_definition_does(text):
    def read():
        try:
            return alseg.decode_rle(text, (5, 7)).tolist()
        except DataError:
            return None

    got = read()
    with use_backend("reference"):
        assert read() == got


SEGMENTS = np.zeros((4, 5), np.int32)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: alseg.encode_rle(SEGMENTS[0]), ShapeError, r"segments must have shape \[H, W\]"),
        (lambda: alseg.encode_rle(SEGMENTS[:0]), ShapeError, "segments must not be empty"),
        (lambda: alseg.encode_rle(SEGMENTS * 0.5), DtypeError, "segments must be integers; got float64"),
        (lambda: alseg.encode_rle(SEGMENTS > 0), DtypeError, "segments must be integers; got bool"),
        (lambda: alseg.encode_rle(SEGMENTS + 3, 3), RangeError, "ids from 0 to n_segments - 1 = 2, .* got 3 to 3"),
        (lambda: alseg.encode_rle(SEGMENTS - 2, 3), RangeError, "got -2 to -2"),
        (lambda: alseg.encode_rle(SEGMENTS + np.int64(2**40), 3), RangeError, "got 1099511627776"),
        (lambda: alseg.encode_rle(SEGMENTS, -1), RangeError, "n_segments must be None or an integer >= 0; got -1"),
        (lambda: alseg.encode_rle(SEGMENTS, 2.0), RangeError, "n_segments must be None or an integer"),
        (lambda: alseg.encode_mask(SEGMENTS), DtypeError, "mask must be bool; got int32"),
        (lambda: alseg.encode_mask(SEGMENTS[0] > 0), ShapeError, r"mask must have shape \[H, W\]"),
        (lambda: alseg.decode_rle("4", (2, 0)), ShapeError, "size must be"),
        (lambda: alseg.decode_rle("4", (2**17, 2**17)), ShapeError, "at most 2.32 - 1 pixels"),
        (lambda: alseg.decode_rle([1, 2, 1], (2, 2)), DtypeError, "rle must be str or bytes; got list"),
        (lambda: alseg.decode_regions(["04", "13"], (2, 2)), DataError, r"a pixel of rles\[1\]"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
