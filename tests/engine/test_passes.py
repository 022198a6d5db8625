"""Models that give several passes an image, and models whose scores stay where they were computed."""

import numpy as np
import onnxruntime
import pytest

import alseg_fast as alseg
from alseg_fast.errors import ModelError, UsageError
from alseg_fast.runtimes.onnx import load_model
from alseg_fast.stages.prepare import fill, place
from alseg_fast.stages.score import Reducer, measure_range, to_host
from alseg_fast.types import MEASURES
from support import build_model, draw_picture, write_pictures

T = 4


@pytest.fixture
def model(tmp_path):
    return build_model(tmp_path / "passes.onnx", passes=T)


def logits_of(model, picture):
    """What ONNX Runtime alone says of a picture prepared as the engine prepares it."""
    spec = load_model(model).spec
    tensor = np.empty((3, *spec.input_size), np.float32)
    fill(spec, picture, place(spec, picture.shape[1], picture.shape[0]), tensor)
    return onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"]).run(
        None, {"image": tensor[None]}
    )[0]


@pytest.mark.parametrize("used", [None, 2, 1])
def test_scores_of_the_passes(model, used):
    picture = draw_picture(3)
    measures = MEASURES if used != 1 else MEASURES[:3]
    scorer = alseg.Scorer(model, measures=measures, mc_passes=used)
    result = scorer.score_images([picture], maps=True)[0]
    expected = alseg.uncertainty(logits_of(model, picture)[:, :used], scorer.spec.input_size, measures=measures)
    for name, value in expected.scores.items():
        assert result.scores[name] == value[0], name
    if used != 1:
        assert result.scores["mutual_information_mean"] > 0.01
    assert set(result.maps) == {*measures, "labels"}


def test_pool_is_scored_and_its_passes_are_part_of_the_run(model, tmp_path):
    pool = write_pictures(tmp_path / "pool", 5)
    scorer = alseg.Scorer(model, measures=("mutual_information",), mc_passes=3)
    scorer.score_pool(pool, tmp_path / "run")
    table = alseg.open_run(tmp_path / "run").scores()
    assert table.num_rows == 5
    assert min(table.column("mutual_information_mean").to_pylist()) > 0
    other = alseg.Scorer(model, measures=("mutual_information",), mc_passes=2)
    with pytest.raises(alseg.AlsegError, match="mc_passes"):
        other.score_pool(pool, tmp_path / "run")


def test_more_passes_than_the_model_gives(model):
    with pytest.raises(ModelError, match=r"gives 4 pass\(es\) an image, not 5; export it with that many"):
        alseg.Scorer(model, mc_passes=5)


def test_comparing_measures_need_passes(tiny_model):
    with pytest.raises(UsageError, match="mutual_information compares several passes, but one pass an image is scored"):
        alseg.Scorer(tiny_model, measures=("mutual_information",))


def test_no_map_leaves_its_stated_range(model):
    """Heatmaps are scaled by it: T certain passes that disagree are the worst case."""
    spec = load_model(model).spec
    z = np.full((1, T, 4, 1, 1), -40, np.float32)
    for t in range(T):
        z[0, t, t] = 40
    u = alseg.uncertainty(z, measures=MEASURES)
    for measure in ("mutual_information", "variance", "variation_ratio", "entropy"):
        low, high = measure_range(measure, spec)
        assert low == 0
        assert u.scores[f"{measure}_max"][0] == pytest.approx(high, abs=1e-6)


def test_scores_shared_through_dlpack_are_reduced_as_tensors(model):
    """The path of CUDA, with the CPU in the device's place: ONNX Runtime's memory becomes the tensor."""
    torch = pytest.importorskip("torch", reason="scores that stay on a device are torch tensors")
    from alseg_fast.runtimes.onnx_device import DeviceRunner

    loaded = load_model(model)
    runner = DeviceRunner(loaded._session, loaded.spec, "cpu")
    plain = loaded.runner()
    pictures = [draw_picture(i) for i in range(3)]
    buffer = runner.input_buffer(3, *loaded.spec.input_size)
    placement = place(loaded.spec, 60, 40)
    for picture, slot in zip(pictures, buffer, strict=True):
        fill(loaded.spec, picture, placement, slot)
    scores = runner.run(buffer)
    assert isinstance(scores, torch.Tensor)
    kept = scores.clone()
    np.testing.assert_array_equal(scores.numpy(), plain.run(buffer.copy()))
    runner.run(np.zeros_like(buffer))
    assert torch.equal(scores, kept), "the next run must not write into memory that was handed out"
    reducers = [Reducer(loaded.spec, MEASURES, "input", 0.05) for _ in range(2)]
    for i in range(3):
        here = reducers[0].reduce(kept[i : i + 1].numpy(), placement, (40, 60), maps=True)
        there = reducers[1].reduce(kept[i : i + 1], placement, (40, 60), maps=True)
        assert here.values.keys() == there.values.keys()
        for name, value in here.values.items():
            np.testing.assert_array_equal(value, there.values[name], err_msg=name)
        for name, heat in here.maps.items():
            np.testing.assert_array_equal(heat, there.maps[name], err_msg=name)


def test_tensors_travel_together():
    torch = pytest.importorskip("torch", reason="tensors are torch's")
    arrays = [torch.arange(3.0), torch.ones(1, 2), torch.zeros(2, 1)]
    for given, got in zip(arrays, to_host(arrays), strict=True):
        assert isinstance(got, np.ndarray)
        np.testing.assert_array_equal(got, given.numpy())
