"""Tag loss, segmentation loss, the published batch loss and its schedules against plain NumPy."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from alseg_fast.errors import DtypeError, RangeError, ShapeError  # noqa: E402
from alseg_fast.learn.losses.classification import tag_loss  # noqa: E402
from alseg_fast.learn.losses.published import belharbi_loss, belharbi_parts  # noqa: E402
from alseg_fast.learn.losses.schedules import LambdaSchedule  # noqa: E402
from alseg_fast.learn.losses.segmentation import segmentation_loss  # noqa: E402


def normal(seed, *shape, grad=False):
    values = torch.from_numpy(np.random.default_rng(seed).normal(size=shape))
    return values.requires_grad_(grad)


def softplus(z):
    return np.logaddexp(0, z)


def pixel_reference(logits, ids):
    """[B, H, W] losses, NaN where there is no label."""
    z = logits.detach().numpy()
    y = ids.numpy()
    if z.shape[1] == 1:
        losses = softplus(z[:, 0]) - y * z[:, 0]
    else:
        log_sum = np.log(np.exp(z).sum(1))
        losses = log_sum - np.take_along_axis(z, np.where(y == 255, 0, y)[:, None], 1)[:, 0]
    return np.where(y == 255, np.nan, losses)


def draw_masks(seed, shape, n_classes, ignored=0.3):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.where(rng.random(shape) < ignored, 255, rng.integers(0, n_classes, shape)))


# ---- tags ----------------------------------------------------------------------------------------------------------


def test_single_tag_is_cross_entropy():
    logits, tags = normal(0, 4, 3, grad=True), torch.eye(3)[[0, 2, 1, 2]]
    z = logits.detach().numpy()
    expected = (np.log(np.exp(z).sum(1)) - z[np.arange(4), [0, 2, 1, 2]]).mean()
    loss = tag_loss(logits, tags, single_tag=True)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: tag_loss(x, tags, single_tag=True), logits)


def test_several_tags_are_a_soft_margin():
    logits, tags = normal(1, 3, 4, grad=True), torch.tensor([[1, 0, 1, 0], [0, 0, 0, 1], [1, 1, 1, 1]])
    z, t = logits.detach().numpy(), tags.numpy()
    assert float(tag_loss(logits, tags, single_tag=False).detach()) == pytest.approx((softplus(z) - t * z).mean())
    ours = torch.nn.functional.multilabel_soft_margin_loss(logits, tags.double())
    assert float(tag_loss(logits, tags, single_tag=False).detach()) == pytest.approx(float(ours.detach()))
    assert torch.autograd.gradcheck(lambda x: tag_loss(x, tags, single_tag=False), logits)


@pytest.mark.parametrize("single", [True, False])
def test_image_without_tags_is_left_out(single):
    logits, tags = normal(2, 3, 2, grad=True), torch.tensor([[1, 0], [0, 0], [0, 1]])
    loss = tag_loss(logits, tags, single_tag=single)
    assert torch.equal(loss, tag_loss(logits[[0, 2]], tags[[0, 2]], single_tag=single))
    loss.backward()
    assert (logits.grad[1] == 0).all()
    assert (logits.grad[0] != 0).all()


def test_no_tag_in_the_batch_is_zero_with_zero_gradient():
    logits = normal(3, 2, 2, grad=True)
    loss = tag_loss(logits, torch.zeros(2, 2), single_tag=True)
    loss.backward()
    assert float(loss.detach()) == 0
    assert (logits.grad == 0).all()


def test_no_tags_may_mean_that_none_is_present():
    logits = normal(3, 2, 2)
    loss = tag_loss(logits, torch.zeros(2, 2), single_tag=False, empty="absent")
    assert float(loss) == pytest.approx(softplus(logits.numpy()).mean())


def test_tag_loss_refuses():
    logits = normal(0, 2, 3)
    with pytest.raises(RangeError, match="at most one tag an image with single_tag; got 2"):
        tag_loss(logits, torch.tensor([[1, 1, 0], [0, 0, 1]]), single_tag=True)
    with pytest.raises(RangeError, match="tags must be 0 or 1"):
        tag_loss(logits, torch.full((2, 3), 0.5), single_tag=False)
    with pytest.raises(ShapeError, match=r"tags must have shape \[2, 3\] to match tag_logits; got \[3\]"):
        tag_loss(logits, torch.zeros(3), single_tag=False)
    with pytest.raises(DtypeError, match="tag_logits must be a floating tensor"):
        tag_loss(logits.long(), torch.zeros(2, 3), single_tag=False)
    with pytest.raises(RangeError, match="empty must be 'unknown' with single_tag"):
        tag_loss(logits, torch.zeros(2, 3), single_tag=True, empty="absent")


# ---- pixels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("average", ["pixels", "images"])
def test_segmentation_loss_is_the_mean_over_labelled_pixels(channels, average):
    logits = normal(channels, 3, channels, 4, 5, grad=True)
    masks = draw_masks(7, (3, 4, 5), max(channels, 2))
    masks[1] = 255  # an image without any label
    losses = pixel_reference(logits, masks)
    per_image = [np.nanmean(image) for image in losses[[0, 2]]]
    expected = np.nanmean(losses) if average == "pixels" else np.mean(per_image)
    loss = segmentation_loss(logits, masks, average=average)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-10)
    assert torch.autograd.gradcheck(lambda x: segmentation_loss(x, masks, average=average), logits)


def test_weights_divide_by_the_count_of_labelled_pixels():
    logits, masks = normal(5, 2, 3, 4, 4), draw_masks(5, (2, 4, 4), 3)
    weights = torch.from_numpy(np.random.default_rng(1).random((2, 4, 4)))
    losses = pixel_reference(logits, masks) * weights.numpy()
    assert float(segmentation_loss(logits, masks, weights=weights)) == pytest.approx(np.nanmean(losses), rel=1e-10)
    twice = segmentation_loss(logits, masks, weights=2 * weights)
    assert float(twice) == pytest.approx(2 * np.nanmean(losses), rel=1e-10)


def test_logits_are_resized_to_the_masks():
    logits = normal(6, 2, 3, 3, 4, grad=True)
    masks = draw_masks(6, (2, 7, 9), 3)
    big = torch.nn.functional.interpolate(logits, size=(7, 9), mode="bilinear", align_corners=False)
    assert torch.equal(segmentation_loss(logits, masks), segmentation_loss(big, masks))
    assert torch.autograd.gradcheck(lambda x: segmentation_loss(x, masks), logits)


def test_no_labelled_pixel_is_zero_with_zero_gradient():
    logits = normal(8, 2, 1, 3, 3, grad=True)
    loss = segmentation_loss(logits, torch.full((2, 3, 3), 255))
    loss.backward()
    assert float(loss.detach()) == 0
    assert (logits.grad == 0).all()


def test_nan_stays_visible_where_it_counts_and_only_there():
    masks = torch.tensor([[[0, 1], [255, 1]]])
    logits = normal(9, 1, 1, 2, 2)
    logits[0, 0, 1, 0] = torch.nan  # an unlabelled pixel
    logits.requires_grad_()
    loss = segmentation_loss(logits, masks)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    broken = torch.full((1, 1, 2, 2), torch.nan)
    assert segmentation_loss(broken, masks).isnan()
    assert segmentation_loss(broken, torch.full((1, 2, 2), 255)).isnan()
    assert tag_loss(torch.full((1, 2), torch.nan), torch.tensor([[1, 0]]), single_tag=True).isnan()
    assert tag_loss(torch.full((1, 2), torch.nan), torch.zeros(1, 2), single_tag=True).isnan()


def test_half_precision_is_summed_in_float32():
    logits = torch.full((1, 1, 64, 64), 60.0, dtype=torch.float16)
    loss = segmentation_loss(logits, torch.zeros(1, 64, 64, dtype=torch.uint8))
    assert loss.dtype == torch.float32
    assert float(loss) == 60


def test_segmentation_loss_refuses():
    logits = normal(0, 1, 1, 2, 2)
    with pytest.raises(RangeError, match=r"masks must hold ids 0\.\.1 or 255; got 2"):
        segmentation_loss(logits, torch.tensor([[[0, 2], [255, 0]]]))
    with pytest.raises(RangeError, match="got -1"):
        segmentation_loss(logits, torch.tensor([[[0, -1], [255, 0]]]))
    with pytest.raises(DtypeError, match="masks must hold integers"):
        segmentation_loss(logits, torch.zeros(1, 2, 2))
    with pytest.raises(ShapeError, match=r"masks must have shape \[1, 2, 2\]"):
        segmentation_loss(logits, torch.zeros(2, 2, 2, dtype=torch.uint8))
    with pytest.raises(ShapeError, match="weights must have shape"):
        segmentation_loss(logits, torch.zeros(1, 2, 2).long(), weights=torch.ones(1, 1, 1))
    with pytest.raises(RangeError, match="average must be one of"):
        segmentation_loss(logits, torch.zeros(1, 2, 2).long(), average="batch")


# ---- the published batch -------------------------------------------------------------------------------------------


def published_reference(logits, masks, labelled, pseudo, lambda_):
    losses = [np.nanmean(image) if np.isfinite(image).any() else 0.0 for image in pixel_reference(logits, masks)]
    n = len(losses)
    sums = [sum(x for x, m in zip(losses, flags, strict=True) if m) for flags in (labelled, pseudo)]
    return sums[0] / n + lambda_ * sums[1] / n


@pytest.mark.parametrize("channels", [1, 3])
def test_both_sums_are_divided_by_the_whole_batch(channels):
    logits = normal(11, 5, channels, 4, 4, grad=True)
    masks = draw_masks(11, (5, 4, 4), max(channels, 2), ignored=0.2)
    masks[4] = 255
    labelled = torch.tensor([True, False, False, False, True])
    pseudo = torch.tensor([False, True, True, False, False])
    expected = published_reference(logits, masks, labelled, pseudo, 0.1)
    loss = belharbi_loss(logits, masks, labelled, pseudo, 0.1)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-10)
    assert torch.autograd.gradcheck(lambda x: belharbi_loss(x, masks, labelled, pseudo, 0.1), logits)


def test_own_divisors():
    logits, masks = normal(12, 4, 1, 3, 3), draw_masks(12, (4, 3, 3), 2, ignored=0)
    labelled, pseudo = torch.tensor([True, False, False, False]), torch.tensor([False, True, True, True])
    batch = belharbi_parts(logits, masks, labelled, pseudo)
    own = belharbi_parts(logits, masks, labelled, pseudo, divide_by="own")
    assert float(own[0]) == pytest.approx(4 * float(batch[0]))
    assert float(own[1]) == pytest.approx(4 / 3 * float(batch[1]))


@pytest.mark.parametrize("flags", [(True, False), (False, True), (False, False)])
def test_one_kind_of_image_in_the_batch(flags):
    logits, masks = normal(13, 2, 1, 3, 3, grad=True), draw_masks(13, (2, 3, 3), 2, ignored=0)
    labelled, pseudo = (torch.full((2,), flag) for flag in flags)
    loss = belharbi_loss(logits, masks, labelled, pseudo, 0.5)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(published_reference(logits, masks, labelled, pseudo, 0.5))
    assert bool((logits.grad == 0).all()) == (not any(flags))


def test_belharbi_loss_refuses():
    logits, masks = normal(0, 2, 1, 2, 2), torch.zeros(2, 2, 2, dtype=torch.uint8)
    yes, no = torch.tensor([True, True]), torch.tensor([False, False])
    with pytest.raises(RangeError, match="pseudo must be False where labelled is True; got 2 images"):
        belharbi_loss(logits, masks, yes, yes, 0.1)
    with pytest.raises(RangeError, match="lambda_ must be at least 0; got -1"):
        belharbi_loss(logits, masks, yes, no, -1)
    with pytest.raises(DtypeError, match="labelled must be bool"):
        belharbi_loss(logits, masks, yes.long(), no, 0.1)


# ---- schedules -----------------------------------------------------------------------------------------------------


def test_schedules_at_their_ends_and_between():
    assert [LambdaSchedule("constant", 0.1).at(s) for s in (0, 5, 10**6)] == [0.1] * 3
    linear = LambdaSchedule("linear", 0.0, 1.0, 4)
    assert [linear(s) for s in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
    exponential = LambdaSchedule("exponential", 1e-3, 1e-1, 10)
    assert exponential.at(0) == 1e-3
    assert exponential.at(10) == exponential.at(99) == 1e-1
    assert exponential.at(5) == pytest.approx(1e-2)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"kind": "cosine"}, "kind must be one of constant, linear, exponential"),
        ({"kind": "linear"}, "end must be a number"),
        ({"kind": "exponential", "start": 0.0, "end": 1.0}, "start must be above 0"),
        ({"start": -1.0}, "start must be at least 0"),
        ({"start": float("nan")}, "start must be at least 0; got nan"),
        ({"kind": "linear", "end": 1.0, "steps": 0}, "steps must be an integer >= 1; got 0"),
    ],
)
def test_schedules_refuse(kwargs, message):
    with pytest.raises(RangeError, match=message):
        LambdaSchedule(**kwargs)
