"""A whole training: config in, networks and figures out."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ... import atomic
from ...errors import AlsegError
from ...process_facts import versions
from ...stages.own_directory import locked
from ..data.transforms import View
from .config import TrainConfig
from .config_file import method_options
from .directory import FORMAT, RESULT, check_data, json_bytes, open_directory, read_result
from .events import Events
from .job import Job, Outcome
from .logs import Records
from .recipes import load_recipe
from .repeatable import resolve_device
from .setup import data_digest, prepare_data

_LIBRARIES = ("torch", "onnx", "pydantic", "tensorboardX")


def run_training(
    config: TrainConfig,
    out: Path | str,
    *,
    source: str = "config",
    overwrite: bool = False,
    listeners: Sequence[Events] = (),
) -> dict[str, Any]:
    """Train as the config says, in the directory `out`; the same call again goes on where a kill stopped it.

    OUT/ holds config.json, data.json, checkpoints/<stage>/, metrics.jsonl, tensorboard/<stage>/, the exported networks
    (network.onnx, cam.onnx) and, when all is done, result.json, which this function returns. Called on a finished
    training it returns that result without doing anything.

    Args:
        config: see `TrainConfig`; its `out` is not looked at.
        out: made if absent; must be empty, or a training with the same config.
        source: the config's name in messages.
        overwrite: delete an earlier training there first.
        listeners: told of every step, see `Events`.
    Raises:
        UsageError: method, options, device or data do not fit.
        RunError: the directory is something else, or another process trains there.
        AlsegError: the training went wrong; what is finished is kept.
    """
    out = Path(out)
    recipe = load_recipe(config.method)
    options = method_options(recipe.Options, config, source)
    device = resolve_device(config.device)
    with locked(out):
        open_directory(out, config, overwrite=overwrite)
        done = read_result(out)
        if done is not None:
            return done
        started = time.monotonic()
        data = prepare_data(config.data, config.seed, out)
        check_data(out, data_digest(data))
        view = View(config.data.size, mean=config.data.mean, std=config.data.std)
        with Records(out, listeners) as records:
            job = Job(config, out, data, view, device, records)
            outcome = recipe.run(job, options)
        result = _result(job, outcome, time.monotonic() - started)
        atomic.write_atomic(out / RESULT, json_bytes(result))
    return result


def _result(job: Job, outcome: Outcome, seconds: float) -> dict[str, Any]:
    config, data = job.config, job.data
    known = versions()
    for library in _LIBRARIES:
        try:
            known[library] = version(library)
        except PackageNotFoundError:
            continue
    counts = {"train": len(data.train), "labelled": len(data.labelled)}
    counts |= {"validation": len(data.validation or ()), "test": len(data.test or ())}
    return {
        "format": FORMAT,
        "method": config.method,
        "figures": {name: _finite(name, figures) for name, figures in outcome.figures.items()},
        "facts": dict(outcome.facts),
        "stages": {name: asdict(stage) for name, stage in job.stages.items()},
        "files": {name: str(path.relative_to(job.out)) for name, path in job.files.items()},
        "failures": {**data.failures, **job.failures},
        "images": counts,
        "labelled": list(data.labelled),
        "weak_label_seconds": data.weak_seconds,
        "seconds": round(seconds, 3),
        "device": str(job.device),
        "threads": torch.get_num_threads(),
        "config_hash": config.digest(),
        "config": config.facts(),
        "versions": known,
    }


def _finite(name: str, figures: Mapping[str, float]) -> dict[str, float]:
    values = {str(key): float(value) for key, value in figures.items()}
    for key, value in values.items():
        if not math.isfinite(value):
            raise AlsegError(f"the figure {key} of {name} is {value}; check the images it was measured on")
    return values
