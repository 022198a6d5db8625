"""The Triton region impurity under Triton's interpreter, on CPU tensors; test_neighbourhoods.py runs this file."""

import numpy as np
import pytest
import torch

from alseg_fast.kernels.region_impurity import triton_gpu
from alseg_fast.kernels.region_impurity.common import BAD_LABEL, NOT_FINITE
from alseg_fast.kernels.region_impurity.reference import region_impurity

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")


@pytest.mark.parametrize("radius", [0, 1, 4, 50])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_definition(radius, masked, weighted):
    rng = np.random.default_rng(radius)
    labels = rng.integers(0, 5, (2, 5, 4)).repeat(5, axis=1).repeat(6, axis=2).astype(np.uint8)
    entropy = rng.random(labels.shape, np.float32) if weighted else None
    valid = rng.random(labels.shape) < 0.8 if masked else None
    tensors = [None if a is None else torch.from_numpy(a) for a in (labels, entropy, valid)]
    got, status = triton_gpu.region_impurity(*tensors, 5, radius)
    assert status == 0
    expected, _ = region_impurity(labels, entropy, valid, 5, radius)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


def test_status():
    labels = torch.tensor([[[0, 7]]])
    assert triton_gpu.region_impurity(labels, None, None, 3, 1)[1] == BAD_LABEL
    assert triton_gpu.region_impurity(labels, None, labels < 3, 3, 1)[1] == 0
    entropy = torch.tensor([[[0.0, float("nan")]]])
    assert triton_gpu.region_impurity(labels * 0, entropy, None, 3, 1)[1] == NOT_FINITE
