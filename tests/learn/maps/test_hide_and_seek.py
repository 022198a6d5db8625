"""Hidden grid cells: the same draws again by hand, and what may never happen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg_fast.errors import DtypeError, RangeError, ShapeError

torch = pytest.importorskip("torch")

from alseg_fast.learn.maps.hide_and_seek import hide_and_seek  # noqa: E402


def pictures(b=2, h=37, w=50):
    return torch.rand((b, 3, h, w), generator=torch.Generator().manual_seed(0)) + 1.0


def plain(images, rng, sizes, probability, fill):
    made = images.numpy().copy()
    for picture in made:
        side = sizes[rng.integers(len(sizes))]
        if side == 0:
            continue
        rows, columns = -(-picture.shape[1] // side), -(-picture.shape[2] // side)
        hidden = rng.random((rows, columns)) < probability
        if hidden.all():
            hidden.flat[rng.integers(hidden.size)] = False
        for r in range(rows):
            for c in range(columns):
                if hidden[r, c]:
                    picture[:, r * side : (r + 1) * side, c * side : (c + 1) * side] = fill
    return made


@pytest.mark.parametrize("sizes", [(0, 16, 32, 44, 56), (7,), (64,), (1,)])
@pytest.mark.parametrize("probability", [0.5, 0.9])
def test_hidden_cells_are_the_plain_ones(sizes, probability):
    images = pictures(6)
    for seed in range(4):
        made = hide_and_seek(images, np.random.default_rng(seed), sizes=sizes, probability=probability)
        expected = plain(images, np.random.default_rng(seed), sizes, probability, 0.0)
        assert np.array_equal(made.numpy(), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 60), st.floats(0, 1), st.integers(0, 2**32))
def test_something_always_stays_visible(h, w, side, probability, seed):
    images = pictures(1, h, w)
    made = hide_and_seek(images, np.random.default_rng(seed), sizes=(side,), probability=probability)
    visible = (made == images).all(1)
    assert visible.any()
    assert (visible | (made == 0).all(1)).all()


def test_the_same_seed_hides_the_same_cells_and_another_does_not():
    images = pictures()
    first, again, other = (hide_and_seek(images, np.random.default_rng(s), sizes=(8,)) for s in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0] == 0, first[1] == 0)  # each picture has a grid of its own


def test_probability_and_sizes_do_what_they_say():
    images = pictures(1, 400, 400)
    hidden = hide_and_seek(images, np.random.default_rng(0), sizes=(8,), probability=0.3)
    assert abs(float((hidden[0, 0] == 0).float().mean()) - 0.3) < 0.03
    assert torch.equal(hide_and_seek(images, np.random.default_rng(0), sizes=(0,)), images)
    assert torch.equal(hide_and_seek(images, np.random.default_rng(0), sizes=(8,), probability=0.0), images)
    one = hide_and_seek(images, np.random.default_rng(0), sizes=(100,), probability=1.0)
    assert int((one[0, 0] != 0).sum()) == 100 * 100


def test_fill_is_by_channel_and_the_input_stays():
    images = pictures(1)
    before = images.clone()
    made = hide_and_seek(images, np.random.default_rng(1), sizes=(5,), fill=(-1.0, 0.5, 9.0))
    hidden = made[0, 2] == 9.0
    assert hidden.any()
    assert (made[0, 0][hidden] == -1.0).all()
    assert (made[0, 1][hidden] == 0.5).all()
    assert torch.equal(images, before)


def test_one_picture_and_half_precision():
    image = pictures(1)[0]
    made = hide_and_seek(image.half(), np.random.default_rng(2), sizes=(5,))
    assert made.shape == image.shape
    assert made.dtype == torch.float16
    batch = hide_and_seek(image[None].half(), np.random.default_rng(2), sizes=(5,))
    assert torch.equal(batch[0], made)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"images": torch.zeros(2, 1, 8, 8)}, ShapeError, r"\[B, 3, H, W\] or \[3, H, W\]"),
        ({"images": torch.zeros(3, 8, 8, dtype=torch.uint8)}, DtypeError, "floating point"),
        ({"sizes": ()}, RangeError, "sizes must be at least one"),
        ({"sizes": (4, -1)}, RangeError, "sizes must be"),
        ({"probability": 1.5}, RangeError, r"probability must be in \[0, 1\]; got 1.5"),
        ({"probability": float("nan")}, RangeError, "probability"),
        ({"fill": (0.0, 1.0)}, RangeError, "fill must be one or three"),
        ({"fill": float("nan")}, RangeError, "fill"),
    ],
)
def test_wrong_arguments_are_named(changes, error, text):
    arguments = {"images": pictures(1), "rng": np.random.default_rng(0), **changes}
    with pytest.raises(error, match=text):
        hide_and_seek(arguments.pop("images"), arguments.pop("rng"), **arguments)
