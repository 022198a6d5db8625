"""Running a loaded model for one thread: input and output memory, batches, and the checks around a call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .layout import image_shape, show_shape
from .onnx_session import first_line, runtime_errors, silent_run_options
from .spec import ModelSpec

Scores = Any  # [n, C, h, w] or [n, T, C, h, w]: a NumPy array, or a torch tensor on the device of the session
_ALIGNMENT = 64  # bytes: a cache line and the widest vector
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601; sums to 1, so it commutes with (p * scale - mean) / std


class Runner:
    """Runs batches for one thread; input and output memory is kept and used again.

    Not thread-safe: one runner a thread. `run` releases the GIL. Memory: the largest input and output so far.
    """

    def __init__(self, session: Any, spec: ModelSpec) -> None:
        self._session, self._spec = session, spec
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

    def run(self, batch: NDArray[Any]) -> Scores:
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
        return self._channels_first(scores) if spec.output_layout == "NHWC" else scores

    @staticmethod
    def _channels_first(scores: Scores) -> Scores:
        """A view (n, C, h, w) of (n, h, w, C), of either kind of array."""
        return scores.transpose(0, 3, 1, 2) if isinstance(scores, np.ndarray) else scores.permute(0, 3, 1, 2)

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

    @contextmanager
    def _failures(self, shape: tuple[int, ...]) -> Iterator[None]:
        """What ONNX Runtime raises, as a ModelError that says what to try."""
        try:
            yield
        except runtime_errors() as exc:
            hint = "; try batch size 1" if shape[0] > 1 and self._spec.batch is None else ""
            raise ModelError(
                f"model {self._spec.path} failed on a batch of {show_shape(shape)}: {first_line(exc)}{hint}"
            ) from exc

    def _run_bound(self, feed: NDArray[Any]) -> Scores:
        """Run with output memory of our own where the output's shape is known, else learn it."""
        spec, binding = self._spec, self._binding
        shape = self._known.get(feed.shape)
        with self._failures(feed.shape):
            binding.bind_input(spec.input_name, "cpu", 0, feed.dtype, feed.shape, feed.ctypes.data)
            if shape is None:
                binding.bind_output(spec.output_name, "cpu")
            else:
                out = self._output.view(shape)
                binding.bind_output(spec.output_name, "cpu", 0, out.dtype, shape, out.ctypes.data)
            self._session.run_with_iobinding(binding, self._options)
            if shape is None:
                out = binding.copy_outputs_to_cpu()[0]
                self._known[feed.shape] = out.shape
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
