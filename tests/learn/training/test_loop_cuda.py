"""The loop on a GPU: mixed precision of every kind, and going on after a stop."""

import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)

from alseg_fast.learn.training.loop import train_stage  # noqa: E402
from toy_method import STAGE, ToyBatches, ToyMethod, dataset, weights_of  # noqa: E402


class Stop(Exception):
    pass


class StopAfter:
    def __init__(self, steps):
        self.steps = steps

    def step(self, stage, done, *rest):
        if done == self.steps:
            raise Stop

    def __getattr__(self, name):
        return lambda *values: None


def train(directory, amp, log=None):
    method = ToyMethod(device="cuda")
    stage = STAGE.model_copy(update={"amp": amp})
    given = {"validation": dataset(), "seed": 7, "device": "cuda:0", "log": log}
    return method, train_stage(method, ToyBatches(), stage, directory=directory, **given)


@pytest.mark.parametrize("amp", ["off", "auto", "bfloat16", "float16"])
def test_it_learns_and_repeats_itself_after_a_stop(tmp_path, amp):
    whole, result = train(tmp_path / "whole", amp)
    assert result.figures["score"] > 0.9
    assert next(whole.network.parameters()).dtype == torch.float32
    with pytest.raises(Stop):
        train(tmp_path / "half", amp, StopAfter(13))
    again, _ = train(tmp_path / "half", amp)
    assert weights_of(again) == weights_of(whole)
