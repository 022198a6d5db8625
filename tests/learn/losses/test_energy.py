"""The dense energy loss: its value against all pairs, its gradient against differences."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from alseg_fast.errors import DataError, DtypeError, RangeError, ShapeError  # noqa: E402
from alseg_fast.learn.losses.energy import dense_energy_loss  # noqa: E402


def picture(seed, size=(20, 28), cell=8):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 240, (-(-size[0] // cell), -(-size[1] // cell), 3))
    blocks = coarse.repeat(cell, axis=0).repeat(cell, axis=1)[: size[0], : size[1]]
    pixels = (blocks + rng.integers(0, 10, blocks.shape)).astype(np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


def draw_probs(seed, shape, dtype=torch.float64):
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return (2 * made).softmax(dim=1)


def all_pairs(rgb, probs, valid, sigma_rgb, sigma_xy, normalization):
    """The formula of the docstring, every pair of pixels, in float64."""
    total = torch.zeros((), dtype=torch.float64)
    height, width = rgb.shape[2:]
    place = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), dim=-1)
    for image, planes, mask in zip(rgb, probs, valid, strict=True):
        features = torch.cat(
            [place.reshape(-1, 2) / sigma_xy, image.permute(1, 2, 0).reshape(-1, 3) / sigma_rgb], dim=1
        ).double()
        k = torch.exp(-((features[:, None] - features) ** 2).sum(dim=2) / 2)
        if normalization == "symmetric":
            root = k.sum(dim=1).sqrt()
            k = k / root[:, None] / root
        inside = mask.reshape(-1)
        k = k[inside][:, inside]
        p = planes.reshape(len(planes), -1)[:, inside]
        energy = sum((c @ k * (1 - c)).sum() for c in p)
        total = total + energy / (max(int(inside.sum()), 1) if normalization == "symmetric" else 1)
    return total / len(rgb)


@pytest.mark.parametrize("normalization", ["symmetric", "none"])
@pytest.mark.parametrize("masked", [False, True])
def test_value_and_gradient_are_near_those_of_all_pairs(normalization, masked):
    rgb = torch.cat([picture(0), picture(1)])
    probs = draw_probs(2, (2, 3, 20, 28)).requires_grad_()
    valid = torch.ones(2, 20, 28, dtype=torch.bool)
    if masked:
        valid[0, :, 19:] = False
        valid[1, 5:9, 3:20] = False
    options = {"sigma_rgb": 15.0, "sigma_xy": 8.0, "normalization": normalization}
    got = dense_energy_loss(rgb, probs, valid=valid, scale=1.0, **options)
    expected = all_pairs(rgb, probs, valid, **options)
    assert got.dtype == torch.float64
    # The lattice's own error: where colours are few, pixels lie unevenly among its vertices and the scale is off.
    assert got.item() == pytest.approx(expected.item(), rel=0.05 if normalization == "symmetric" else 0.3)
    ours, theirs = (torch.autograd.grad(loss, probs)[0] for loss in (got, expected))
    ours, theirs = ours - ours.mean(dim=1, keepdim=True), theirs - theirs.mean(dim=1, keepdim=True)  # along the simplex
    assert torch.nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.99
    theirs = theirs * (1 if normalization == "symmetric" else ours.norm() / theirs.norm())
    assert (ours - theirs).norm() < 0.15 * theirs.norm()
    assert (ours.transpose(0, 1)[:, ~valid] == 0).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [0.5, 1.0])
@pytest.mark.parametrize("normalization", ["symmetric", "none"])
def test_gradient_is_that_of_the_value(channels, scale, normalization):
    rgb = picture(3, (8, 10), 4)
    probs = draw_probs(4, (1, 3, 8, 10))[:, :channels].clone().requires_grad_()
    valid = torch.ones(1, 8, 10, dtype=torch.bool)
    valid[0, :, 7:] = False

    def loss(p):
        value = dense_energy_loss(
            rgb, p, valid=valid, sigma_xy=6.0, scale=scale, normalization=normalization, num_threads=1
        )
        return value * (1 if normalization == "symmetric" else 1e-2)

    # The loss is a quadratic form, so differences over a long way are exact but for the float32 of the lattice.
    assert torch.autograd.gradcheck(loss, (probs,), eps=0.25, atol=2e-6, rtol=1e-3, fast_mode=True)


def test_one_channel_is_two_classes():
    rgb, p = picture(5), draw_probs(6, (1, 2, 20, 28))
    both = dense_energy_loss(rgb, p)
    assert dense_energy_loss(rgb, p[:, 1:]).item() == pytest.approx(both.item(), rel=1e-6)


def test_labels_that_follow_the_picture_cost_less():
    rgb = torch.full((1, 3, 16, 32), 60, dtype=torch.uint8)
    rgb[:, :, :, 16:] = 180
    along = torch.zeros(1, 2, 16, 32)
    along[:, 0, :, :16] = along[:, 1, :, 16:] = 1
    across = torch.zeros(1, 2, 16, 32)
    across[:, 0, :8] = across[:, 1, 8:] = 1
    good, bad, unsure = (dense_energy_loss(rgb, p) for p in (along, across, torch.full((1, 2, 16, 32), 0.5)))
    assert good < 0.02 < bad
    assert unsure == pytest.approx(0.5, abs=0.05)  # every neighbour disagrees by half
    # Descent leads from unsure labels with a hint to labels along the edge.
    logits = (along * 0.2).clone().requires_grad_()
    for _ in range(20):
        (gradient,) = torch.autograd.grad(dense_energy_loss(rgb, logits.softmax(dim=1)), logits)
        logits = (logits - 400 * gradient).detach().requires_grad_()
    assert (logits.argmax(dim=1) == along.argmax(dim=1)).all()
    assert dense_energy_loss(rgb, logits.softmax(dim=1)) < 0.3


def test_resolution_hardly_matters_when_normalised():
    rgb, p = picture(7, (32, 40)), draw_probs(8, (1, 4, 8, 10))
    fine = dense_energy_loss(rgb, torch.nn.functional.interpolate(p, size=(32, 40)), scale=1.0)
    coarse = dense_energy_loss(rgb, torch.nn.functional.interpolate(p, size=(32, 40)), scale=0.5)
    assert coarse.item() == pytest.approx(fine.item(), rel=0.1)
    other = dense_energy_loss(rgb, p)  # resized to the picture's half
    assert other.item() == pytest.approx(coarse.item(), rel=0.1)


def test_nothing_valid_costs_nothing():
    rgb, p = torch.cat([picture(9), picture(10)]), draw_probs(11, (2, 3, 20, 28)).requires_grad_()
    valid = torch.zeros(2, 20, 28, dtype=torch.bool)
    loss = dense_energy_loss(rgb, p, valid=valid)
    loss.backward()
    assert loss.item() == 0
    assert (p.grad == 0).all()
    valid[1] = True
    half = dense_energy_loss(rgb, p, valid=valid)
    assert half.item() == pytest.approx(dense_energy_loss(rgb[1:], p[1:]).item() / 2, rel=1e-6)


def test_half_precision_and_threads():
    rgb, p = picture(12), draw_probs(13, (1, 3, 20, 28), torch.float32).requires_grad_()
    expected = dense_energy_loss(rgb, p, num_threads=1)
    for n in (2, 5):
        assert dense_energy_loss(rgb, p, num_threads=n).item() == expected.item()
    half = p.detach().bfloat16().requires_grad_()
    loss = dense_energy_loss(rgb, half)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=0.02)
    loss.backward()
    assert half.grad.dtype == torch.bfloat16


RGB, PROBS = picture(14, (6, 8), 3), draw_probs(15, (1, 2, 6, 8))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: dense_energy_loss(RGB[0], PROBS), ShapeError, r"rgb must have shape \[B, 3, H, W\]"),
        (lambda: dense_energy_loss(RGB[:, :1], PROBS), ShapeError, "rgb must have shape"),
        (lambda: dense_energy_loss(RGB.float(), PROBS), DtypeError, "rgb must be uint8; got torch.float32"),
        (lambda: dense_energy_loss(RGB, PROBS[0]), ShapeError, "probs must have shape"),
        (lambda: dense_energy_loss(RGB, torch.cat([PROBS] * 2)), ShapeError, "with B = 1"),
        (lambda: dense_energy_loss(RGB, PROBS.long()), DtypeError, "probs must be floating"),
        (lambda: dense_energy_loss(RGB, PROBS * torch.nan), DataError, "probs must be finite"),
        (lambda: dense_energy_loss(RGB, PROBS, valid=torch.ones(1, 6, 7) > 0), ShapeError, r"\[1, 6, 8\]; got"),
        (lambda: dense_energy_loss(RGB, PROBS, valid=torch.ones(1, 6, 8)), DtypeError, "valid must be bool"),
        (lambda: dense_energy_loss(RGB, PROBS, scale=0), RangeError, "scale must be in"),
        (lambda: dense_energy_loss(RGB, PROBS, scale=2), RangeError, "scale must be in"),
        (lambda: dense_energy_loss(RGB, PROBS, sigma_rgb=-1), RangeError, "sigma_rgb must be in"),
        (lambda: dense_energy_loss(RGB, PROBS, sigma_xy=np.inf), RangeError, "sigma_xy must be in"),
        (lambda: dense_energy_loss(RGB, PROBS, normalization="mean"), RangeError, "normalization must be one of"),
        (lambda: dense_energy_loss(RGB, PROBS, num_threads=0), RangeError, "num_threads must be None"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=f"dense_energy_loss: .*{message}"):
        call()
