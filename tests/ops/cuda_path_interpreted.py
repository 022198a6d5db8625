"""The public function on the path of CUDA tensors: CPU tensors stand in their place, Triton's interpreter in the GPU's.

test_cuda_path.py runs this file with TRITON_INTERPRET=1.
"""

import dataclasses

import numpy as np
import pytest
import torch

import alseg_fast as alseg
from alseg_fast.errors import DataError, DeviceError, RangeError, ShapeError
from alseg_fast.ops import uncertainty as public
from alseg_fast.ops import uncertainty_inputs
from alseg_fast.stages.prepare import Placement
from alseg_fast.stages.score import Reducer
from alseg_fast.types import MEASURES

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
SIZE = (12, 19)


@pytest.fixture
def on_device(monkeypatch):
    """Calls after this treat tensors as if they lay on a CUDA device."""
    import sys

    module = sys.modules["alseg_fast.ops.uncertainty"]
    take = uncertainty_inputs.take_scores

    def pretend(name, logits):
        if not isinstance(logits, torch.Tensor):
            return take(name, logits)
        with_passes = logits if logits.ndim == 5 else logits[:, None]
        return uncertainty_inputs.Scores(with_passes, "cuda", False, logits.device)

    monkeypatch.setattr(module, "take_scores", pretend)


def logits(shape, seed=0):
    return (np.random.default_rng(seed).normal(size=shape) * 3).astype(np.float32)


def assert_equal(device, host):
    for field in dataclasses.fields(host):
        here, there = getattr(host, field.name), getattr(device, field.name)
        if field.name == "_workspace" or here is None:
            continue
        pairs = {"": (here, there)} if not isinstance(here, dict) else {k: (here[k], there[k]) for k in here}
        for key, (expected, got) in pairs.items():
            assert isinstance(got, torch.Tensor), (field.name, key)
            assert str(got.dtype).removeprefix("torch.") == str(expected.dtype), (field.name, key)
            np.testing.assert_allclose(got.numpy(), expected, atol=3e-6, rtol=1e-5, err_msg=f"{field.name} {key}")


@pytest.mark.parametrize("shape", [(2, 4, 3, 5), (2, 3, 4, 3, 5)])
def test_everything_at_once(on_device, shape):
    z = logits(shape)
    rng = np.random.default_rng(1)
    valid, segments = rng.random((2, *SIZE)) < 0.8, rng.integers(0, 6, SIZE)
    options = {"measures": MEASURES, "class_stats": True, "temperature": 1.5, "n_segments": 8}
    host = public(z, SIZE, valid=valid, segments=segments, **options)
    device = public(
        torch.from_numpy(z), SIZE, valid=torch.from_numpy(valid), segments=torch.from_numpy(segments), **options
    )
    assert_equal(device, host)


def test_activation_maps(on_device):
    z, labels = logits((2, 3, 4, 4)), np.array([[1, 0, 1], [0, 1, 1]])
    options = {"activation": "cam", "measures": MEASURES, "class_stats": True}
    host = public(z, SIZE, image_labels=labels, **options)
    assert_equal(public(torch.from_numpy(z), SIZE, image_labels=torch.from_numpy(labels), **options), host)


def test_out_is_written_again(on_device):
    z = torch.from_numpy(logits((1, 3, 4, 4)))
    first = public(z, SIZE)
    second = public(z * 2, SIZE, out=first)
    assert second.maps["entropy"].data_ptr() == first.maps["entropy"].data_ptr()
    np.testing.assert_allclose(second.maps["entropy"].numpy(), public(z.numpy() * 2, SIZE).maps["entropy"], atol=3e-6)
    with pytest.raises(ShapeError, match="out must be the result of a call with the same shapes"):
        public(z, (3, 3), out=first)


def test_bad_input(on_device):
    z = torch.zeros(2, 3, 4, 4)
    z[1, 0, 0, 0] = torch.nan
    with pytest.raises(DataError, match=r"logits must be finite; images \[1\]"):
        public(z)
    marked = public(z, nan_policy="mark", class_stats=True)
    assert marked.finite.tolist() == [True, False]
    assert marked.scores["entropy_mean"].isnan().tolist() == [False, True]
    with pytest.raises(RangeError, match="segments must be ids from 0 to n_segments - 1 = 1; got 3 to 3"):
        public(z[:1], segments=torch.full((4, 4), 3, dtype=torch.int32), n_segments=2)
    with pytest.raises(DeviceError, match="valid must be on cpu like logits; got a ndarray on the CPU"):
        public(z[:1], valid=np.ones((4, 4), bool))


def test_engine_reduces_scores_where_they_are(on_device, monkeypatch):
    """What a CUDA session's logits go through: one row of numbers comes back."""
    from types import SimpleNamespace

    spec = SimpleNamespace(n_classes=4, activation="softmax", classes=("a", "b", "c", "d"))
    z = logits((1, 2, 4, 3, 5))
    placement = Placement(top=0, left=0, height=12, width=20, size=(12, 20))
    rows = [
        Reducer(spec, MEASURES, "input", 0.05).reduce(x, placement, (24, 40), maps=True)
        for x in (z, torch.from_numpy(z))
    ]
    assert rows[0].values.keys() == rows[1].values.keys()
    for name, value in rows[0].values.items():
        assert not isinstance(rows[1].values[name], torch.Tensor)
        np.testing.assert_allclose(rows[1].values[name], value, atol=3e-6, err_msg=name)
    for name, heat in rows[0].maps.items():
        assert np.abs(rows[1].maps[name].astype(int) - heat).max() <= 1, name


def test_public_name_is_the_function():
    assert alseg.uncertainty is public
