"""The cost of a region: parts that are named, borders that are drawn."""

import numpy as np
import pytest

import alseg_fast as alseg
from alseg_fast.errors import DataError, RangeError, ShapeError
from alseg_fast.ops import region_geometry
from alseg_fast.ops.region_cost import region_clicks, region_seconds
from alseg_fast.types import RegionGeometry

GEOMETRY = RegionGeometry(
    area=np.array([100, 100, 100, 0]),
    boxes=np.zeros((4, 4), np.int32),
    perimeter=np.zeros(4, np.int64),
    label_edges=np.array([0, 25, 7, 0]),
)
SHARES = np.array([[1, 0, 0], [0.5, 0.3, 0.2], [0.96, 0.04, 0], [np.nan] * 3])


def test_by_hand():
    clicks = region_clicks(GEOMETRY, SHARES)
    assert clicks.dtype == np.float32
    np.testing.assert_allclose(clicks, [1, 3 + 2.5, 1 + 0.7, 0])
    np.testing.assert_allclose(region_clicks(GEOMETRY, SHARES, min_share=0.25, pixels_per_click=5), [1, 7, 2.4, 0])
    # With no least share, a class without a pixel is still not named; with the whole region, one class always is.
    np.testing.assert_allclose(region_clicks(GEOMETRY, SHARES, min_share=0), [1, 5.5, 2.7, 0])
    np.testing.assert_allclose(region_clicks(GEOMETRY, SHARES, min_share=1), [1, 3.5, 1.7, 0])
    np.testing.assert_allclose(region_seconds(clicks), [2.4, 13.2, 4.08, 0], rtol=1e-6)
    np.testing.assert_allclose(region_seconds([[2]], seconds_per_click=10), [[20]])


def test_of_a_prediction():
    # A region of two halves: two names, and a border of 8 edges.
    labels = np.zeros((8, 8), np.uint8)
    labels[:, 4:] = 1
    segments = np.zeros((8, 8), np.int32)
    scores = np.stack([labels == 0, labels == 1]).astype(np.float32)[None]
    u = alseg.uncertainty(scores, activation="probabilities", segments=segments, class_stats=True)
    geometry = region_geometry(segments, labels=u.labels[0])
    np.testing.assert_allclose(region_clicks(geometry, u.segments["class_fraction"][0]), [2.8])


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: region_clicks(region_geometry([[0]]), [[1.0]]),
            ShapeError,
            "geometry must have label_edges; got None",
        ),
        (lambda: region_clicks(GEOMETRY, SHARES[:3]), ShapeError, r"shape \[S, L\] with S = 4; got \[3, 3\]"),
        (lambda: region_clicks(GEOMETRY, SHARES[0]), ShapeError, r"got \[3\]"),
        (lambda: region_clicks(GEOMETRY, SHARES * 2), DataError, "sum to 1; got 2 in row 0"),
        (lambda: region_clicks(GEOMETRY, SHARES[::-1]), DataError, "got nan in row 0"),
        (lambda: region_clicks(GEOMETRY, SHARES, min_share=1.1), RangeError, r"min_share must be in \[0, 1\]; got 1.1"),
        (lambda: region_clicks(GEOMETRY, SHARES, min_share=np.nan), RangeError, "min_share must be"),
        (lambda: region_clicks(GEOMETRY, SHARES, pixels_per_click=0), RangeError, "must be positive; got 0"),
        (lambda: region_seconds([1], seconds_per_click=-1), RangeError, "seconds_per_click must be positive; got -1"),
        (lambda: region_seconds([1, -1]), DataError, "clicks must be finite and >= 0; got -1 to 1"),
        (lambda: region_seconds([np.nan]), DataError, "clicks must be finite"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
