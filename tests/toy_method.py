"""A tiny method on random tensors, with random numbers of its own, for tests of the loop."""

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from alseg_fast.learn.data.batch import Batch
from alseg_fast.learn.data.dataset import Dataset
from alseg_fast.learn.training.config import StageConfig
from alseg_fast.learn.training.loop import train_stage
from alseg_fast.learn.training.method import Losses


def dataset(n=4):
    return Dataset("toy", ("background", "thing"), ("thing",), (1,), False, (), lambda path: None)


def batch_of(step, size=4):
    generator = torch.Generator().manual_seed(1000 + step)
    images = torch.rand((size, 3, 6, 6), generator=generator)
    return Batch(
        image_ids=tuple(f"image-{step}-{i}" for i in range(size)),
        images=images,
        strong=images,
        rgb=(images * 255).to(torch.uint8),
        tags=(images.mean((1, 2, 3), keepdim=False)[:, None] > 0.5).float(),
        masks=(images[:, 0] > 0.5).long(),
        labelled=torch.ones(size, dtype=torch.bool),
        pseudo=torch.zeros(size, dtype=torch.bool),
        valid=torch.ones((size, 6, 6), dtype=torch.bool),
    )


class ToyBatches:
    """Batches by step; `pause` seconds each, so that a test can kill in between; `nan_at` makes one poisonous."""

    def __init__(self, pause=0.0, nan_at=None):
        self.pause, self.nan_at, self.asked, self.closed = pause, nan_at, [], False

    def stream(self, first_step, n_steps):
        self.asked.append((first_step, n_steps))
        try:
            for step in range(first_step, first_step + n_steps):
                time.sleep(self.pause)
                batch = batch_of(step)
                yield batch if step != self.nan_at else replace(batch, images=batch.images * float("nan"))
        finally:
            self.closed = True


class ToyMethod:
    """A convolution with dropout, batch norm and a moving average: state of every kind, random numbers in each step."""

    def __init__(self, seed=0, scores=None, device="cpu"):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.network = nn.Sequential(
                nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(4, 1, 1)
            )
        self.network.to(device)
        self.average = torch.zeros(1)
        self.scores = scores
        self.evaluations = 0

    def parameter_groups(self):
        return [
            {"params": list(self.network[:2].parameters())},
            {"params": list(self.network[4].parameters()), "lr_factor": 10.0},
        ]

    def start(self):
        self.network.train()

    def losses(self, batch, step):
        logits = self.network(batch.images + 0.1 * torch.randn_like(batch.images))[:, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, batch.masks.float())
        small = 0.01 * logits.square().mean()
        return Losses(loss + small, {"mask": loss.detach(), "small": small.detach()})

    def after_step(self, step):
        with torch.no_grad():
            self.average = 0.9 * self.average + 0.1 * self.network[4].weight.mean().reshape(1).cpu()

    def evaluate(self, data):
        self.network.eval()
        torch.rand(17)  # an evaluation may draw random numbers; the training must not notice
        self.evaluations += 1
        if self.scores is not None:
            return {"score": self.scores[self.evaluations - 1], "other": 0.5}
        batch = batch_of(10**6).to(self.network[4].weight.device)
        right = (self.network(batch.images)[:, 0] > 0) == (batch.masks > 0)
        return {"score": float(right.float().mean())}

    def state_dict(self):
        return {"network": self.network.state_dict(), "average": self.average}

    def load_state_dict(self, state):
        self.network.load_state_dict(state["network"])
        self.average = state["average"].clone()


def weights_of(method):
    """All of a method's numbers as bytes."""
    tensors = [*method.network.state_dict().values(), method.average]
    return b"".join(t.detach().cpu().numpy().tobytes() for t in tensors)


STAGE = StageConfig(
    steps=40, batch_size=4, rate=0.02, schedule="cosine", warmup=5, clip=1.0, evaluate_every=8, checkpoint_every=3
)


def main(directory, pause):
    """Run in a process of its own that a test kills."""
    torch.set_num_threads(1)
    method = ToyMethod()
    train_stage(method, ToyBatches(float(pause)), STAGE, directory=directory, validation=dataset(), seed=7)
    Path(directory, "weights.bin").write_bytes(weights_of(method))


if __name__ == "__main__":
    main(*sys.argv[1:])
