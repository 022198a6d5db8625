"""Every map function on networks as they are built: all poolings, an auxiliary classifier, a transformer."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from alseg_fast.learn.losses.equivariance import equivariance_loss, transformed_pair  # noqa: E402
from alseg_fast.learn.maps.cams import (  # noqa: E402
    activation_maps,
    full_resolution_cams,
    normalise_cams,
    published_wsl_mask,
    teacher_maps,
)
from alseg_fast.learn.maps.erasing import erase  # noqa: E402
from alseg_fast.learn.maps.hide_and_seek import hide_and_seek  # noqa: E402
from alseg_fast.learn.maps.smoothgrad import smoothgrad  # noqa: E402
from alseg_fast.learn.networks.build import build_network  # noqa: E402
from alseg_fast.learn.networks.heads import HEADS  # noqa: E402

TAGS = torch.tensor([[1, 0, 1], [0, 1, 0]])
SIZE = (48, 64)


@pytest.fixture
def images():
    return torch.randn((2, 3, *SIZE), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pooling", list(HEADS))
def test_maps_of_every_pooling(pooling, images):
    network = build_network(encoder="light", n_tags=3, n_classes=4, pooling=pooling, decoder="none", seed=1).train()
    made = teacher_maps(network, images, TAGS, size=SIZE)
    assert made.cams.shape == (2, 3, *SIZE)
    assert made.aux_cams is None
    assert made.seg_logits is None
    assert torch.equal(made.cams.flatten(2).amax(2) > 0.99, TAGS == 1)
    assert all(module.training for module in network.modules())
    outputs = network.eval()(images)
    full = full_resolution_cams(outputs.cams, SIZE)
    mask = published_wsl_mask(outputs.cams, torch.tensor([0, 1]), SIZE)
    assert np.mean((full.argmax(1) == torch.tensor([[[0]], [[1]]])).numpy() == mask.numpy()) > 0.999
    assert smoothgrad(network, images, TAGS, n=2).maps.any()
    # One scale without its mirror image is the normalised map of the network itself.
    plain = normalise_cams(normalise_cams(outputs.cams, TAGS), TAGS, "minmax")
    torch.testing.assert_close(activation_maps(network, images, TAGS), plain.detach(), rtol=1e-3, atol=1e-3)
    assert erase(images, outputs.cams, 0.5, tags=TAGS).eq(0).all(1).any()


def test_auxiliary_maps_and_segmentation(images):
    network = build_network(encoder="light", n_tags=3, n_classes=4, pooling="max", decoder="largefov", aux_tags=True)
    made = teacher_maps(network, images, TAGS, scales=(1.0, 0.5, 1.5))
    assert made.cams.shape == made.aux_cams.shape
    assert made.seg_logits.shape[:2] == (2, 4)
    assert torch.isfinite(made.seg_logits).all()


def test_a_transformer_sees_scaled_pictures():
    network = build_network(
        encoder="vit_tiny", n_tags=3, n_classes=4, pooling="max", decoder="none", aux_tags=True, image_size=32
    )
    images = torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    made = teacher_maps(network, images, TAGS, scales=(1.0, 0.6, 1.7))
    assert made.cams.shape == made.aux_cams.shape == (2, 3, 2, 2)


def test_the_equivariance_loss_trains_a_network(images):
    network = build_network(encoder="light", n_tags=3, n_classes=4, pooling="average", decoder="none", seed=2).eval()
    optimiser = torch.optim.SGD(network.parameters(), 0.05)
    losses = []
    first, second = transformed_pair(hide_and_seek(images, np.random.default_rng(0)), scale=0.5)
    for _ in range(8):
        loss = equivariance_loss(network(first).cams, network(second).cams, TAGS)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_says_the_same(images):
    network = build_network(encoder="light", n_tags=3, n_classes=4, pooling="average", decoder="none", seed=1).eval()
    maps, gradients = teacher_maps(network, images, TAGS).cams, smoothgrad(network, images, TAGS, n=3)
    mask = published_wsl_mask(network(images).cams, torch.tensor([0, 1]), SIZE)
    network, there = network.cuda(), images.cuda()
    made = teacher_maps(network, there, TAGS.cuda()).cams
    assert made.is_cuda
    torch.testing.assert_close(made.cpu(), maps, rtol=0, atol=0.02)
    found = smoothgrad(network, there, TAGS.cuda(), n=3)
    assert float((found.maps.cpu() - gradients.maps).abs().mean()) < 0.05 * float(gradients.maps.mean())
    assert (
        float((published_wsl_mask(network(there).cams, torch.tensor([0, 1]), SIZE).cpu() == mask).float().mean()) > 0.98
    )
    hidden = hide_and_seek(there, np.random.default_rng(0), sizes=(16,))
    assert torch.equal(hidden.cpu(), hide_and_seek(images, np.random.default_rng(0), sizes=(16,)))
    assert erase(there, network(there).cams, tags=TAGS.cuda()).is_cuda
