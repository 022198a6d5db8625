"""The equivariance loss against plain NumPy, by gradcheck, and with the traps of detached sides and zero maps."""

import numpy as np
import pytest

from alseg_fast.errors import RangeError, ShapeError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from alseg_fast.learn.losses.equivariance import equivariance_loss, transformed_pair  # noqa: E402

TAGS = torch.tensor([[1, 0, 1], [0, 1, 0]])


def random_maps(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def plain_scaled(a):
    a = np.maximum(a, 0)
    return a / a.max() if a.max() > 1e-5 else np.zeros_like(a)


def plain_resized(a, size):
    """Bilinear with aligned corners."""
    made = np.empty(size)
    for y, x in np.ndindex(*size):
        v = y * (a.shape[0] - 1) / (size[0] - 1) if size[0] > 1 else 0.0
        u = x * (a.shape[1] - 1) / (size[1] - 1) if size[1] > 1 else 0.0
        i, j = min(int(v), a.shape[0] - 2), min(int(u), a.shape[1] - 2)
        p, q = v - i, u - j
        made[y, x] = (1 - p) * ((1 - q) * a[i, j] + q * a[i, j + 1]) + p * ((1 - q) * a[i + 1, j] + q * a[i + 1, j + 1])
    return made


def plain_loss(cams, other, tags, flip, average):
    total, count = 0.0, 0
    for b, k in np.ndindex(*cams.shape[:2]):
        if tags[b, k]:
            first = plain_resized(plain_scaled(cams[b, k]), other.shape[2:])
            total += np.abs((first[:, ::-1] if flip else first) - plain_scaled(other[b, k])).mean()
            count += 1
    return total / (cams.shape[0] * cams.shape[1] if average == "all" else max(count, 1))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("average", ["all", "present"])
@pytest.mark.parametrize("grid", [(3, 2), (9, 8), (1, 1)])
def test_loss_is_the_plain_one(flip, average, grid):
    cams, other = random_maps(2, 3, 9, 8), random_maps(2, 3, *grid, seed=1)
    other[0, 0] += 0.5
    made = equivariance_loss(cams, other, TAGS, flip=flip, average=average)
    expected = plain_loss(cams.double().numpy(), other.double().numpy(), TAGS.numpy(), flip, average)
    assert float(made) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("average", ["all", "present"])
def test_gradient_reaches_both_sides(average):
    cams = random_maps(2, 3, 5, 6, dtype=torch.float64).requires_grad_(True)
    other = random_maps(2, 3, 3, 4, seed=1, dtype=torch.float64).requires_grad_(True)
    assert torch.autograd.gradcheck(
        lambda a, b: equivariance_loss(a, b, TAGS, average=average, flip=True), (cams, other)
    )
    equivariance_loss(cams, other, TAGS, average=average).backward()
    for grad in (cams.grad, other.grad):
        assert torch.equal(grad.flatten(2).any(2), TAGS == 1)


@pytest.mark.parametrize(("detach", "left"), [("original", (False, True)), ("transformed", (True, False))])
def test_a_side_can_be_detached_on_request(detach, left):
    cams, other = (random_maps(2, 3, 6, 6, seed=s).requires_grad_(True) for s in (0, 1))
    equivariance_loss(cams, other, TAGS, detach=detach).backward()
    assert (cams.grad is not None, other.grad is not None) == left


def test_scale_of_a_map_does_not_matter():
    """Without the division by the maximum, halving the maps would halve the loss: the way to the zero map."""
    cams, other = random_maps(2, 3, 6, 6), random_maps(2, 3, 4, 4, seed=1)
    whole = equivariance_loss(cams, other, TAGS)
    torch.testing.assert_close(equivariance_loss(cams * 1e-3, other * 7.0, TAGS), whole)


def test_an_equivariant_network_costs_nothing_and_others_do():
    images = random_maps(2, 3, 21, 21)
    point = nn.Conv2d(3, 3, 1, bias=False)
    first, second = transformed_pair(images, scale=11 / 21, flip=True)
    # Every second pixel: bilinear resampling with aligned corners keeps them, and the convolution sees one at a time.
    torch.testing.assert_close(second, images[:, :, ::2, ::2].flip(-1), atol=1e-6, rtol=0)
    linear = equivariance_loss(point(first)[:, :, ::2, ::2], point(second), TAGS, flip=True)
    assert float(linear.detach()) < 1e-6
    assert float(equivariance_loss(point(first)[:, :, ::2, ::2], point(second), TAGS).detach()) > 0.01


def test_empty_maps_no_tags_and_constant_pictures():
    zero = torch.zeros((2, 3, 6, 6), requires_grad=True)
    other = random_maps(2, 3, 4, 4).requires_grad_(True)
    loss = equivariance_loss(zero, other, TAGS)
    assert float(loss.detach()) > 0
    loss.backward()
    assert (zero.grad == 0).all()
    assert torch.isfinite(other.grad).all()
    for average in ("all", "present"):
        nothing = equivariance_loss(
            random_maps(2, 3, 6, 6).requires_grad_(True), other, torch.zeros(2, 3), average=average
        )
        assert float(nothing.detach()) == 0.0
        nothing.backward()
    constant = torch.full((2, 3, 6, 6), 2.0)
    assert float(equivariance_loss(constant, constant[:, :, :2, :2], TAGS)) == 0.0


def test_nan_is_not_hidden_but_absent_maps_do_not_count():
    cams = random_maps(2, 3, 6, 6)
    cams[0, 0, 2, 2] = float("nan")
    assert torch.isnan(equivariance_loss(cams, cams, TAGS))
    assert torch.isfinite(equivariance_loss(cams, cams, torch.tensor([[0, 1, 1], [1, 0, 0]])))


def test_the_pair_is_resampled_with_aligned_corners():
    images = random_maps(1, 3, 20, 30)
    same, small = transformed_pair(images)
    assert same is images
    assert small.shape == (1, 3, 6, 9)
    assert torch.equal(small, F.interpolate(images, (6, 9), mode="bilinear", align_corners=True))
    assert transformed_pair(images, scale=0.01)[1].shape == (1, 3, 1, 1)
    assert transformed_pair(images, multiple=4)[1].shape == (1, 3, 8, 8)
    assert transformed_pair(images, scale=0.01, multiple=16)[1].shape == (1, 3, 16, 16)
    assert torch.equal(transformed_pair(images, flip=True)[1], small.flip(-1))


def test_wrong_arguments_are_named():
    cams = random_maps(2, 3, 6, 6)
    for call, error, text in (
        (lambda: equivariance_loss(cams[0], cams, TAGS), ShapeError, "cams must have shape"),
        (lambda: equivariance_loss(cams, cams[:1], TAGS), ShapeError, "transformed_cams must have shape"),
        (lambda: equivariance_loss(cams, cams, TAGS[:1]), ShapeError, "tags must have shape"),
        (lambda: equivariance_loss(cams, cams, TAGS, average="sum"), RangeError, "average must be one of"),
        (lambda: equivariance_loss(cams, cams, TAGS, detach="both"), RangeError, "detach must be one of"),
        (lambda: equivariance_loss(cams, cams, TAGS, eps=0.0), RangeError, "eps must be above 0"),
        (lambda: transformed_pair(cams, scale=0.0), RangeError, "scale must be above 0"),
        (lambda: transformed_pair(cams, multiple=0), RangeError, "multiple must be at least 1"),
        (lambda: transformed_pair(cams[0]), ShapeError, "images must have shape"),
    ):
        with pytest.raises(error, match=text):
            call()
