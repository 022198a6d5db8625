"""ResNet encoders: torchvision's names, sizes and arithmetic."""

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from alseg_fast.errors import RangeError  # noqa: E402
from alseg_fast.learn.networks.build import build_network  # noqa: E402
from alseg_fast.learn.networks.resnet import resnet18, resnet50  # noqa: E402

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def torchvision_names(depths, convolutions, bottleneck):
    """The state dict keys of torchvision's ResNets, without fc."""
    names = ["conv1.weight", *(f"bn1.{n}" for n in NORM)]
    for layer, depth in enumerate(depths, 1):
        for block in range(depth):
            stem = f"layer{layer}.{block}"
            for i in range(1, convolutions + 1):
                names += [f"{stem}.conv{i}.weight", *(f"{stem}.bn{i}.{n}" for n in NORM)]
            if block == 0 and (layer > 1 or bottleneck):
                names += [f"{stem}.downsample.0.weight", *(f"{stem}.downsample.1.{n}" for n in NORM)]
    return names


def randomised(encoder, seed=0):
    """Random weights and statistics, so that every part of the arithmetic counts."""
    generator = torch.Generator().manual_seed(seed)
    encoder.initialise(generator)
    for name, value in encoder.state_dict().items():
        if name.endswith(("running_var", "bn1.weight", "bn2.weight", "downsample.1.weight")):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif name.endswith(("running_mean", "bias")):
            value.copy_(torch.randn(value.shape, generator=generator) * 0.2)
    return encoder.eval()


@pytest.mark.parametrize(
    ("make", "names", "parameters"),
    [
        (resnet18, torchvision_names((2, 2, 2, 2), 2, False), 11_176_512),
        (resnet50, torchvision_names((3, 4, 6, 3), 3, True), 23_508_032),
    ],
)
def test_names_and_numbers_are_those_of_torchvision(make, names, parameters):
    encoder = make()
    assert list(encoder.state_dict()) == names
    assert sum(p.numel() for p in encoder.parameters()) == parameters
    assert encoder.state_dict()["conv1.weight"].shape == (64, 3, 7, 7)
    assert encoder.state_dict()["layer4.0.downsample.0.weight"].shape[-2:] == (1, 1)


def plain_resnet18(state, x):
    """The five stages, from the names in a file alone."""

    def norm(x, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"])

    x = F.relu(norm(F.conv2d(x, state["conv1.weight"], stride=2, padding=3), "bn1"))
    stages = [x]
    x = F.max_pool2d(x, 3, 2, 1)
    for layer in range(1, 5):
        for block in range(2):
            stem, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = F.relu(norm(F.conv2d(x, state[f"{stem}.conv1.weight"], stride=stride, padding=1), f"{stem}.bn1"))
            y = norm(F.conv2d(y, state[f"{stem}.conv2.weight"], padding=1), f"{stem}.bn2")
            if f"{stem}.downsample.0.weight" in state:
                x = norm(F.conv2d(x, state[f"{stem}.downsample.0.weight"], stride=stride), f"{stem}.downsample.1")
            x = F.relu(x + y)
        stages.append(x)
    return stages


def test_resnet18_computes_what_the_names_say():
    encoder = randomised(resnet18())
    x = torch.randn(2, 3, 65, 97, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        got, expected = encoder(x).stages, plain_resnet18(encoder.state_dict(), x)
    assert [tuple(s.shape[2:]) for s in got] == [(33, 49), (17, 25), (9, 13), (5, 7), (3, 4)]
    assert tuple(s.shape[1] for s in got) == encoder.widths == (64, 64, 128, 256, 512)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("make", "output_stride"), [(resnet18, 16), (resnet18, 8), (resnet50, 8)])
def test_dilation_computes_the_strided_features_and_those_between(make, output_stride):
    strided, dilated = randomised(make()).double(), make(output_stride=output_stride).double()
    dilated.load_state_dict(strided.state_dict())
    x = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        coarse, fine = strided(x).stages[-1], dilated.eval()(x).stages[-1]
    step = 32 // output_stride
    assert dilated.strides == tuple(min(s, output_stride) for s in (2, 4, 8, 16, 32))
    assert fine.shape[2:] == (32 // output_stride, 64 // output_stride)
    torch.testing.assert_close(fine[..., ::step, ::step], coarse)


def test_a_block_can_be_listened_to():
    encoder = randomised(resnet18())
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        stages = encoder(x).stages
        for block, stage in ((-1, 4), (7, 4), (-3, 3), (1, 1)):
            assert torch.equal(encoder(x, block=block).block, stages[stage])
        assert encoder(x).block is None
    assert encoder.block_widths == (64, 64, 128, 128, 256, 256, 512, 512)


@pytest.mark.parametrize("encoder", ["light", "resnet18"])
@pytest.mark.parametrize("stride", [0, 4, 12, 64, "8"])
def test_an_output_stride_that_no_stage_has_is_refused(encoder, stride):
    with pytest.raises(RangeError, match="output_stride must be 8, 16 or 32; got"):
        build_network(encoder=encoder, n_tags=2, n_classes=2, output_stride=stride)
