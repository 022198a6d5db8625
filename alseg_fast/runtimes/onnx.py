"""Models run by ONNX Runtime: load, learn the facts from one dry run, run batches without fresh memory."""

from __future__ import annotations

import os
import re
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
from .runner import Runner
from .spec import ModelSpec

_DTYPES = {"float": "float32", "double": "float64"}


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
        """Buffers and bindings for one worker thread; on CUDA the scores stay on the device."""
        if self.device == "cpu":
            return Runner(self._session, self.spec)
        from .onnx_device import DeviceRunner

        return DeviceRunner(self._session, self.spec, self.device)


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
