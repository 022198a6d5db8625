"""The Triton kernels under Triton's interpreter, on CPU tensors; test_uncertainty_triton.py runs this file.

Triton decides when it is imported whether it interprets, so these tests need a process of their own, with
TRITON_INTERPRET=1 from its start.
"""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch

from alseg_fast.kernels.uncertainty import reference as definition
from alseg_fast.kernels.uncertainty import triton_gpu
from alseg_fast.kernels.uncertainty.cases import CASES, Case, make_inputs
from alseg_fast.kernels.uncertainty.common import BAD_SEGMENT, MEASURES, NOT_FINITE, OUT_OF_RANGE, Raw
from alseg_fast.kernels.uncertainty.triton_axes import best_rows, cut_bands
from alseg_fast.kernels.uncertainty.triton_launch import tiles_for
from alseg_fast.kernels.uncertainty.triton_top import top_mean
from parity import assert_parity, truth_of

torch.set_num_threads(1)

# The interpreter computes with NumPy, which warns where the device just overflows.
pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
SINGLE, PASSES, WIDE = (1, 1, 3, 2, 3), (1, 3, 3, 2, 3), (1, 2, 22, 1, 2)  # one shape for each kernel of the softmax


@pytest.fixture(autouse=True)
def poisoned_tensors(monkeypatch):
    """Fresh results hold NaN or 0x7F, so an element that no kernel wrote is seen."""

    def empty(shape, dtype, device):
        tensor = torch.empty(shape, dtype=dtype, device=device)
        return tensor.fill_(torch.nan if dtype.is_floating_point else 0x7F)

    monkeypatch.setattr(triton_gpu, "empty", empty)


def tensor_of(array):
    """A tensor with the array's memory and strides."""
    return None if array is None else torch.from_numpy(array)


def logits_of(inputs):
    if inputs.request.bfloat16:
        return torch.from_numpy(inputs.logits.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(inputs.logits)


def run(inputs, out=None, **changes):
    request = dataclasses.replace(inputs.request, **changes)
    return triton_gpu.uncertainty(logits_of(inputs), request, tensor_of(inputs.valid), tensor_of(inputs.segments), out)


def as_numpy(raw):
    fields = {f.name: getattr(raw, f.name) for f in dataclasses.fields(Raw)}
    maps = {name: m.numpy() for name, m in fields.pop("maps").items()}
    return Raw(maps=maps, **{name: None if x is None else x.numpy() for name, x in fields.items()})


def inputs_of(*arguments, **options):
    return make_inputs(Case("a test's own", *arguments, **options))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_the_reference(case):
    inputs = make_inputs(case)
    assert_parity(as_numpy(run(inputs)), inputs)


def test_parity_can_fail():
    inputs = inputs_of((1, 1, 3, 2, 2), (5, 9))
    truth = truth_of(inputs)
    good = as_numpy(run(inputs))
    assert_parity(good, inputs, truth)
    for spoil, message in (
        (lambda raw: raw.maps["entropy"].__setitem__((0, -1, -1), np.nan), "entropy"),
        (lambda raw: raw.maps["margin"].__setitem__((0, 2, 3), raw.maps["margin"][0, 2, 3] + 3e-6), "margin"),
        (lambda raw: raw.labels.__setitem__(0, (raw.labels[0] + 1) % 3), "labels differ"),
        (lambda raw: raw.top.__iadd__(1e-4), "entropy top"),
        (lambda raw: raw.class_count.__iadd__(1), "Arrays are not equal"),
    ):
        bad = copy.deepcopy(good)
        spoil(bad)
        with pytest.raises(AssertionError, match=message):
            assert_parity(bad, inputs, truth)


@pytest.mark.parametrize("shape", [SINGLE, PASSES, WIDE], ids=["single", "passes", "wide"])
def test_every_candidate_tile_gives_the_same_bits(monkeypatch, shape):
    inputs = inputs_of(shape, (9, 35), segments=3)
    call = triton_gpu.describe(logits_of(inputs), inputs.request, None, tensor_of(inputs.segments), None)
    tiles = tiles_for(call)
    assert len(tiles) > 1
    results = []
    for tile in tiles:
        monkeypatch.setattr(triton_gpu, "choose", lambda *arguments, tile=tile: tile)
        results.append(as_numpy(run(inputs)))
    first = results[0]
    for other in results[1:]:
        for name in MEASURES:
            np.testing.assert_array_equal(other.maps[name], first.maps[name])
        for name in ("labels", "mean", "max", "top", "class_sum", "segment_sum", "segment_class"):
            np.testing.assert_array_equal(getattr(other, name), getattr(first, name))


@pytest.mark.parametrize(
    ("activation", "shape"),
    [("softmax", SINGLE), ("softmax", PASSES), ("softmax", WIDE), ("sigmoid", (1, 2, 2, 2, 3))],
    ids=["single", "passes", "wide", "binary"],
)
def test_a_measure_alone_equals_the_measure_among_all(activation, shape):
    inputs = inputs_of(shape, (2, 3), activation)
    whole = as_numpy(run(inputs))
    for k, measure in enumerate(MEASURES):
        alone = as_numpy(run(inputs, measures=(measure,), labels=False, class_stats=False))
        assert list(alone.maps) == [measure]
        # The variance changes how the mean over passes is added up.
        np.testing.assert_allclose(alone.maps[measure], whole.maps[measure], rtol=0, atol=5e-7)
        for column in ("mean", "max", "top"):
            np.testing.assert_allclose(getattr(alone, column)[:, k], getattr(whole, column)[:, k], rtol=0, atol=5e-7)
        assert alone.labels is None
        assert alone.class_count is None


def test_reductions_need_no_maps():
    inputs = inputs_of((2, 1, 3, 2, 3), (5, 9), valid="some")
    whole, bare = as_numpy(run(inputs)), as_numpy(run(inputs, maps=False, labels=False, class_stats=False))
    assert bare.maps == {}
    assert bare.labels is None
    for column in ("mean", "max", "top"):
        np.testing.assert_array_equal(getattr(bare, column), getattr(whole, column))
    nothing = as_numpy(run(inputs, measures=(), maps=False, top_fraction=None, sums=False))
    np.testing.assert_array_equal(nothing.labels, whole.labels)
    np.testing.assert_array_equal(nothing.class_count, whole.class_count)
    assert nothing.top is None
    assert np.isnan(nothing.mean).all()


def test_mean_does_not_depend_on_the_class_sums():
    inputs = inputs_of((1, 1, 3, 2, 3), (5, 9))
    np.testing.assert_array_equal(run(inputs).mean, run(inputs, class_stats=False).mean)


def test_out_is_written_again():
    first = run(inputs_of((1, 1, 3, 2, 3), (5, 9)))
    memory = first.maps["entropy"]
    inputs = inputs_of((1, 1, 3, 2, 3), (5, 9), fill="constant")
    second = run(inputs, out=first)
    assert second.maps["entropy"] is memory
    assert second.labels is first.labels
    assert_parity(as_numpy(second), inputs)


@pytest.mark.parametrize(
    ("bad", "activation", "passes", "size"),
    [
        (np.nan, "softmax", 1, (5, 7)),
        (np.inf, "softmax", 2, (2, 2)),
        (-np.inf, "softmax", 1, (4, 4)),
        (np.inf, "softmax", 1, (1, 1)),
        (np.nan, "sigmoid", 2, (2, 2)),
        (np.inf, "sigmoid", 1, (5, 7)),
        (np.nan, "probabilities", 1, (2, 2)),
        (-np.inf, "probabilities", 2, (5, 7)),
    ],
)
def test_not_finite_scores_mark_their_image_only(bad, activation, passes, size):
    inputs = inputs_of((2, passes, 3, 4, 4), size, activation, segments=2)
    clean = as_numpy(run(inputs))
    inputs.logits[1, -1, 2, 3, 3] = bad
    marked = as_numpy(run(inputs))
    assert (marked.status & NOT_FINITE).tolist() == [0, NOT_FINITE]
    for column in ("mean", "max", "top", "segment_sum"):
        np.testing.assert_array_equal(getattr(marked, column)[0], getattr(clean, column)[0])
    assert marked.labels.max() < 3


def test_values_that_are_no_probabilities_are_marked():
    inputs = inputs_of((2, 1, 3, 2, 2), (3, 3), "probabilities")
    inputs.logits[1, 0, 0, 1, 1] = 1.01
    assert run(inputs).status.tolist() == [0, OUT_OF_RANGE]
    inputs.logits[1, 0, 0, 1, 1] = -0.0019
    assert run(inputs).status.tolist() == [0, 0]


def test_segments_out_of_range_are_marked_and_never_written():
    inputs = inputs_of((5, 1, 3, 1, 2), (3, 7), segments=4)
    clean = as_numpy(run(inputs))
    for i, bad in enumerate((-1, 4, -(2**31), 2**31 - 1)):
        inputs.segments[i, 2, 6] = bad
    marked = as_numpy(run(inputs))
    reference = definition.uncertainty(inputs.logits, inputs.request, None, inputs.segments)
    assert marked.status.tolist() == reference.status.tolist() == [BAD_SEGMENT] * 4 + [0]
    for name in ("segment_area", "segment_sum", "segment_class"):
        assert (getattr(marked, name)[:4] == 0).all()
        np.testing.assert_array_equal(getattr(marked, name)[4], getattr(clean, name)[4])
    for name in ("class_count", "class_sum", "mean", "max", "top"):
        np.testing.assert_array_equal(getattr(marked, name), getattr(clean, name))


def test_constant_added_to_the_logits_changes_nothing():
    inputs = inputs_of((1, 1, 4, 3, 3), (7, 9))
    rounded = dataclasses.replace(inputs, logits=np.round(inputs.logits * 64) / 64)
    moved = dataclasses.replace(rounded, logits=rounded.logits + np.float32(1e4))
    assert (moved.logits - np.float32(1e4) == rounded.logits).all()
    plain, far = as_numpy(run(rounded)), as_numpy(run(moved))
    for name in MEASURES:
        # The largest score goes before anything is rounded.
        np.testing.assert_array_equal(far.maps[name], plain.maps[name])


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "probabilities"])
def test_entropy_is_expected_entropy_plus_information(activation):
    raw = as_numpy(run(inputs_of((1, 5, 3, 3, 3), (7, 9), activation)))
    total = raw.maps["expected_entropy"] + raw.maps["mutual_information"]
    np.testing.assert_allclose(raw.maps["entropy"], total, rtol=0, atol=3e-7)
    assert (raw.maps["mutual_information"] >= 0).all()


@pytest.mark.parametrize("shape", [SINGLE, PASSES, WIDE], ids=["single", "passes", "wide"])
def test_equal_logits_have_the_highest_entropy(shape):
    raw = as_numpy(run(inputs_of(shape, (3, 5), fill="constant")))
    assert raw.maps["entropy"] == pytest.approx(math.log(shape[2]), abs=1e-6)
    assert (raw.labels == 0).all()
    assert (raw.maps["variance"] == 0).all()
    assert (raw.maps["variation_ratio"] == 0).all()


def test_top_mean_is_exact_with_ties_and_masks():
    rng = np.random.default_rng(0)
    values = np.round(rng.gamma(1.0, size=(2, 3, 90, 111)), 2).astype(np.float32)  # [K, N, H, W]
    values[0, 1] = 0.25
    valid = rng.random((3, 90, 111)) < 0.7
    valid[2] = False
    values = np.where(valid, values, 0).astype(np.float32)
    n_valid = valid.sum((1, 2))
    for fraction in (1e-9, 0.05, 0.5, 1.0):
        top = top_mean(tuple(map(torch.from_numpy, values)), torch.from_numpy(n_valid), fraction, 2.0**30).numpy()
        for k in range(2):
            for i in range(2):
                count = max(1, math.ceil(fraction * n_valid[i] - 1e-9))
                own = np.sort(values[k, i][valid[i]].astype(np.float64))[::-1][:count].mean()
                assert top[i, k] == pytest.approx(own, abs=1e-8)
        assert np.isnan(top[2]).all()


def test_bands_hold_rows_between_the_same_source_rows():
    index = np.array([0, 0, 0, 1, 1, 3, 3, 3, 3, 3], np.int32)
    assert cut_bands(index, 4).tolist() == [0, 3, 5, 9, 10]
    assert cut_bands(index, 1).tolist() == list(range(11))
    assert best_rows(np.repeat(np.arange(8), 16), 16) == 16
    assert best_rows(np.arange(8), 16) == 1
    assert best_rows(np.repeat(np.arange(8), 16), 8) == 8


def test_scratch_memory_bounds_a_launch(monkeypatch):
    inputs = inputs_of(WIDE, (3, 5))
    whole = as_numpy(run(inputs))
    monkeypatch.setattr("alseg_fast.kernels.uncertainty.triton_launch.SCRATCH_BYTES", 1)
    parts = as_numpy(run(inputs))
    for name in MEASURES:
        np.testing.assert_array_equal(parts.maps[name], whole.maps[name])
    np.testing.assert_array_equal(parts.mean, whole.mean)
