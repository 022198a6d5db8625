"""Scoring with a torch DataLoader: pictures are read by worker processes, four at a time go through the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from alseg_fast.runtimes.spec import ModelSpec

from .naive_loop import Preprocess, entropy_means, open_session

BATCH_SIZE = 4


class Pictures(Dataset[Any]):
    """Paths as prepared tensors."""

    def __init__(self, paths: Sequence[Path], prepare: Preprocess) -> None:
        self._paths, self._prepare = list(paths), prepare

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self._prepare(self._paths[index]))


def make_loop(
    model: Path, spec: ModelSpec, paths: Sequence[Path], workers: int, all_threads: int
) -> Callable[[], list[float]]:
    """A call that scores the paths; its worker processes are started by the first call and kept."""
    session = open_session(model, None)
    prepare = Preprocess.of(spec)
    loader = DataLoader(
        Pictures(paths, prepare),
        batch_size=BATCH_SIZE,
        num_workers=workers,
        persistent_workers=workers > 0,
        # Forking a process that runs threads may deadlock; starting is not part of the time.
        multiprocessing_context="spawn" if workers else None,
    )

    def call() -> list[float]:
        torch.set_num_threads(all_threads)
        scores = []
        for batch in loader:
            logits = session.run(None, {spec.input_name: batch.numpy()})[0]
            scores += entropy_means(logits, prepare.size)
        return scores

    return call
