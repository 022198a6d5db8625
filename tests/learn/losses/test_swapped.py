"""Swapped assignments against plain NumPy, and the cases where one side of them is empty."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from alseg_fast.errors import RangeError, ShapeError  # noqa: E402
from alseg_fast.learn.losses.swapped import (  # noqa: E402
    cam_to_segmentation,
    segmentation_pseudo_labels,
    segmentation_to_cam,
    tags_to_classes,
)


def normal(seed, *shape, grad=False):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).requires_grad_(grad)


def cross_entropy(logits, ids):
    z, y = logits.detach().numpy(), ids.numpy()
    if z.shape[1] == 1:
        return np.logaddexp(0, z[:, 0]) - (y == 1) * z[:, 0]
    return np.log(np.exp(z).sum(1)) - np.take_along_axis(z, np.where(y == 255, 0, y)[:, None], 1)[:, 0]


# ---- maps teach the segmentation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_background_and_foreground_count_half_each(channels, weighted):
    rng = np.random.default_rng(channels)
    logits = normal(channels, 2, channels, 4, 4, grad=True)
    labels = torch.from_numpy(rng.choice([0, 0, 0, 1, max(channels, 2) - 1, 255], (2, 4, 4)).astype(np.uint8))
    weights = torch.from_numpy(rng.random((2, 4, 4))) if weighted else None
    losses, y = cross_entropy(logits, labels.long()), labels.numpy()
    losses = losses * weights.numpy() if weighted else losses
    expected = 0.5 * losses[y == 0].sum() / ((y == 0).sum() + 1e-6)
    foreground = (y != 0) & (y != 255)
    expected += 0.5 * losses[foreground].sum() / (foreground.sum() + 1e-6)
    loss = cam_to_segmentation(logits, labels, weights)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-10)
    assert torch.autograd.gradcheck(lambda x: cam_to_segmentation(x, labels, weights), logits)


def test_one_side_only_is_half_a_loss():
    logits = normal(3, 1, 2, 3, 3)
    for side in (0, 1):
        labels = torch.full((1, 3, 3), side)
        expected = 0.5 * cross_entropy(logits, labels).mean()
        assert float(cam_to_segmentation(logits, labels)) == pytest.approx(expected, rel=1e-6)


def test_labels_that_are_all_ignored():
    logits = normal(3, 1, 2, 3, 3, grad=True)
    loss = cam_to_segmentation(logits, torch.full((1, 3, 3), 255))
    loss.backward()
    assert float(loss.detach()) == 0
    assert (logits.grad == 0).all()
    assert cam_to_segmentation(logits.detach() * torch.nan, torch.full((1, 3, 3), 255)).isnan()


def test_tags_become_classes():
    labels = torch.tensor([[0, 1, 2, 255]], dtype=torch.uint8)
    assert tags_to_classes(labels, (1, 1)).tolist() == [[0, 1, 1, 255]]
    assert tags_to_classes(labels, (3, 1)).tolist() == [[0, 3, 1, 255]]
    with pytest.raises(RangeError, match=r"labels must be 0\.\.1 or 255"):
        tags_to_classes(labels, (1,))


# ---- the segmentation teaches the maps -----------------------------------------------------------------------------


def pseudo_reference(logits, tags, class_of_tag, temperature):
    z = logits.numpy().copy()
    if z.shape[1] == 1:
        z = np.concatenate((np.zeros_like(z), z), 1)
    for b in range(len(z)):
        for c in range(z.shape[1]):
            markers = [k for k, marked in enumerate(class_of_tag) if marked == c]
            if markers and not any(tags[b, k] for k in markers):
                z[b, c] = -1e5
    z = z / temperature
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return np.stack([p[:, c] * tags[:, k, None, None].numpy() for k, c in enumerate(class_of_tag)], 1)


@pytest.mark.parametrize(
    ("channels", "class_of_tag"), [(1, (1, 1)), (4, (1, 2, 3)), (3, (0, 1, 2)), (3, (2, 1)), (4, (1, 3))]
)
def test_segmentation_pseudo_labels(channels, class_of_tag):
    logits = normal(channels, 3, channels, 4, 6)
    tags = torch.zeros(3, len(class_of_tag))
    tags[0, 0] = tags[1, -1] = tags[1, 0] = 1  # the third image has none
    for temperature in (0.01, 1.0):
        spl = segmentation_pseudo_labels(logits, tags, class_of_tag, (4, 6), temperature)
        expected = pseudo_reference(logits, tags, class_of_tag, temperature)
        np.testing.assert_allclose(spl.numpy(), expected, rtol=1e-9, atol=1e-12)
    assert (spl[2] == 0).all()


def test_pseudo_labels_are_almost_hard_and_without_gradient():
    logits = normal(1, 1, 3, 8, 8, grad=True)
    spl = segmentation_pseudo_labels(logits, torch.ones(1, 2), (1, 2), (8, 8))
    assert not spl.requires_grad
    chosen = logits.argmax(1)
    for tag in (0, 1):
        assert ((spl[:, tag] > 0.5) == (chosen == tag + 1)).float().mean() == 1


@pytest.mark.parametrize("mode", ["bilinear", "area"])
def test_pseudo_labels_are_resized_after_the_softmax(mode):
    logits = torch.zeros(1, 1, 4, 4)
    logits[..., :2], logits[..., 2:] = 5, -5
    spl = segmentation_pseudo_labels(logits, torch.ones(1, 1), (1,), (2, 2), mode=mode)
    np.testing.assert_allclose(spl[0, 0].numpy(), [[1, 0], [1, 0]], atol=1e-6)


@pytest.mark.parametrize("form", ["signed", "published"])
def test_soft_margin_of_maps(form):
    cams, spl = normal(2, 2, 3, 4, 4, grad=True), torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    tags = torch.tensor([[1, 0, 1], [0, 1, 0]])
    valid = torch.from_numpy(np.random.default_rng(2).random((2, 4, 4)) > 0.3)
    x = cams.detach().numpy()
    x = np.maximum(x, 0) if form == "published" else x
    losses = (np.logaddexp(0, x) - spl.numpy() * x).mean(1)
    for mask in (None, valid):
        expected = losses.mean() if mask is None else losses[mask.numpy()].mean()
        assert float(segmentation_to_cam(cams, spl, tags, mask, form).detach()) == pytest.approx(expected, rel=1e-6)
        wide = spl.double()
        assert torch.autograd.gradcheck(
            lambda c, mask=mask, wide=wide: segmentation_to_cam(c, wide, tags, mask, form), cams
        )


def test_the_published_form_cannot_fall_below_ln_2_on_absent_pixels():
    cams, spl, tags = torch.full((1, 1, 4, 4), -50.0), torch.zeros(1, 1, 4, 4), torch.ones(1, 1)
    published = segmentation_to_cam(cams.requires_grad_(), spl, tags, form="published")
    assert float(published.detach()) == pytest.approx(math.log(2), rel=1e-6)
    published.backward()
    assert (cams.grad == 0).all()
    assert float(segmentation_to_cam(cams.detach(), spl, tags)) < 1e-6


def test_images_without_tags_teach_nothing():
    cams, spl = normal(5, 2, 2, 3, 3, grad=True), torch.rand(2, 2, 3, 3)
    tags = torch.tensor([[1, 0], [0, 0]])
    loss = segmentation_to_cam(cams, spl, tags)
    assert float(loss.detach()) == pytest.approx(
        float(segmentation_to_cam(cams[:1], spl[:1], tags[:1]).detach()), rel=1e-9
    )
    loss.backward()
    assert (cams.grad[1] == 0).all()
    nothing = segmentation_to_cam(cams, spl, torch.zeros(2, 2))
    assert float(nothing.detach()) == 0
    everywhere_padding = segmentation_to_cam(cams, spl, tags, torch.zeros(2, 3, 3, dtype=torch.bool))
    assert float(everywhere_padding.detach()) == 0


def test_nan_maps_stay_visible():
    spl, tags = torch.zeros(1, 1, 2, 2), torch.ones(1, 1)
    for form in ("signed", "published"):
        assert segmentation_to_cam(torch.full((1, 1, 2, 2), torch.nan), spl, tags, form=form).isnan()


def test_swapped_losses_refuse():
    with pytest.raises(RangeError, match=r"class_of_tag must hold ids 0\.\.1; got 2"):
        segmentation_pseudo_labels(torch.zeros(1, 1, 2, 2), torch.ones(1, 1), (2,), (2, 2))
    with pytest.raises(RangeError, match="temperature must be a positive number; got 0"):
        segmentation_pseudo_labels(torch.zeros(1, 1, 2, 2), torch.ones(1, 1), (1,), (2, 2), 0)
    with pytest.raises(ShapeError, match=r"spl must have shape \[1, 1, 2, 2\] to match cams"):
        segmentation_to_cam(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 3, 3), torch.ones(1, 1))
    with pytest.raises(RangeError, match=r"spl must be in 0\.\.1"):
        segmentation_to_cam(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 2.0), torch.ones(1, 1))
    with pytest.raises(RangeError, match=r"cam_labels must hold ids 0\.\.1 or 255; got 3"):
        cam_to_segmentation(torch.zeros(1, 1, 2, 2), torch.full((1, 2, 2), 3))
