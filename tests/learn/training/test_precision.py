"""Gradient scaling: a step whose gradient overflows is left out, and the scale survives a checkpoint."""

import math

import pytest

torch = pytest.importorskip("torch")

from alseg_fast.errors import AlsegError, UsageError  # noqa: E402
from alseg_fast.learn.training.precision import Precision  # noqa: E402


@pytest.fixture
def scaled():
    """As on CUDA with float16, but with torch's scaler for the CPU."""
    precision = Precision("off", torch.device("cpu"))
    precision._scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    return precision


@pytest.fixture
def weight():
    return torch.nn.Parameter(torch.ones(2))


def step(precision, weight, optimiser, factor, clip=None):
    optimiser.zero_grad()
    norm = precision.backward((weight * factor).sum(), optimiser, [weight], clip)
    precision.step(optimiser)
    return norm


def test_gradients_are_unscaled_before_they_are_clipped(scaled, weight):
    optimiser = torch.optim.SGD([weight], lr=1.0)
    assert step(scaled, weight, optimiser, 3.0, clip=1.0) == pytest.approx(3 * math.sqrt(2))
    assert weight.tolist() == pytest.approx([1 - 1 / math.sqrt(2)] * 2)


def test_an_overflow_leaves_the_step_out_and_halves_the_scale(scaled, weight):
    optimiser = torch.optim.SGD([weight], lr=1.0)
    assert step(scaled, weight, optimiser, float("inf")) is None
    assert weight.tolist() == [1.0, 1.0]
    assert scaled.state_dict()["scale"]["scale"] == 4.0


def test_endless_overflow_is_an_error(scaled, weight):
    optimiser = torch.optim.SGD([weight], lr=1.0)
    for _ in range(50):
        assert step(scaled, weight, optimiser, float("inf")) is None
    with pytest.raises(AlsegError, match="overflows float16 in 51 steps in a row; set amp = off"):
        step(scaled, weight, optimiser, float("inf"))


def test_the_scale_survives(scaled, weight):
    optimiser = torch.optim.SGD([weight], lr=0.1)
    step(scaled, weight, optimiser, float("inf"))
    other = Precision("off", torch.device("cpu"))
    other._scaler = torch.amp.GradScaler("cpu")
    other.load_state_dict(scaled.state_dict())
    assert other.state_dict() == scaled.state_dict()


def test_on_the_cpu_nothing_is_mixed():
    assert Precision("auto", torch.device("cpu")).kind == "off"
    with Precision("auto", torch.device("cpu")).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    with pytest.raises(UsageError, match="got float16; it needs a CUDA device"):
        Precision("float16", torch.device("cpu"))
