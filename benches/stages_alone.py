"""The engine's stages one at a time on one thread: what they cost when nothing disturbs them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alseg_fast.runtimes.onnx import load_model
from alseg_fast.stages.decode import DecodeBuffer, decode_image
from alseg_fast.stages.fingerprint import phash
from alseg_fast.stages.prepare import decode_at_least, fill, place
from alseg_fast.stages.score import Reducer

from .timing import Contender

COUNTED = ("decode", "resize + normalise", "session.run", "reduce")  # their sum is the work of one image
TOP_FRACTION = 0.05


class StagesAlone:
    """All pictures through each stage, with buffers as the engine keeps them.

    Attributes:
        input_size: (h, w) of the model's input.
        logits: [1, C, h, w] of each picture.
        entropy_means: the engine's score of each picture.
    """

    def __init__(self, model: Path, contents: Sequence[bytes]) -> None:
        loaded = load_model(model, device="cpu", threads=1)
        spec = self._spec = loaded.spec
        self._contents = list(contents)
        self._buffer = DecodeBuffer()
        self._runner = loaded.runner()
        self._reducer = Reducer(spec, ("entropy", "margin"), "input", TOP_FRACTION)
        self._images, self._sizes = [], []
        for data in self._contents:
            one = decode_image(data, min_size=decode_at_least(spec))
            self._images.append(one.image)
            self._sizes.append((one.height, one.width))
        self._placements = [place(spec, width, height) for height, width in self._sizes]
        h, w = self.input_size = spec.input_size
        self._slot = np.empty_like(self._runner.input_buffer(1, h, w))
        self._tensors = []
        for image, placement in zip(self._images, self._placements, strict=True):
            tensor = np.empty_like(self._slot)
            fill(spec, image, placement, tensor[0])
            self._tensors.append(tensor)
        self.logits = [np.array(self._runner.run(tensor)) for tensor in self._tensors]
        self.entropy_means = [self._reduce(i) for i in range(len(self._contents))]

    def _reduce(self, i: int) -> float:
        scored = self._reducer.reduce(self.logits[i], self._placements[i], self._sizes[i], maps=False)
        return float(scored.values["entropy_mean"])

    def _decode(self) -> None:
        least = decode_at_least(self._spec)
        for data in self._contents:
            decode_image(data, min_size=least, buffer=self._buffer)

    def _prepare(self) -> None:
        for image, placement in zip(self._images, self._placements, strict=True):
            fill(self._spec, image, placement, self._slot[0])

    def _run_model(self) -> None:
        for tensor in self._tensors:
            self._runner.run(tensor)

    def _reduce_all(self) -> None:
        for i in range(len(self._contents)):
            self._reduce(i)

    def _fingerprint(self) -> None:
        for image in self._images:
            phash(image)

    def contenders(self) -> list[Contender]:
        """One a stage, in CPU seconds of this thread an image; "phash" is extra work of the engine, not counted."""
        work = (self._decode, self._prepare, self._run_model, self._reduce_all, self._fingerprint)
        calls = dict(zip((*COUNTED, "phash"), work, strict=True))
        scale = 1 / len(self._contents)
        return [Contender(name, call, scale, clock=time.thread_time) for name, call in calls.items()]
