"""Trainings of a simulation: the shared classifier, and the segmentation of a round, each with its exports."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .. import atomic
from ..errors import ModelError
from ..learn.data.dataset import Dataset
from ..learn.methods.classifier import train_classifier
from ..learn.methods.segmentation import PseudoWeight, Segmentation
from ..learn.methods.separated import attach_segmentation
from ..learn.networks.export import export_network
from ..learn.networks.weak_network import WeakNetwork
from ..learn.networks.weights import load_weights
from ..learn.training.checkpoint import FORMAT, load_state, save_state
from ..learn.training.config import TrainConfig
from ..learn.training.job import Job
from ..learn.training.logs import Records
from .common import Common
from .steps import seed_of


def make_classifier(common: Common) -> dict[str, Any]:
    """Train the classifier that all runs share; START/classifier/ gets network.pt and cam.onnx."""
    folder = common.root / "start" / "classifier"
    data = common.data.train.with_labels(())
    with Records(_made(folder)) as records:
        job = _job(common, folder, data, common.config.split_seed, records)
        network = train_classifier(job, common.config.classifier)
    _save(folder / "network.pt", network)
    _export(common, network, folder / "cam.onnx", head="cam")
    _tidy(common, folder)
    result = job.stages.get("classifier")
    return {"steps": 0 if result is None else result.steps, "figures": {} if result is None else result.figures}


def load_classifier(common: Common) -> WeakNetwork:
    """The network of `make_classifier`."""
    job = _job(common, common.root, common.data.train, common.config.split_seed)
    network = job.build_network(decoder="none")
    network.load_state_dict(load_state(common.root / "start" / "classifier" / "network.pt")["state_dict"])
    return network


def train_segmentation(
    common: Common,
    folder: Path,
    name: str,
    *,
    seed: int,
    labelled: Mapping[str, Path],
    pseudo: Mapping[str, Path] | None = None,
    pseudo_weight: PseudoWeight | None = None,
    dropout: float | None = None,
    passes: int = 1,
    before: Path | None = None,
    first: bool = False,
) -> dict[str, Any]:
    """Train on masks; FOLDER gets <name>.pt, <name>.onnx and, with `passes`, <name>-passes.onnx.

    Args:
        seed: of batches and views. First weights come from the config's split_seed alone.
        labelled, pseudo: image_id -> mask.
        pseudo_weight: in place of the config's.
        dropout: of the network, in place of the config's.
        before: weights to start from with start "tuned"; None: fresh ones.
        first: the training of round 0, by the stage "first" where the config has one.
    """
    config = common.config
    data = common.seen(labelled, pseudo)
    options = config.segmentation
    if pseudo_weight is not None:
        options = options.model_copy(update={"pseudo_weight": pseudo_weight})
    work = _made(folder / f"{name}-training")
    with Records(work) as records:
        job = _job(common, work, data, seed, records, dropout)
        network = first_network(common, dropout)
        if before is not None and config.start == "tuned":
            network.load_state_dict(load_state(before)["state_dict"])
        method = Segmentation(network, view=common.view, options=options)
        result = None
        if len(data):
            stage = "first" if first and "first" in config.stages else "segmentation"
            batches = job.make_batches(data, stage, strong=False)
            result = job.train(stage, method, batches, name=name)
    _save(folder / f"{name}.pt", network)
    _export(common, network, folder / f"{name}.onnx")
    if passes > 1:
        _export(common, network, folder / f"{name}-passes.onnx", mc_passes=passes)
    _tidy(common, work)
    return {
        "images": len(data),
        "pseudo_images": len(data) - len(set(labelled) & {s.image_id for s in data.samples}),
        "steps": 0 if result is None else result.steps,
        "kept_step": 0 if result is None else result.kept_step,
        "score": None if result is None else result.figures.get("score"),
        "seconds": 0.0 if result is None else result.seconds,
    }


def first_network(common: Common, dropout: float | None = None) -> WeakNetwork:
    """The network with the first weights: the same in every round, cycle, strategy and seed."""
    config = common.config
    job = _job(common, common.root, common.data.train, config.split_seed, None, dropout)
    head = seed_of(config.split_seed, "segmentation head")
    if config.images is not None:
        network = attach_segmentation(job, load_classifier(common))
        network.reset_segmentation(head)
    else:
        network = job.build_network(n_tags=0, aux_tags=False)
        network.reset_segmentation(head)
    if config.initial is not None:
        report = load_weights(network, config.initial)
        if not report.matched:
            raise ModelError(f"initial: {config.initial} has no tensor of this network; give weights of the same kind")
    return network


def load_network(common: Common, path: Path, dropout: float | None = None) -> WeakNetwork:
    """What `train_segmentation` saved."""
    network = first_network(common, dropout)
    network.load_state_dict(load_state(path)["state_dict"])
    return network.eval()


class _Quiet:
    """No listener."""

    def start(self, stage: str, steps: int, done: int) -> None: ...

    def step(self, stage: str, done: int, rate: float, losses: Mapping[str, float] | None) -> None: ...

    def figures(self, stage: str, done: int, figures: Mapping[str, float], best: bool) -> None: ...

    def finish(self, stage: str, done: int, why: str) -> None: ...


def _job(
    common: Common, out: Path, train: Dataset, seed: int, records: Records | None = None, dropout: float | None = None
) -> Job:
    config = common.config
    network = config.network if dropout is None else config.network.model_copy(update={"dropout": dropout})
    threads = {} if config.threads is None else {"threads": config.threads}
    asked = TrainConfig(
        method="separated" if config.images is not None else "segmentation",
        data=config.data,
        seed=seed,
        device=config.device,
        network=network,
        augment=config.augment,
        stages={name: stage.model_copy(update=threads) for name, stage in config.stages.items()},
    )
    return Job(asked, out, replace(common.data, train=train), common.view, common.device, records or _Quiet())


def _export(
    common: Common, network: WeakNetwork, path: Path, *, head: str = "segmentation", mc_passes: int = 1
) -> None:
    data = common.data.train
    export_network(
        network,
        path,
        head=head,
        input_size=common.config.data.size,
        classes=data.tag_names if head == "cam" else data.classes,
        mean=common.config.data.mean,
        std=common.config.data.std,
        mc_passes=mc_passes,
    )


def _save(path: Path, network: torch.nn.Module) -> None:
    save_state(path, {"format": FORMAT, "state_dict": network.state_dict()})


def _made(folder: Path) -> Path:
    atomic.make_directory(folder)
    return folder


def _tidy(common: Common, work: Path) -> None:
    """Checkpoints of a finished training are only in the way: its network is saved. metrics.jsonl stays."""
    if not common.config.keep_checkpoints:
        for name in ("checkpoints", "tensorboard"):
            shutil.rmtree(work / name, ignore_errors=True)


def drop_weights(common: Common, folder: Path) -> None:
    """The .pt files of a round that nothing will be trained or measured from any more; its ONNX files stay."""
    if not common.config.keep_checkpoints:
        for path in folder.glob("*.pt"):
            atomic.remove_file(path)
