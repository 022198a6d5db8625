"""Scoring as everybody writes it first: Pillow, NumPy, ONNX Runtime, torch, one picture after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from alseg_fast.runtimes.spec import ModelSpec


@dataclass(frozen=True)
class Preprocess:
    """Path -> [3, h, w] float32 input of an RGB, NCHW, stretching model."""

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: float

    @classmethod
    def of(cls, spec: ModelSpec) -> Preprocess:
        """For a model of this kind; others are no fair comparison and are refused."""
        kind = (spec.input_layout, spec.input_dtype, spec.channel_order, spec.resize, spec.activation)
        if kind != ("NCHW", "float32", "rgb", "stretch", "softmax"):
            raise ValueError(f"Preprocess.of: model must be NCHW float32 rgb stretch softmax; got {' '.join(kind)}.")
        return cls(spec.input_size, spec.mean, spec.std, spec.scale)

    def __call__(self, path: Path) -> NDArray[np.float32]:
        height, width = self.size
        image = Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        x = (np.asarray(image, np.float32) * self.scale - np.array(self.mean, np.float32)) / np.array(
            self.std, np.float32
        )
        return np.ascontiguousarray(x.transpose(2, 0, 1), np.float32)


def entropy_means(logits: NDArray[np.float32], size: tuple[int, int], entropy_only: bool = False) -> list[float]:
    """[N, C, h, w] -> mean entropy of each image at the resolution of the model's input.

    Unless `entropy_only`, also what else a row of the engine's scores tells of an image: mean margin and the
    share of each predicted class, written the way everybody writes them.
    """
    with torch.inference_mode():
        up = functional.interpolate(torch.from_numpy(logits), size=size, mode="bilinear", align_corners=False)
        p = torch.softmax(up, dim=1)
        entropy = -(p * torch.log(p)).sum(dim=1)
        if not entropy_only:
            best = p.topk(2, dim=1).values
            (1 - (best[:, 0] - best[:, 1])).mean(dim=(1, 2)).tolist()
            for labels in p.argmax(dim=1):
                torch.bincount(labels.ravel(), minlength=p.shape[1])
        return [float(v) for v in entropy.mean(dim=(1, 2))]


def open_session(model: Path, threads: int | None) -> onnxruntime.InferenceSession:
    """A session with this many threads, or as many as ONNX Runtime likes."""
    settings = onnxruntime.SessionOptions()
    if threads is not None:
        settings.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(model), settings, providers=["CPUExecutionProvider"])


def make_loop(
    model: Path,
    spec: ModelSpec,
    paths: Sequence[Path],
    threads: int | None,
    all_threads: int,
    entropy_only: bool = False,
) -> Callable[[], list[float]]:
    """A call that scores the paths and gives their mean entropies.

    Args:
        entropy_only: see `entropy_means`.
        threads: of ONNX Runtime and torch; None: ONNX Runtime's default, and `all_threads` of torch.
    """
    session = open_session(model, threads)
    prepare = Preprocess.of(spec)

    def call() -> list[float]:
        torch.set_num_threads(threads or all_threads)
        scores = []
        for path in paths:
            logits = session.run(None, {spec.input_name: prepare(path)[None]})[0]
            scores += entropy_means(logits, prepare.size, entropy_only)
        return scores

    return call
