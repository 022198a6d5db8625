"""Normalisation, full resolution and the published arg-max mask, against plain NumPy."""

import numpy as np
import pytest

from alseg_fast.errors import DataError, DtypeError, RangeError, ShapeError

torch = pytest.importorskip("torch")

from alseg_fast.learn.maps import cams as maps  # noqa: E402
from alseg_fast.learn.networks.map_range import scale_maps  # noqa: E402


def random_cams(seed=0, shape=(2, 3, 5, 4)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plain_normalised(cams, tags, mode, eps=1e-5):
    made = np.zeros_like(cams)
    for b, k in np.ndindex(*cams.shape[:2]):
        if tags is not None and not tags[b, k]:
            continue
        lifted = np.maximum(cams[b, k], 0) if mode == "max" else cams[b, k] - cams[b, k].min()
        if lifted.max() > eps:
            made[b, k] = lifted / lifted.max()
    return made


def plain_upsampled(image, size):
    """Bilinear with aligned corners, of one map."""
    made = np.empty(size)
    for y, x in np.ndindex(*size):
        v = y * (image.shape[0] - 1) / max(size[0] - 1, 1)
        u = x * (image.shape[1] - 1) / max(size[1] - 1, 1)
        i, j = min(int(v), image.shape[0] - 2), min(int(u), image.shape[1] - 2)
        a, b = v - i, u - j
        top = (1 - b) * image[i, j] + b * image[i, j + 1]
        made[y, x] = (1 - a) * top + a * ((1 - b) * image[i + 1, j] + b * image[i + 1, j + 1])
    return made


@pytest.mark.parametrize("mode", ["max", "minmax"])
@pytest.mark.parametrize("with_tags", [False, True])
def test_normalised_maps_are_the_plain_ones(mode, with_tags):
    cams = random_cams()
    tags = torch.tensor([[1, 0, 1], [0, 0, 1]]) if with_tags else None
    made = maps.normalise_cams(cams, tags, mode)
    expected = plain_normalised(cams.numpy(), None if tags is None else tags.numpy(), mode)
    np.testing.assert_allclose(made.numpy(), expected, rtol=1e-6, atol=1e-7)
    assert made.min() == 0.0
    assert made.max() == 1.0


@pytest.mark.parametrize("mode", ["max", "minmax"])
def test_empty_maps_are_zero_and_named(mode):
    cams = random_cams()
    cams[0, 1] = 0.0
    cams[1, 2] = -3.0  # constant and negative: no activation under "max", no range under "minmax"
    cams[1, 0] = 0.9e-5 if mode == "max" else 7.0
    made = maps.normalise_cams(cams, mode=mode)
    assert torch.isfinite(made).all()
    empty = torch.tensor([[False, True, False], [True, False, True]])
    assert torch.equal(maps.empty_cams(cams, mode=mode), empty)
    assert torch.equal(made.flatten(2).amax(2) == 0, empty)
    # An absent tag is not an empty map.
    assert not maps.empty_cams(cams, torch.tensor([[1, 0, 1], [0, 1, 0]]), mode).any()


def test_an_absent_class_does_not_fill_the_range():
    negative = -torch.rand((1, 1, 4, 4)) - 1
    assert maps.normalise_cams(negative, mode="minmax").max() == 1.0
    assert maps.normalise_cams(negative, torch.zeros(1, 1), "minmax").max() == 0.0
    assert maps.normalise_cams(negative).max() == 0.0


@pytest.mark.parametrize("mode", ["max", "minmax"])
def test_normalisation_has_the_gradient_of_its_formula(mode):
    cams = random_cams().double()
    cams[0, 0] = 0.0
    cams.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda c: maps.normalise_cams(c, mode=mode)[:, 1:], (cams,))
    maps.normalise_cams(cams, mode=mode).pow(2).sum().backward()
    assert torch.isfinite(cams.grad).all()
    assert (cams.grad[0, 0] == 0).all()


def test_half_precision_comes_out_in_single():
    assert maps.normalise_cams(random_cams().half()).dtype == torch.float32
    assert maps.normalise_cams(random_cams().bfloat16()).dtype == torch.float32
    assert maps.normalise_cams(random_cams().double()).dtype == torch.float64


def test_the_unchecked_form_does_not_hide_nan():
    cams = random_cams()
    cams[0, 0, 1, 1] = float("nan")
    for mode in ("max", "minmax"):
        scaled, empty = scale_maps(cams, mode, 1e-5)
        assert torch.isnan(scaled[0, 0]).any()
        assert not empty[0, 0]


def test_full_resolution_has_aligned_corners():
    cams = random_cams()
    full = maps.full_resolution_cams(cams, (9, 11))
    for b, k in np.ndindex(2, 3):
        np.testing.assert_allclose(full[b, k].numpy(), plain_upsampled(cams[b, k].numpy(), (9, 11)), atol=1e-5)
    tags = torch.tensor([[0, 1, 0], [0, 0, 0]])
    some = maps.full_resolution_cams(cams, (9, 11), tags)
    assert torch.equal(some[0, 1], full[0, 1])
    assert (some[1] == 0).all()
    assert (some[0, [0, 2]] == 0).all()
    assert torch.equal(maps.true_class_maps(cams, torch.tensor([1, 2]), (9, 11)), full[[0, 1], [1, 2]])
    assert torch.equal(maps.true_class_maps(cams, 1, (9, 11)), full[:, 1])


def test_full_resolution_passes_gradients_of_present_maps():
    cams = random_cams().double().requires_grad_(True)
    tags = torch.tensor([[0, 1, 0], [1, 0, 1]])
    assert torch.autograd.gradcheck(lambda c: maps.full_resolution_cams(c, (7, 6), tags), (cams,))


@pytest.mark.parametrize("classes", [2, 3, 200])
def test_published_mask_is_the_arg_max_of_all_full_maps(classes):
    cams = random_cams(classes, (3, classes, 6, 5))
    tag = torch.tensor([0, classes - 1, classes // 2])
    mask = maps.published_wsl_mask(cams, tag, (31, 17))
    full = np.stack(
        [[plain_upsampled(cams[b, k].numpy().astype(np.float64), (31, 17)) for k in range(classes)] for b in range(3)]
    )
    best = np.sort(full, axis=1)
    clear = best[:, -1] - best[:, -2] > 1e-5
    assert clear.mean() > 0.99
    expected = full.argmax(1) == tag.numpy()[:, None, None]
    assert mask.dtype == torch.bool
    assert np.array_equal(mask.numpy()[clear], expected[clear])


def test_published_mask_at_the_edges():
    flat = torch.zeros((2, 3, 4, 4))
    assert maps.published_wsl_mask(flat, 0, (8, 8)).all()  # a tie goes to the lower index
    assert not maps.published_wsl_mask(flat, torch.tensor([1, 2]), (8, 8)).any()
    assert maps.published_wsl_mask(flat[:, :1], 0, (8, 8)).all()
    assert maps.published_wsl_mask(random_cams().double(), 1, (3, 3)).shape == (2, 3, 3)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: maps.normalise_cams(torch.zeros(3, 4, 4)), ShapeError, "normalise_cams: cams must have shape"),
        (lambda: maps.normalise_cams(torch.zeros(1, 0, 4, 4)), ShapeError, "none of them 0"),
        (lambda: maps.normalise_cams(torch.zeros(1, 1, 4, 4, dtype=torch.int64)), DtypeError, "floating point"),
        (lambda: maps.normalise_cams(random_cams(), torch.ones(3, 2)), ShapeError, r"tags must have shape \[B, K\]"),
        (lambda: maps.normalise_cams(random_cams(), mode="sum"), RangeError, "one of max, minmax"),
        (lambda: maps.normalise_cams(random_cams(), eps=0.0), RangeError, "eps must be above 0"),
        (lambda: maps.full_resolution_cams(random_cams(), (0, 4)), ShapeError, "size must be"),
        (lambda: maps.published_wsl_mask(random_cams(), 3, (8, 8)), RangeError, r"tag must be in 0..2; got 3..3"),
        (lambda: maps.published_wsl_mask(random_cams(), -1, (8, 8)), RangeError, "leave it out"),
        (lambda: maps.published_wsl_mask(random_cams(), torch.zeros(2), (8, 8)), DtypeError, "integers"),
        (lambda: maps.true_class_maps(random_cams(), torch.tensor([0]), (8, 8)), ShapeError, r"one integer or \[B\]"),
    ],
)
def test_wrong_arguments_are_named(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_maps_are_named_even_behind_an_absent_tag(value):
    cams = random_cams()
    cams[1, 2, 0, 0] = value
    calls = (
        lambda: maps.normalise_cams(cams, torch.zeros(2, 3)),
        lambda: maps.empty_cams(cams),
        lambda: maps.full_resolution_cams(cams, (8, 8), torch.zeros(2, 3)),
        lambda: maps.published_wsl_mask(cams, 0, (8, 8)),
    )
    for call in calls:
        with pytest.raises(DataError, match="map of tag 2 of image 1"):
            call()
