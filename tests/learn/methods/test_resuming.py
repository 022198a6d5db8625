"""A training that is stopped at any step and started again ends with the same bits."""

import pytest

torch = pytest.importorskip("torch")

from alseg_fast.learn.training.checkpoint import Checkpoints  # noqa: E402
from alseg_fast.learn.training.train import run_training  # noqa: E402


class StopAt:
    """A listener that ends the process' work in the middle of a stage."""

    def __init__(self, stage, step):
        self.stage, self.at = stage, step

    def start(self, stage, steps, done):
        pass

    def step(self, stage, done, rate, losses):
        if (stage, done) == (self.stage, self.at):
            raise KeyboardInterrupt

    def figures(self, stage, done, figures, best):
        pass

    def finish(self, stage, done, why):
        pass


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a == b


@pytest.mark.parametrize(
    ("method", "stages", "stop", "more"),
    [
        (
            "cosa",
            {"cosa": {"steps": 5, "checkpoint_every": 2}},
            ("cosa", 4),
            {
                "network": {"pooling": "max", "decoder": "largefov", "aux_tags": True},
                "options": {
                    "warmup_steps": 1,
                    "assign": {"scales": [1.0]},
                    "threshold": {"kind": "gmm"},
                    "contrastive": {"max_anchors": 8, "epsilon": 100.0},
                    "energy": {"weight": 0.0},
                },
            },
        ),
        (
            "four_step",
            {"classifier": {"steps": 4}, "segmentation": {"steps": 4, "checkpoint_every": 1}},
            ("segmentation", 2),
            {"network": {"pooling": "average", "decoder": "unet"}},
        ),
        (
            "erasing",
            {"classifier": {"steps": 4, "checkpoint_every": 1}},
            ("round-2", 2),
            {"network": {"pooling": "average", "decoder": "none"}, "options": {"rounds": 2, "min_score": 0.0}},
        ),
    ],
    ids=["cosa", "four_step", "erasing"],
)
def test_stopped_and_started_again(config_of, tmp_path, method, stages, stop, more):
    config = config_of(method, stages=stages, **more)
    whole = run_training(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_training(config, tmp_path / "parts", listeners=[StopAt(*stop)])
    parts = run_training(config, tmp_path / "parts")
    assert parts["figures"] == whole["figures"]
    folders = sorted(path.name for path in (tmp_path / "whole" / "checkpoints").iterdir())
    assert folders == sorted(path.name for path in (tmp_path / "parts" / "checkpoints").iterdir())
    for name in folders:
        states = [Checkpoints(tmp_path / run / "checkpoints" / name).newest()["method"] for run in ("whole", "parts")]
        assert same(*states), name
