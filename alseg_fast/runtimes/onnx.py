"""Models run by ONNX Runtime: load, learn the facts from one dry run, run batches without fresh memory."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError, UsageError
from .layout import Dim, image_shape, show_shape
from .onnx_file import read_onnx_file
from .onnx_session import (
    first_line,
    import_onnxruntime,
    open_session,
    parse_device,
    runtime_errors,
    silent_run_options,
)
from .options import ModelOptions, collect_statements
from .resolve import InputSpec, TensorInfo, resolve_input, resolve_spec
from .spec import ModelSpec

_DTYPES = {"float": "float32", "double": "float64"}
_ALIGNMENT = 64  # bytes: a cache line and the widest vector
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601; sums to 1, so it commutes with (p * scale - mean) / std


def load_model(
    path: str | os.PathLike[str],
    options: ModelOptions | None = None,
    *,
    device: str = "auto",
    threads: int = 1,
) -> OnnxModel:
    """Load an ONNX segmentation model, run it once on noise and resolve what it is.

    Args:
        options: what the user states; wins over ``alseg.*`` metadata, which wins over the sidecar.
        device: "cpu", "cuda", "cuda:I", or "auto" (CUDA where it works, else the CPU).
        threads: threads of one `Runner.run`; with 1 it runs on the caller's own thread.
    Raises:
        ModelError: no usable model, or no runtime or device to run it.
        UsageError: device, threads or an option's value are not possible.
    """
    if threads < 1:
        raise UsageError(f"load_model: threads must be at least 1; got {threads}.")
    kind, index = parse_device(device)
    file = read_onnx_file(Path(path))
    stated = collect_statements(file.path, file.metadata, options or ModelOptions())
    ort = import_onnxruntime()
    session, used, notes = open_session(ort, file.path, kind, index, threads)
    image = resolve_input(str(file.path), [_info(i) for i in session.get_inputs()], stated)
    outputs = _dry_run(session, file.path, image)
    return OnnxModel(session, resolve_spec(file, image, outputs, stated), used, notes)


class OnnxModel:
    """A loaded model: facts and one session that all runners share (it is thread-safe).

    Attributes:
        spec: resolved facts.
        device: "cpu" or "cuda:I", what the session really uses.
        providers: ONNX Runtime execution providers, in the order they are asked.
        warnings: those of the spec, and any about the device.
    """

    def __init__(self, session: Any, spec: ModelSpec, device: str, notes: tuple[str, ...] = ()) -> None:
        self._session = session
        self.spec = spec
        self.device = device
        self.providers: tuple[str, ...] = tuple(session.get_providers())
        self.warnings: tuple[str, ...] = spec.warnings + notes

    def runner(self) -> Runner:
        """Buffers and bindings for one worker thread."""
        return Runner(self._session, self.spec, self.device)


class Runner:
    """Runs batches for one thread; input and output memory is kept and used again.

    Not thread-safe: one runner a thread. `run` releases the GIL. Memory: the largest input and output so far.
    """

    def __init__(self, session: Any, spec: ModelSpec, device: str) -> None:
        self._session, self._spec = session, spec
        self._cuda = device != "cpu"
        self._binding = session.io_binding()
        self._options = silent_run_options()
        self._input, self._grey, self._output = (
            _Arena(np.dtype(d)) for d in (spec.input_dtype, spec.input_dtype, spec.output_dtype)
        )
        self._known: dict[tuple[int, ...], tuple[int, ...]] = {}  # input shape -> output shape

    def input_buffer(self, n: int, h: int, w: int) -> NDArray[Any]:
        """Memory to fill and give to `run`: (n, 3, h, w) or (n, h, w, 3), C-contiguous, in the model's dtype.

        Its content is undefined; the next call with a larger shape replaces it.
        Raises:
            ModelError: the graph does not take this size or number of images.
        """
        self._check(n, h, w)
        return self._input.view(self._shape(self._spec.batch or n, (h, w), 3))[:n]

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Scores of a batch of prepared images.

        Args:
            batch: what `input_buffer` gave, or any array of such shape and dtype (copied where the graph's
                fixed batch is larger, or the array is not contiguous). Not modified.
        Returns: (n, C, h, w), or (n, T, C, h, w), in the graph's dtype: a view (transposed for NHWC outputs)
            into memory of this runner, valid until its next run.
        Raises:
            ModelError: shape or dtype is not the graph's, or ONNX Runtime fails.
        """
        spec = self._spec
        nhwc = spec.input_layout == "NHWC"
        if batch.ndim != 4 or batch.shape[3 if nhwc else 1] != 3 or str(batch.dtype) != spec.input_dtype:
            form = "(n, h, w, 3)" if nhwc else "(n, 3, h, w)"
            raise ModelError(
                f"run: batch must be {form} {spec.input_dtype}; got {show_shape(batch.shape)} {batch.dtype}."
            )
        n = batch.shape[0]
        h, w = batch.shape[1:3] if nhwc else batch.shape[2:]
        self._check(n, h, w)
        feed = self._feed(batch, n, h, w)
        scores = self._run_bound(feed)
        expected = (feed.shape[0], *((spec.n_passes,) if spec.output_layout == "NTCHW" else ()))
        channels = scores.shape[-1 if spec.output_layout == "NHWC" else -3]
        if scores.shape[: len(expected)] != expected or channels != spec.n_classes:
            raise ModelError(
                f"model {spec.path} gave {show_shape(scores.shape)} for {feed.shape[0]} image(s) of {h}x{w}, "
                f"not {spec.n_classes} classes for each; use batch size 1 or another input size"
            )
        scores = scores[:n]
        return scores.transpose(0, 3, 1, 2) if spec.output_layout == "NHWC" else scores

    def _shape(self, n: int, size: tuple[int, int], channels: int) -> tuple[int, int, int, int]:
        return image_shape(self._spec.input_layout, n, size, channels)

    def _check(self, n: int, h: int, w: int) -> None:
        spec = self._spec
        if n < 1 or h < 1 or w < 1 or (spec.batch is not None and n > spec.batch):
            most = "any number" if spec.batch is None else f"at most {spec.batch}"
            raise ModelError(f"model {spec.path} takes {most} of images a call; got {n} of {h}x{w}")
        if spec.fixed_size and (h, w) != spec.input_size:
            need = "x".join(map(str, spec.input_size))
            raise ModelError(f"model {spec.path} takes images of {need} (h x w); got {h}x{w}")

    def _feed(self, batch: NDArray[Any], n: int, h: int, w: int) -> NDArray[Any]:
        """The contiguous tensor the graph takes: padded to its batch with zeros, reduced to luma for grey."""
        total = self._spec.batch or n
        own = batch.flags.c_contiguous and batch.ctypes.data == self._input.address
        if self._spec.channels == 1:
            feed = self._grey.view(self._shape(total, (h, w), 1))
            _luma(batch, feed[:n], axis=3 if self._spec.input_layout == "NHWC" else 1)
        elif own or total > n:
            feed = self._input.view(self._shape(total, (h, w), 3))
            if not own:
                feed[:n] = batch
        else:
            return np.ascontiguousarray(batch)
        feed[n:] = 0
        return feed

    def _run_bound(self, feed: NDArray[Any]) -> NDArray[Any]:
        """Run with output memory of our own where the output's shape is known, else learn it."""
        spec, binding = self._spec, self._binding
        shape = self._known.get(feed.shape)
        try:
            binding.bind_input(spec.input_name, "cpu", 0, feed.dtype, feed.shape, feed.ctypes.data)
            if shape is None:
                binding.bind_output(spec.output_name, "cpu")
            else:
                out = self._output.view(shape)
                binding.bind_output(spec.output_name, "cpu", 0, out.dtype, shape, out.ctypes.data)
            if self._cuda:
                binding.synchronize_inputs()
            self._session.run_with_iobinding(binding, self._options)
            if self._cuda:
                binding.synchronize_outputs()
            if shape is None:
                out = binding.copy_outputs_to_cpu()[0]
                self._known[feed.shape] = out.shape
        except runtime_errors() as exc:
            hint = "; try batch size 1" if feed.shape[0] > 1 and spec.batch is None else ""
            raise ModelError(
                f"model {spec.path} failed on a batch of {show_shape(feed.shape)}: {first_line(exc)}{hint}"
            ) from exc
        return out


class _Arena:
    """One growing block of aligned memory, seen as arrays of any shape that fit."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._block = _aligned(0, dtype)

    @property
    def address(self) -> int:
        return int(self._block.ctypes.data)

    def view(self, shape: Sequence[int]) -> NDArray[Any]:
        count = int(np.prod(shape, dtype=np.int64))
        if count > self._block.size:
            self._block = _aligned(count, self._dtype)
        return self._block[:count].reshape(shape)


def _aligned(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    raw = np.empty(count * dtype.itemsize + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + count * dtype.itemsize].view(dtype)


def _luma(batch: NDArray[Any], out: NDArray[Any], axis: int) -> None:
    """BT.601 luma of an RGB batch into a one-channel array; uint8 is rounded to the nearest."""
    weights = np.asarray(_LUMA, np.float32).reshape([3 if i == axis else 1 for i in range(4)])
    luma = (batch * weights).sum(axis=axis, keepdims=True)
    np.copyto(out, np.rint(luma) if out.dtype == np.uint8 else luma, casting="unsafe")


def _dry_run(session: Any, path: Path, image: InputSpec) -> dict[str, NDArray[Any]]:
    """All tensor outputs for one input of fixed noise: the real shapes, and a warm session.

    Noise, not zeros: a network that answers a blank image with zeros would not show whether it gives logits.
    """
    names = [o.name for o in session.get_outputs() if o.type.startswith("tensor(")]
    shape = image_shape(image.layout, image.batch or 1, image.size, image.channels)
    noise = np.random.default_rng(0).random(shape, np.float32)
    if image.dtype == "uint8":
        noise *= 255
    noise = noise.astype(image.dtype)
    try:
        arrays = session.run(names, {image.name: noise}, silent_run_options())
    except runtime_errors() as exc:
        hint = "export it again" if image.fixed_size else "say another --input-size"
        raise ModelError(
            f"model {path} fails on a test input of {show_shape(noise.shape)}: {first_line(exc)}; {hint}"
        ) from exc
    return {name: np.asarray(array) for name, array in zip(names, arrays, strict=True)}


def _info(declared: Any) -> TensorInfo:
    dtype = re.sub(r"^tensor\((.*)\)$", r"\1", declared.type)
    extents: tuple[Dim, ...] = tuple(d if isinstance(d, int) and d > 0 else None for d in declared.shape or ())
    return TensorInfo(declared.name, _DTYPES.get(dtype, dtype), extents or None)
