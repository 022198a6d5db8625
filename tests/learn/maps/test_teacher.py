"""The sum over scales and mirror images, against a loop that does one thing at a time."""

import pytest

from alseg_fast.errors import DataError, ModelError, RangeError, ShapeError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from alseg_fast.learn.maps.cams import activation_maps, teacher_maps  # noqa: E402
from alseg_fast.learn.networks.outputs import NetworkOutputs  # noqa: E402

K = 4


class Small(nn.Module):
    """Main maps at 1/2, auxiliary maps at full size, logits at 1/2; a dropout shows the mode."""

    def __init__(self, aux=True, cams=True):
        super().__init__()
        torch.manual_seed(3)
        self.early = nn.Conv2d(3, 6, 3, padding=1)
        self.late = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(6, 5, 3, stride=2, padding=1))
        self.main, self.auxiliary, self.segmentation = nn.Conv2d(5, K, 1), nn.Conv2d(6, K, 1), nn.Conv2d(5, 2, 1)
        self.aux, self.cams = aux, cams
        self.sizes = []

    def forward(self, images):
        self.sizes.append(tuple(images.shape[-2:]))
        early = torch.relu(self.early(images))
        late = torch.relu(self.late(early))
        cams, aux = self.main(late), self.auxiliary(early)
        return NetworkOutputs(
            cams.mean((2, 3)),
            cams if self.cams else None,
            aux.mean((2, 3)) if self.aux else None,
            aux if self.aux else None,
            self.segmentation(late),
        )


@pytest.fixture
def images():
    return torch.randn((3, 3, 20, 28), generator=torch.Generator().manual_seed(1))


TAGS = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.float32)


def plain(network, images, tags, scales, flip, size, field):
    """One picture, one tag, one scale, one direction at a time."""
    network.eval()
    made = torch.zeros((*tags.shape, *size))
    for b in range(len(images)):
        for k in range(tags.shape[1]):
            if not tags[b, k]:
                continue
            total = torch.zeros(size)
            for scale in scales:
                sides = [int(scale * s) for s in images.shape[-2:]]
                picture = F.interpolate(images[b : b + 1], sides, mode="bilinear") if scale != 1 else images[b : b + 1]
                seen = []
                for mirrored in (False, True) if flip else (False,):
                    out = getattr(network(picture.flip(-1) if mirrored else picture), field)[0, k]
                    out = out.flip(-1) if mirrored else out
                    seen.append(F.interpolate(out[None, None], size, mode="bilinear")[0, 0])
                total += torch.relu(torch.stack(seen).amax(0))
            total = total - total.min()
            made[b, k] = total / (total.max() + 1e-5)
    return made


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 0.5, 1.5)])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", [None, (20, 28), (7, 9)])
def test_maps_are_those_of_the_plain_loop(images, scales, flip, size):
    network = Small().eval()
    made = teacher_maps(network, images, TAGS, scales=scales, flip=flip, size=size)
    with torch.no_grad():
        for got, field in ((made.cams, "cams"), (made.aux_cams, "aux_cams")):
            expected = plain(network, images, TAGS, scales, flip, size or (10, 14), field)
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(activation_maps(network, images, TAGS, scales=scales, flip=flip, size=size), made.cams)
    aux = activation_maps(network, images, TAGS, scales=scales, flip=flip, size=size, aux=True)
    assert torch.equal(aux, made.aux_cams)


def test_auxiliary_maps_count_every_scale(images):
    network = Small().eval()
    whole = teacher_maps(network, images, TAGS, scales=(1.0, 0.5, 1.5), size=(10, 14))
    last = teacher_maps(network, images, TAGS, scales=(1.5,), size=(10, 14))
    assert (whole.aux_cams - last.aux_cams).abs().max() > 0.01


def test_segmentation_logits_add_up(images):
    network = Small().eval()
    made = teacher_maps(network, images, None, scales=(1.0, 0.5), size=(20, 28)).seg_logits
    expected = 0
    with torch.no_grad():
        for scale in (1.0, 0.5):
            picture = F.interpolate(images, [int(scale * s) for s in images.shape[-2:]], mode="bilinear")
            for mirrored in (False, True):
                out = network(picture.flip(-1) if mirrored else picture).seg_logits
                expected = expected + F.interpolate(out.flip(-1) if mirrored else out, (20, 28), mode="bilinear")
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)


def test_without_tags_every_map_is_made(images):
    network = Small().eval()
    made = teacher_maps(network, images, None, scales=(1.0, 0.5))
    torch.testing.assert_close(made.cams, teacher_maps(network, images, torch.ones(3, K), scales=(1.0, 0.5)).cams)


def test_pictures_without_tags_have_no_map(images):
    made = teacher_maps(Small(), images, torch.zeros(3, K))
    assert made.cams.shape == made.aux_cams.shape == (3, K, 10, 14)
    assert not made.cams.any()
    assert not made.aux_cams.any()


def test_flat_maps_are_zero_not_nan(images):
    network = Small()
    for head in (network.main, network.auxiliary):
        nn.init.zeros_(head.weight)
        nn.init.constant_(head.bias, 4.0)
    made = teacher_maps(network, images, TAGS)
    assert not made.cams.any()
    assert not made.aux_cams.any()


def test_modes_come_back_and_nothing_has_a_gradient(images):
    network = Small().train()
    network.auxiliary.eval()
    first = teacher_maps(network, images, TAGS)
    assert torch.equal(first.cams, teacher_maps(network, images, TAGS).cams)  # no dropout
    assert network.training
    assert network.late[0].training
    assert not network.auxiliary.training
    assert not first.cams.requires_grad
    assert not first.seg_logits.requires_grad


def test_modes_come_back_after_an_error(images):
    network = Small(cams=False).train()
    with pytest.raises(ModelError, match="no activation maps"):
        teacher_maps(network, images, TAGS)
    assert network.late[0].training


def test_sides_are_rounded_to_whole_patches(images):
    network = Small()
    teacher_maps(network, images, TAGS, scales=(1.0, 0.5, 1.5), multiple=8)
    assert network.sizes == [(16, 32), (8, 16), (32, 40)]


def test_a_network_without_an_auxiliary_classifier(images):
    network = Small(aux=False)
    assert teacher_maps(network, images, TAGS).aux_cams is None
    with pytest.raises(ModelError, match="aux_tags=True"):
        activation_maps(network, images, TAGS, aux=True)


def test_wrong_arguments_are_named(images):
    network = Small()
    for scales in ((), (0.0,), (1.0, -1.0)):
        with pytest.raises(RangeError, match="scales must be positive"):
            teacher_maps(network, images, TAGS, scales=scales)
    with pytest.raises(RangeError, match="multiple must be at least 1"):
        activation_maps(network, images, TAGS, multiple=0)
    with pytest.raises(ShapeError, match="activation_maps: images must have shape"):
        activation_maps(network, images[0], TAGS)
    with pytest.raises(ShapeError, match="tags must have shape"):
        activation_maps(network, images, TAGS[:2])
    images[1, 0, 0, 0] = float("nan")
    with pytest.raises(DataError, match="of image 1"):
        activation_maps(network, images, TAGS)
