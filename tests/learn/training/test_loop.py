"""The training loop: the same weights whatever happens, early stopping, bad losses."""

import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from alseg_fast.errors import AlsegError, RunError, UsageError  # noqa: E402
from alseg_fast.learn.training.config import StageConfig  # noqa: E402
from alseg_fast.learn.training.loop import train_stage  # noqa: E402
from alseg_fast.learn.training.method import Losses  # noqa: E402
from toy_method import STAGE, ToyBatches, ToyMethod, batch_of, dataset, weights_of  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(directory, method=None, batches=None, stage=STAGE, **more):
    method = method or ToyMethod()
    more.setdefault("validation", dataset())
    more.setdefault("seed", 7)
    return method, train_stage(method, batches or ToyBatches(), stage, directory=directory, **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(weights, result) of an uninterrupted stage."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    method, result = train(tmp_path_factory.mktemp("whole"))
    torch.set_num_threads(before)
    return weights_of(method), result


class Recorder:
    def __init__(self):
        self.calls = []

    def start(self, *a):
        self.calls.append(("start", *a))

    def step(self, *a):
        self.calls.append(("step", *a))

    def figures(self, *a):
        self.calls.append(("figures", *a))

    def finish(self, *a):
        self.calls.append(("finish", *a))


class Stop(Exception):
    pass


class StopAfter(Recorder):
    """Stands for a kill between two steps: an exception that nothing expects."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def step(self, stage, done, *rest):
        super().step(stage, done, *rest)
        if done == self.steps:
            raise Stop


def test_it_learns_and_tells(whole):
    _, result = whole
    assert result.steps == 40
    assert result.why == "steps"
    assert [h["step"] for h in result.history] == [8, 16, 24, 32, 40]
    assert result.figures["score"] == max(h["score"] for h in result.history) > 0.9
    assert result.kept_step == result.best_step


def test_the_same_seed_gives_the_same_bits_and_another_does_not(whole, tmp_path):
    torch.rand(5)  # what the process did before does not matter
    method, result = train(tmp_path / "a")
    assert weights_of(method) == whole[0]
    assert result.history == whole[1].history
    other, _ = train(tmp_path / "b", seed=8)
    assert weights_of(other) != whole[0]


@pytest.mark.parametrize("step", [1, 2, 3, 8, 11, 24, 39, 40])
def test_going_on_after_a_stop_gives_the_same_bits(whole, tmp_path, step):
    with pytest.raises(Stop):
        train(tmp_path, log=StopAfter(step))
    events = Recorder()
    batches = ToyBatches()
    method, result = train(tmp_path, batches=batches, log=events)
    assert weights_of(method) == whole[0]
    assert result.history == whole[1].history
    # The last checkpoint before the stop: every third step and every evaluation.
    kept = max(s for s in range(step) if s == 0 or s % 3 == 0 or s % 8 == 0)
    assert events.calls[0] == ("start", "stage", 40, kept)
    assert batches.asked == [(kept, 40 - kept)]
    assert batches.closed


def test_a_stage_killed_at_any_instant_ends_with_the_same_bits(whole, tmp_path):
    """Two processes are killed at random instants, with a checkpoint every third step; the next one finishes."""
    command = [sys.executable, "-P", str(Path(__file__).parents[2] / "toy_method.py"), str(tmp_path)]
    killed_at = []
    for seed in range(2):
        before = newest(tmp_path)
        process = subprocess.Popen([*command, "0.04"])
        # Starting takes seconds and is no part of the stage: the clock runs from the first new checkpoint.
        end = time.monotonic() + 60
        while newest(tmp_path) == before and process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(random.Random(seed).uniform(0, 0.2))
        process.kill()
        process.wait()
        killed_at.append(newest(tmp_path))
    assert 0 < killed_at[0] <= killed_at[1] < 40
    subprocess.run([*command, "0"], check=True, timeout=120)
    assert (tmp_path / "weights.bin").read_bytes() == whole[0]


def newest(directory):
    return max(steps_in(directory), default=0)


def steps_in(directory):
    return [int(m[1]) for p in directory.iterdir() if (m := re.fullmatch(r"step-(\d+)\.pt", p.name))]


def test_a_finished_stage_returns_at_once(whole, tmp_path):
    train(tmp_path)
    events = Recorder()
    batches = ToyBatches()
    method, result = train(tmp_path, ToyMethod(seed=5), batches, log=events)
    assert weights_of(method) == whole[0]
    assert (result.history, result.figures) == (whole[1].history, whole[1].figures)
    assert batches.asked == []
    assert events.calls == [("start", "stage", 40, 40), ("finish", "stage", 40, "kept")]


def test_how_often_it_is_evaluated_does_not_change_what_is_learned(tmp_path):
    often = STAGE.model_copy(update={"evaluate_every": 5, "keep": "last"})
    never = STAGE.model_copy(update={"evaluate_every": None, "keep": "last"})
    a, _ = train(tmp_path / "a", stage=often)
    b, _ = train(tmp_path / "b", stage=never, validation=None)
    assert weights_of(a) == weights_of(b)


def test_no_steps_leave_the_method_as_it_is(tmp_path):
    method = ToyMethod()
    before = weights_of(method)
    _, result = train(tmp_path, method, stage=STAGE.model_copy(update={"steps": 0}))
    assert weights_of(method) == before
    assert result.steps == 0
    assert result.figures == {}


def test_settings_and_generators_are_as_before(tmp_path):
    torch.manual_seed(4)
    state = torch.get_rng_state()
    train(tmp_path, stage=STAGE.model_copy(update={"threads": 2, "steps": 3}))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == 1
    assert not torch.are_deterministic_algorithms_enabled()


# Early stopping


def stage_of(n, **more):
    return StageConfig(steps=n, batch_size=4, rate=0.01, evaluate_every=1, **more)


def test_patience_counts_evaluations_without_a_rise(tmp_path):
    scores = [0.5, 0.6, 0.55, 0.6, 0.1, 0.9]
    _, result = train(tmp_path, ToyMethod(scores=scores), stage=stage_of(6, patience=3))
    assert result.why == "patience"
    assert result.steps == 5
    assert result.best_step == 4  # of equal scores the later
    assert result.figures == {"score": 0.6, "other": 0.5}


def test_a_stop_by_patience_is_the_same_after_a_kill(tmp_path):
    scores = [0.5, 0.6, 0.55, 0.5, 0.9, 0.9]
    whole, result = train(tmp_path / "a", ToyMethod(scores=scores), stage=stage_of(6, patience=2))
    with pytest.raises(Stop):
        train(tmp_path / "b", ToyMethod(scores=scores), stage=stage_of(6, patience=2), log=StopAfter(3))
    again, other = train(tmp_path / "b", ToyMethod(scores=scores[2:]), stage=stage_of(6, patience=2))
    assert weights_of(again) == weights_of(whole)
    assert other.steps == result.steps == 4
    assert other.history == result.history


def test_killed_after_the_last_checkpoint_but_before_the_end(tmp_path):
    whole, result = train(tmp_path, ToyMethod(scores=[0.5, 0.6, 0.5, 0.5, 1.0]), stage=stage_of(5, patience=2))
    (tmp_path / "result.json").unlink()
    batches = ToyBatches()
    again, other = train(tmp_path, ToyMethod(seed=2, scores=[]), batches, stage=stage_of(5, patience=2))
    assert weights_of(again) == weights_of(whole)
    assert (other.steps, other.why, other.history) == (result.steps, "patience", result.history)
    assert batches.asked == []


def test_keep_last_and_keep_best(tmp_path):
    scores = [0.5, 0.9, 0.1]
    best, result = train(tmp_path / "best", ToyMethod(scores=scores), stage=stage_of(3))
    last, other = train(tmp_path / "last", ToyMethod(scores=scores), stage=stage_of(3, keep="last"))
    two, _ = train(tmp_path / "two", ToyMethod(scores=scores[:2]), stage=stage_of(2, keep="last"))
    assert (result.kept_step, other.kept_step) == (2, 3)
    assert weights_of(best) == weights_of(two) != weights_of(last)


@pytest.mark.parametrize("figures", [{}, {"score": float("nan")}, {"other": 1.0}])
def test_an_evaluation_without_a_score_is_an_error(tmp_path, figures):
    method = ToyMethod()
    method.evaluate = lambda data: figures
    with pytest.raises(AlsegError, match=r"main: evaluate must give a finite score; got .* after step 1\. Check"):
        train(tmp_path, method, stage=stage_of(2), name="main")


# Losses that cannot be used


def test_a_nan_loss_names_step_and_images_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(AlsegError) as error:
        train(tmp_path, batches=ToyBatches(nan_at=10), name="segmentation")
    text = str(error.value)
    ids = ", ".join(batch_of(10).image_ids)
    assert text.startswith("segmentation: the loss is not finite: loss = nan, mask = nan, small = nan, at step 10 with")
    assert f"images {ids};" in text
    assert f"last good checkpoint is {tmp_path}/step-00000009.pt" in text
    assert (tmp_path / "step-00000009.pt").exists()
    # With the bad image gone the stage goes on from there.
    batches = ToyBatches()
    method, _ = train(tmp_path, batches=batches)
    assert batches.asked[0][0] == 9
    assert np.isfinite(np.frombuffer(weights_of(method)[:64], np.float32)).all()


def test_a_nan_in_the_first_step_says_that_there_is_no_checkpoint(tmp_path):
    with pytest.raises(AlsegError, match=r"at step 0 .*there is no checkpoint yet"):
        train(tmp_path, batches=ToyBatches(nan_at=0))


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(tmp_path):
    class Root(ToyMethod):
        def losses(self, batch, step):
            # the square root at 0: a finite loss whose gradient is infinite
            weight = self.network[4].weight
            return Losses((weight - weight.detach()).abs().sum().sqrt() + 0 * super().losses(batch, step).total)

    method = Root()
    before = weights_of(method)
    with pytest.raises(AlsegError, match=r"the gradient is (nan|inf), at step 0 with the images image-0-0, image-0-1"):
        train(tmp_path, method)
    conv = method.network[0].weight.detach().numpy().tobytes()
    assert before.startswith(conv)


def test_a_loss_without_a_gradient_is_an_error(tmp_path):
    method = ToyMethod()
    method.losses = lambda batch, step: Losses(torch.zeros(()))
    with pytest.raises(AlsegError, match="must be a scalar with a gradient; got shape \\[\\], at step 0"):
        train(tmp_path, method)


def test_nothing_to_train_is_an_error(tmp_path):
    method = ToyMethod()
    method.network.requires_grad_(False)
    with pytest.raises(UsageError, match="parameter_groups must name a parameter with a gradient; got none"):
        train(tmp_path, method)


def test_batches_that_end_too_early_are_an_error(tmp_path):
    batches = ToyBatches()
    batches.stream = lambda first, n: (batch_of(i) for i in range(2))
    with pytest.raises(AlsegError, match="the batches ended after step 2 of 40"):
        train(tmp_path, batches=batches)


# Directories of other stages, damaged files


def test_another_stage_in_the_same_directory_is_refused(tmp_path):
    train(tmp_path / "done", stage=stage_of(2))
    other = stage_of(2).model_copy(update={"rate": 0.5})
    with pytest.raises(RunError, match=r"was trained with rate = 0\.01, now rate = 0\.5 is asked for"):
        train(tmp_path / "done", stage=other)
    with pytest.raises(Stop):
        train(tmp_path / "half", log=StopAfter(5))
    with pytest.raises(RunError, match="was trained with seed = 7, now seed = 8"):
        train(tmp_path / "half", seed=8)


def test_another_network_is_refused(tmp_path):
    with pytest.raises(Stop):
        train(tmp_path, log=StopAfter(5))
    method = ToyMethod()
    method.network[4] = torch.nn.Conv2d(4, 2, 1)
    with pytest.raises(RunError, match=r"step-00000003\.pt does not fit this method .*delete"):
        train(tmp_path, method)


@pytest.fixture
def half(tmp_path):
    with pytest.raises(Stop):
        train(tmp_path / "half", log=StopAfter(13))
    assert sorted(steps_in(tmp_path / "half")) == [9, 12]
    return tmp_path / "half"


def spoil(path, how):
    data = bytearray(path.read_bytes())
    if how == "cut":
        data = data[: len(data) // 2]
    elif how == "empty":
        data = b""
    elif how == "flip":
        at = data.find(b"data/0") + 200
        data[at] ^= 0x10
    elif how == "text":
        data = b"not a checkpoint at all\n" * 10
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("how", ["cut", "empty", "flip", "text"])
def test_a_damaged_checkpoint_is_left_for_the_one_before(whole, half, how, caplog):
    spoil(half / "step-00000012.pt", how)
    batches = ToyBatches()
    method, _ = train(half, batches=batches)
    assert batches.asked == [(9, 31)]
    assert weights_of(method) == whole[0]
    assert "step-00000012.pt" in caplog.text
    assert "going on from the checkpoint before it" in caplog.text


def test_only_damaged_checkpoints_are_an_error_that_says_what_to_do(half):
    spoil(half / "step-00000012.pt", "cut")
    spoil(half / "step-00000009.pt", "flip")
    with pytest.raises(RunError, match=r"step-00000012\.pt .*step-00000009\.pt .*delete .*half to train"):
        train(half)


def test_a_missing_best_file_is_told(half):
    for path in half.glob("best-*.pt"):
        path.unlink()
    with pytest.raises(RunError, match=r"best-00000008\.pt is missing; .*delete"):
        train(half)


def test_a_damaged_result_is_told(tmp_path):
    train(tmp_path, stage=stage_of(2))
    for path in tmp_path.glob("best-*.pt"):
        spoil(path, "cut")
    with pytest.raises(RunError, match=r"damaged or no checkpoint .*delete"):
        train(tmp_path, stage=stage_of(2))
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(RunError, match=r"result\.json is damaged; delete"):
        train(tmp_path, stage=stage_of(2))


def test_few_files_stay(tmp_path):
    train(tmp_path)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert len([n for n in names if n.startswith("step-")]) == 2
    assert len([n for n in names if n.startswith("best-")]) <= 2
    assert not [n for n in names if n.endswith("tmp")]


def test_copies_of_a_directory_go_on_alike(whole, half, tmp_path):
    shutil.copytree(half, tmp_path / "copy")
    method, _ = train(tmp_path / "copy")
    assert weights_of(method) == whole[0]


def test_events_in_order(tmp_path):
    events = Recorder()
    train(tmp_path, stage=stage_of(4, log_every=2), log=events)
    kinds = [c[0] for c in events.calls]
    assert kinds == ["start", *["step", "figures"] * 4, "finish"]
    losses = [c[4] for c in events.calls if c[0] == "step"]
    assert [bool(x) for x in losses] == [False, True, False, True]
    assert set(losses[1]) == {"loss", "mask", "small"}
    assert losses[1]["loss"] == pytest.approx(losses[1]["mask"] + losses[1]["small"], rel=1e-5)


def test_mixed_precision_is_for_cuda(tmp_path):
    with pytest.raises(UsageError, match="amp must be auto or off on the CPU; got bfloat16"):
        train(tmp_path, stage=stage_of(1, amp="bfloat16"))
