"""SmoothGrad: the mean of gradients, copy by copy, by an independent loop and in closed form."""

import pytest

from alseg_fast.errors import DataError, ModelError, RangeError, ShapeError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from alseg_fast.learn.maps.smoothgrad import smoothgrad  # noqa: E402
from alseg_fast.learn.networks.outputs import NetworkOutputs  # noqa: E402

TAGS = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0]])


class Classifier(nn.Module):
    def __init__(self, smooth=True):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 5, 3, padding=1), nn.Tanh() if smooth else nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(5, 3, 3)
        )
        self.passes = []

    def forward(self, images):
        self.passes.append(len(images))
        return NetworkOutputs(self.layers(images).mean((2, 3)))


class Square(nn.Module):
    """S_0 = sum x^2 / 2: its gradient is the picture itself, so that the mean gradient is picture + mean noise."""

    def forward(self, images):
        return NetworkOutputs((images**2).flatten(1).sum(1, keepdim=True) / 2)


@pytest.fixture
def images():
    return torch.randn((3, 3, 9, 8), generator=torch.Generator().manual_seed(4))


def plain(network, image, tag, n, sigma, squared, seed):
    """[3, H, W]: one copy at a time."""
    network.eval()
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(image)
    for _ in range(n):
        noise = torch.randn(image.shape, generator=generator)
        copy = (image + sigma * (image.max() - image.min()) * noise).requires_grad_(True)
        network(copy[None]).tag_logits[0, tag].backward()
        total += copy.grad**2 if squared else copy.grad
    return total / n


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_maps_are_the_mean_over_copies(images, squared, chunk):
    network = Classifier().train()
    made = smoothgrad(network, images, TAGS, n=7, squared=squared, seed=11, channels="none", chunk=chunk)
    assert made.images.tolist() == [0, 0, 2]
    assert made.tags.tolist() == [0, 2, 1]
    assert network.training
    assert max(network.passes) <= chunk
    for got, b, k in zip(made.maps, made.images, made.tags, strict=True):
        torch.testing.assert_close(got, plain(network, images[b], k, 7, 0.15, squared, 11), rtol=1e-4, atol=1e-7)


def test_closed_form_with_the_stated_noise(images):
    made = smoothgrad(Square(), images[:1], torch.ones(1, 1), n=4000, sigma=0.2, channels="none", chunk=500).maps[0]
    deviation = 0.2 * float(images[0].max() - images[0].min())
    assert (made - images[0]).abs().max() < 5 * deviation / 4000**0.5
    squares = smoothgrad(Square(), images[:1], torch.ones(1, 1), n=4000, sigma=0.2, squared=True, channels="none")
    # E (x + e)^2 = x^2 + s^2
    torch.testing.assert_close(squares.maps[0].mean(), (images[0] ** 2).mean() + deviation**2, rtol=0.03, atol=0)


def test_colours_become_one_value(images):
    network = Classifier()
    signed = smoothgrad(network, images, TAGS, n=3, channels="none").maps
    assert torch.equal(smoothgrad(network, images, TAGS, n=3).maps, signed.abs().sum(1))
    assert torch.equal(smoothgrad(network, images, TAGS, n=3, channels="max").maps, signed.abs().amax(1))


def test_a_map_does_not_depend_on_the_rest_of_the_batch(images):
    network = Classifier()
    whole = smoothgrad(network, images, TAGS, n=5, seed=3)
    alone = smoothgrad(network, images[2:], TAGS[2:], n=5, seed=3)
    assert torch.equal(whole.maps[2], alone.maps[0])
    assert torch.equal(whole.maps, smoothgrad(network, images, TAGS, n=5, seed=3).maps)
    assert not torch.equal(whole.maps, smoothgrad(network, images, TAGS, n=5, seed=4).maps)


def test_a_constant_picture_has_its_plain_gradient(images):
    network = Classifier()
    constant = torch.full((1, 3, 9, 8), 0.7)
    made = smoothgrad(network, constant, TAGS[2:], n=50, channels="none").maps
    assert network.passes == [1]
    torch.testing.assert_close(made[0], plain(network, constant[0], 1, 1, 0.0, False, 0))
    zero = smoothgrad(network, images[:1], TAGS[:1], n=50, sigma=0.0, channels="none").maps
    torch.testing.assert_close(zero[0], plain(network, images[0], 0, 1, 0.0, False, 0))


def test_weights_get_no_gradient_and_frozen_networks_work(images):
    network = Classifier()
    smoothgrad(network, images, TAGS, n=2)
    assert all(p.grad is None for p in network.parameters())
    network.requires_grad_(False)
    with torch.no_grad():
        assert smoothgrad(network, images, TAGS, n=2).maps.any()
    assert not images.requires_grad


def test_no_tags_no_maps_and_the_dense_form(images):
    made = smoothgrad(Classifier(), images, torch.zeros(3, 3), n=2)
    assert made.maps.shape == (0, 9, 8)
    assert not made.dense(3, 3).any()
    some = smoothgrad(Classifier(), images, TAGS, n=2)
    dense = some.dense(3, 3)
    assert dense.shape == (3, 3, 9, 8)
    assert torch.equal(dense[0, 2], some.maps[1])
    assert torch.equal(dense.flatten(2).any(2), TAGS == 1)


def test_wrong_arguments_are_named(images):
    network = Classifier()
    for changes, text in (
        ({"n": 0}, "n must be at least 1"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"sigma": -0.1}, "sigma must be a finite number"),
        ({"sigma": float("inf")}, "sigma"),
        ({"channels": "mean"}, "channels must be one of"),
    ):
        with pytest.raises(RangeError, match=text):
            smoothgrad(network, images, TAGS, **changes)
    with pytest.raises(ShapeError, match="tags must have shape"):
        smoothgrad(network, images, TAGS[:2])
    with pytest.raises(ShapeError, match="one column a tag of the network, 3; got 5"):
        smoothgrad(network, images, torch.ones(3, 5))
    with pytest.raises(ShapeError, match="images must have shape"):
        smoothgrad(network, images[0], TAGS)
    with pytest.raises(ModelError, match="no tag logits"):
        smoothgrad(Blind(), images, TAGS)
    images[0, 0, 0, 0] = float("nan")
    with pytest.raises(DataError, match="NaN or inf"):
        smoothgrad(network, images, TAGS, n=2)


class Blind(nn.Module):
    def forward(self, images):
        return NetworkOutputs(cams=images)
