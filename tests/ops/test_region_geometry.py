"""Extent, boundary, neighbours and colour of regions against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg_fast.dispatch import use_backend
from alseg_fast.errors import DtypeError, RangeError, ShapeError
from alseg_fast.ops import region_adjacency, region_colors, region_geometry
from alseg_fast.types import RegionGeometry


def patches(rng, size, low, high, cell):
    """Random values in blocks of cell x cell pixels."""
    coarse = rng.integers(low, high, (-(-size[0] // cell), -(-size[1] // cell)))
    return coarse.repeat(cell, axis=0).repeat(cell, axis=1)[: size[0], : size[1]]


def assert_same(got, expected):
    if isinstance(got, RegionGeometry):
        got, expected = vars(got), vars(expected)
        assert got.keys() == expected.keys()
        got, expected = got.values(), expected.values()
    for g, e in zip(got, expected, strict=True):
        if e is None:
            assert g is None
        else:
            assert g.dtype == e.dtype
            assert g.shape == e.shape
            np.testing.assert_array_equal(g, e)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_equal_their_definitions(data):
    draw = data.draw
    size = (draw(st.integers(1, 150)), draw(st.integers(1, 90)))
    n_segments, cell = draw(st.sampled_from([1, 2, 7, 40])), draw(st.sampled_from([1, 3, 17]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    ids = patches(rng, size, -1, n_segments, cell).astype(draw(st.sampled_from([np.int8, np.int32, np.int64])))
    labels = patches(rng, size, 0, 3, 2).astype(
        draw(st.sampled_from([np.bool_, np.uint8, np.int16, np.int32, np.int64]))
    )
    labels = labels if draw(st.booleans()) else None
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    image = image[..., 0] if draw(st.booleans()) else image
    threads = draw(st.sampled_from([1, 2, 5]))
    got = region_geometry(ids, n_segments, labels=labels, num_threads=threads)
    pairs = region_adjacency(ids, n_segments, num_threads=threads)
    colors = region_colors(image, ids, n_segments, num_threads=threads)
    with use_backend("reference"):
        assert_same(got, region_geometry(ids, n_segments, labels=labels))
        assert_same(pairs, region_adjacency(ids, n_segments))
        np.testing.assert_allclose(colors, region_colors(image, ids, n_segments), rtol=2e-7)
    # Every edge of a perimeter leads to another region, to none, or out of the image.
    shared = np.bincount(pairs[0].ravel(), pairs[1].repeat(2), minlength=n_segments)
    assert (shared <= got.perimeter).all()
    if (ids >= 0).all():
        assert got.perimeter.sum() - shared.sum() == 2 * sum(size)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_by_hand(backend):
    ids = np.array([[0, 0, 1], [0, -1, 1], [3, 3, 3]])
    labels = np.array([[5, 6, 6], [5, 7, 8], [4, 4, 4]])
    image = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    with use_backend(backend):
        geometry = region_geometry(ids, labels=labels)
        pairs, lengths = region_adjacency(ids)
        colors = region_colors(image, ids)
        grey = region_colors(image[..., :1], ids)
    np.testing.assert_array_equal(geometry.area, [3, 2, 0, 3])
    np.testing.assert_array_equal(geometry.boxes, [[0, 0, 2, 2], [2, 0, 1, 2], [0, 0, 0, 0], [0, 2, 3, 1]])
    np.testing.assert_array_equal(geometry.perimeter, [8, 6, 0, 8])
    np.testing.assert_array_equal(geometry.label_edges, [1, 1, 0, 0])
    np.testing.assert_array_equal(pairs, [[0, 1], [0, 3], [1, 3]])
    np.testing.assert_array_equal(lengths, [1, 1, 1])
    np.testing.assert_allclose(colors, [[4, 5, 6], [10.5, 11.5, 12.5], [0, 0, 0], [21, 22, 23]])
    np.testing.assert_allclose(grey, colors[:, :1].repeat(3, axis=1))


def test_many_pairs_of_neighbours():
    # More pairs than the first table of pairs holds, and ids in no order.
    ids = np.random.default_rng(3).permutation(200 * 150).reshape(200, 150)
    pairs, lengths = region_adjacency(ids, num_threads=2)
    assert len(pairs) == 199 * 150 + 200 * 149
    assert (lengths == 1).all()
    with use_backend("reference"):
        assert_same((pairs, lengths), region_adjacency(ids))


def test_views_and_maps_without_regions():
    rng = np.random.default_rng(0)
    ids, image = patches(rng, (80, 90), -1, 12, 5), rng.integers(0, 256, (80, 90, 3), np.uint8)
    view, picture = ids[::-2, ::3].T, image[::-2, ::3].swapaxes(0, 1)
    assert_same(region_geometry(view, 12, labels=view), region_geometry(view.copy(), 12, labels=view.copy()))
    assert_same(region_adjacency(view, 12), region_adjacency(view.copy(), 12))
    np.testing.assert_array_equal(region_colors(picture, view, 12), region_colors(picture.copy(), view.copy(), 12))
    nothing = np.full((3, 4), -1)
    assert region_geometry(nothing).boxes.shape == (0, 4)
    assert region_adjacency(nothing)[0].shape == (0, 2)
    assert region_colors(np.zeros((3, 4), np.uint8), nothing).shape == (0, 3)
    assert region_geometry(nothing, 2, labels=nothing).label_edges.tolist() == [0, 0]
    assert region_geometry([[0]]).perimeter.tolist() == [4]


def test_sums_of_bright_images_do_not_wrap():
    image = np.full((70, 70000), 255, np.uint8)
    np.testing.assert_array_equal(region_colors(image, np.zeros(image.shape, np.int32)), [[255, 255, 255]])


SEGMENTS = np.zeros((4, 5), np.int32)
IMAGE = np.zeros((4, 5, 3), np.uint8)


@pytest.mark.parametrize("function", [region_geometry, region_adjacency, lambda *a, **k: region_colors(IMAGE, *a, **k)])
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_wrong_ids(function, backend):
    with use_backend(backend):
        for y, x in np.ndindex(4, 5):
            ids = SEGMENTS.copy()
            ids[y, x] = 3
            with pytest.raises(RangeError, match=r"ids from 0 to n_segments - 1 = 2.* got 0 to 3"):
                function(ids, 3)
            ids[y, x] = -2
            with pytest.raises(RangeError, match="got -2 to 0"):
                function(ids)
    with pytest.raises(RangeError, match="got 4294967296"):
        function(SEGMENTS + np.int64(2**32), 3)
    with pytest.raises(RangeError, match=r"no more ids than pixels \(20\), or 65536; got 65537"):
        function(SEGMENTS + 65536)
    with pytest.raises(DtypeError, match="segments must be integers; got float64"):
        function(SEGMENTS * 0.5)
    with pytest.raises(ShapeError, match=r"segments must have shape \[H, W\]; got \[5\]"):
        function(SEGMENTS[0])
    with pytest.raises(RangeError, match="num_threads must be None or an integer >= 1; got 0"):
        function(SEGMENTS, num_threads=0)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: region_geometry(SEGMENTS, labels=SEGMENTS * 0.5), DtypeError, "labels must be integers or bool"),
        (lambda: region_geometry(SEGMENTS, labels=SEGMENTS.T), ShapeError, r"labels must have the size .* \[4, 5\]"),
        (lambda: region_geometry(SEGMENTS, labels=IMAGE), ShapeError, "labels must have the size of segments"),
        (lambda: region_colors(IMAGE / 255, SEGMENTS), DtypeError, "image must be uint8; got float64"),
        (lambda: region_colors(IMAGE[:3], SEGMENTS), ShapeError, r"image must have the size of segments \[4, 5\]"),
        (lambda: region_colors(np.zeros((4, 5, 4), np.uint8), SEGMENTS), ShapeError, "1 or 3 channels"),
        (lambda: region_colors(IMAGE[None], SEGMENTS), ShapeError, r"image must have shape \[H, W, 3\] or \[H, W\]"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
