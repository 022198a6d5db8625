"""One test from the operation's case list: the native back end at every instruction set against the reference.

The Triton kernels go through the same cases and the same rule in test_uncertainty_triton.py.
"""

import numpy as np
import pytest

from alseg_fast.kernels.uncertainty import uncertainty as op
from alseg_fast.kernels.uncertainty.cases import CASES, make_inputs
from parity import assert_parity, truth_of


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def prepared(request):
    inputs = make_inputs(request.param)
    return inputs, truth_of(inputs)


def test_native_equals_the_reference_on_every_case(simd_level, prepared):
    inputs, truth = prepared
    raw = op.implementation("native")(inputs.logits, inputs.request, inputs.valid, inputs.segments)
    assert_parity(raw, inputs, truth)


def test_parity_can_fail(prepared):
    inputs, truth = prepared
    raw = op.implementation("native")(inputs.logits, inputs.request, inputs.valid, inputs.segments)
    assert raw.maps, "every case asks for maps"
    measure = next(iter(raw.maps))
    index = np.unravel_index(0 if inputs.valid is None else np.argmax(inputs.valid), raw.maps[measure].shape)
    raw.maps[measure][index] += 0.5
    with pytest.raises(AssertionError):
        assert_parity(raw, inputs, truth)
