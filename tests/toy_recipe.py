"""A recipe of the smallest kind on real files, for tests of `alseg train`: one network, tag and pixel losses."""

import os
import signal
from typing import Annotated

import torch
from pydantic import Field
from torch.nn import functional

from alseg_fast.learn.data.pictures import read_image, read_mask
from alseg_fast.learn.training.config import Settings
from alseg_fast.learn.training.job import Job, Outcome
from alseg_fast.learn.training.method import Losses


class Options(Settings):
    """`nan_at`: the loss of this step is NaN. `export`: write the networks, which takes the most time of all."""

    pixel_weight: Annotated[float, Field(ge=0)] = 1.0
    nan_at: int | None = None
    export: bool = False


KILL_AT: int | None = None
"""The process kills itself before this step."""


class Toy:
    def __init__(self, network, view, options):
        self.network, self.view, self.options = network, view, options

    def parameter_groups(self):
        return [{"params": list(self.network.parameters())}]

    def start(self):
        self.network.train()

    def losses(self, batch, step):
        if step == KILL_AT:
            os.kill(os.getpid(), signal.SIGKILL)
        out = self.network(batch.images)
        tags = functional.cross_entropy(out.tag_logits, batch.tags.argmax(1))
        target = functional.interpolate(batch.masks[:, None].float(), out.seg_logits.shape[-2:], mode="nearest")
        known = (target != 255).float()
        pixels = functional.binary_cross_entropy_with_logits(out.seg_logits, target * known, reduction="none")
        mask = self.options.pixel_weight * (pixels * known).sum() / known.sum().clamp(min=1)
        total = tags + mask
        if step == self.options.nan_at:
            total = total * float("nan")
        return Losses(total, {"tags": tags.detach(), "mask": mask.detach()})

    def after_step(self, step):
        pass

    def evaluate(self, data):
        self.network.eval()
        right = n = 0
        for sample in data.samples:
            logits = self.network(self.view.tensor(read_image(sample))[None]).seg_logits
            truth = self.view.mask(read_mask(data, sample))[None, None].float()
            truth = functional.interpolate(truth, logits.shape[-2:], mode="nearest")
            right, n = right + int(((logits > 0) == (truth > 0)).sum()), n + truth.numel()
        return {"score": right / n}

    def state_dict(self):
        return {"network": self.network.state_dict()}

    def load_state_dict(self, state):
        self.network.load_state_dict(state["network"])


def run(job: Job, options: Options) -> Outcome:
    network = job.build_network()
    method = Toy(network, job.view, options)
    job.train("main", method, job.make_batches(job.data.train, "main"))
    drawn = job.once("drawn", lambda: {"value": float(torch.rand(()))})
    if options.export:
        job.export(network)
        job.export(network, head="cam")
    with torch.no_grad():
        score = method.evaluate(job.data.test)["score"] if job.data.test is not None else 0.0
    figures = {
        "segmentation": {"accuracy": score},
        "segmentation, true tags": {"accuracy": score, "miou": 0.5, "iou/gland": 0.25},
    }
    return Outcome(figures, {"drawn": drawn["value"]})
