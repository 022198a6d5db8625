"""CrfLattice.filter: a linear operator, its exact transpose, near the exact kernel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alseg_fast as alseg
from alseg_fast import _native
from alseg_fast.dispatch import use_backend
from alseg_fast.errors import DataError, DtypeError, RangeError, ShapeError, UsageError


def picture(seed, size, cell=7, channels=3):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 240, (-(-size[0] // cell), -(-size[1] // cell), channels))
    blocks = coarse.repeat(cell, axis=0).repeat(cell, axis=1)[: size[0], : size[1]]
    return (blocks + rng.integers(0, 12, blocks.shape)).astype(np.uint8)


def matrix(lattice, size, **options):
    n = size[0] * size[1]
    return lattice.filter(np.eye(n, dtype=np.float32).reshape(n, *size), **options).reshape(n, n)


@pytest.mark.parametrize("normalization", ["symmetric", "none"])
def test_near_the_exact_kernel_and_transposed_exactly(simd_level, normalization):
    size = (24, 35)
    image = picture(0, size)
    lattice = alseg.CrfLattice(image, None, (8.0, 15.0, 2.0), normalization)
    k = matrix(lattice, size)
    with use_backend("reference"):
        exact = matrix(alseg.CrfLattice(image, None, (8.0, 15.0, 2.0), normalization), size)
    if normalization == "none":  # where colours are few, pixels lie unevenly among the vertices: the scale is off
        assert 0.7 < k.sum() / exact.sum() < 1.3
        exact = exact * (k.sum() / exact.sum())
    assert np.abs(k - exact).sum() < 0.12 * exact.sum()
    if normalization == "symmetric":
        np.testing.assert_allclose(k.sum(axis=1), 2, atol=0.25)
    transposed = matrix(lattice, size, transpose=True)
    np.testing.assert_allclose(transposed, k.T, atol=3e-7 * np.abs(k).max())
    # It is not quite symmetric: a gradient that took it for it would be off by so much.
    assert 1e-4 < np.abs(k - k.T).max() / k.max() < 0.05


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_transpose_is_the_adjoint_of_any_lattice(data):
    draw = data.draw
    size = (draw(st.integers(1, 70)), draw(st.integers(1, 70)))
    seed, classes = draw(st.integers(0, 999)), draw(st.sampled_from([1, 2, 16, 17, 33]))
    image = picture(seed, size, draw(st.sampled_from([1, 5, 40])), draw(st.sampled_from([1, 3])))
    before = _native.simd_level()
    _native.set_simd_level(draw(st.sampled_from(_native.available_levels())))
    try:
        lattice = alseg.CrfLattice(image, None, (draw(st.sampled_from([2.0, 50.0])), 15.0, 1.0))
        rng = np.random.default_rng(seed)
        x, y = rng.random((2, classes, *size), np.float32)
        forward, back = lattice.filter(x), lattice.filter(y, transpose=True)
    finally:
        _native.set_simd_level(before)
    ones = np.abs(forward.astype(np.float64) * y).sum()
    assert abs((forward.astype(np.float64) * y).sum() - (back.astype(np.float64) * x).sum()) <= 1e-5 * ones


def test_planes_do_not_mix_and_add_up(simd_level):
    size = (33, 50)
    lattice = alseg.CrfLattice(picture(1, size), None, (20.0, 15.0, 1.0))
    planes = np.random.default_rng(2).normal(size=(19, *size))
    got = lattice.filter(planes)
    assert got.dtype == np.float32
    np.testing.assert_allclose(lattice.filter(planes[4:5])[0], got[4], atol=1e-6)
    np.testing.assert_allclose(lattice.filter(planes[:1] + 2 * planes[1:2]), got[:1] + 2 * got[1:2], atol=1e-5)
    np.testing.assert_array_equal(lattice.filter(np.asfortranarray(planes)), got)
    np.testing.assert_array_equal(lattice.filter(np.zeros((3, *size))), np.zeros((3, *size)))


def test_same_bits_for_any_number_of_threads(simd_level):
    size = (130, 150)
    lattice = alseg.CrfLattice(picture(3, size), None, (30.0, 15.0, 1.0))
    planes = np.random.default_rng(4).random((5, *size), np.float32)
    for transpose in (False, True):
        assert len({lattice.filter(planes, transpose=transpose, num_threads=t).tobytes() for t in (1, 2, 5)}) == 1


SIZE = (6, 8)
BOTH = alseg.CrfLattice(picture(5, SIZE))
LATTICE = alseg.CrfLattice(picture(5, SIZE), None, (3.0, 15.0, 1.0))
WINDOW = alseg.CrfLattice(picture(5, SIZE), None, (3.0, 15.0, 1.0), window=(2, 2, 3, 2), margin=1)


def test_a_window_is_filtered_alone():
    assert WINDOW.filter(np.ones((1, 4, 5))).shape == (1, 4, 5)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: BOTH.filter(np.zeros((1, *SIZE))), UsageError, "must be made with gaussian=None"),
        (lambda: alseg.CrfLattice(picture(5, SIZE), None, None).filter(np.zeros((1, *SIZE))), UsageError, "bilateral"),
        (lambda: LATTICE.filter(np.zeros(SIZE)), ShapeError, r"planes must be \[C, h, w\] with \[h, w\] = \[6, 8\]"),
        (lambda: LATTICE.filter(np.zeros((2, 8, 6))), ShapeError, "planes must be"),
        (lambda: LATTICE.filter(np.zeros((0, *SIZE))), ShapeError, "planes must be"),
        (lambda: WINDOW.filter(np.zeros((1, *SIZE))), ShapeError, r"\[h, w\] = \[4, 5\]"),
        (lambda: LATTICE.filter(np.zeros((1, *SIZE), int)), DtypeError, "planes must be float16"),
        (lambda: LATTICE.filter(np.full((1, *SIZE), np.nan)), DataError, "planes must be finite"),
        (lambda: LATTICE.filter(np.full((1, *SIZE), 1e300)), DataError, "planes must be finite"),
        (lambda: LATTICE.filter(np.zeros((1, *SIZE)), num_threads=0), RangeError, "num_threads must be None"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
