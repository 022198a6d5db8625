"""Opening ONNX Runtime sessions: import, devices, settings, and its exceptions in one place."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import ModelError, UsageError

_SILENT = 4  # ONNX Runtime's FATAL: everything below reaches the user as an exception, not on stderr too
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_NOISE = (
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : ",
    r"^Load model from .*? failed:",
    r"/\S+\.\w+:\d+ .*?(?: was false\. |\)(?: const)? (?=[A-Z]))",  # source line, signature, condition
)


def parse_device(device: str) -> tuple[str, int]:
    """("auto" | "cpu" | "cuda", device number) from the user's text."""
    found = re.fullmatch(r"(auto|cpu|cuda)|cuda:(\d{1,3})", device)
    if found is None:
        raise UsageError(f"load_model: device must be auto, cpu, cuda or cuda:I; got {device!r}.")
    return found[1] or "cuda", int(found[2] or 0)


def import_onnxruntime() -> ModuleType:
    """onnxruntime, told to keep its log to itself."""
    try:
        import onnxruntime
    except ImportError as exc:
        raise ModelError(
            f"onnxruntime cannot be imported ({exc}); pip install 'alseg-fast[cpu]' (or 'alseg-fast[gpu]' for CUDA)"
        ) from exc
    onnxruntime.set_default_logger_severity(_SILENT)
    module: ModuleType = onnxruntime
    return module


def open_session(ort: ModuleType, path: Path, kind: str, index: int, threads: int) -> tuple[Any, str, tuple[str, ...]]:
    """A session, the device it uses, and a note where "auto" could not use a GPU build's CUDA."""
    available = ort.get_available_providers()
    if kind == "cpu" or (kind == "auto" and _CUDA not in available):
        return _create_session(ort, path, [_CPU], threads), "cpu", ()
    if _CUDA not in available:
        raise ModelError(
            f"device cuda needs {_CUDA}, this onnxruntime has {', '.join(available)}; "
            "pip uninstall onnxruntime, then pip install 'alseg-fast[gpu]', or use --device cpu"
        )
    said = io.StringIO()  # what goes wrong with CUDA libraries is printed on stdout
    # A heuristic choice of convolution algorithms, not a timed one: two runs then give the same bits.
    cuda = (_CUDA, {"device_id": str(index), "cudnn_conv_algo_search": "HEURISTIC"})
    try:
        with contextlib.redirect_stdout(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if hasattr(ort, "preload_dlls"):
                ort.preload_dlls()
            session = _create_session(ort, path, [cuda, _CPU], threads)
        problem = "" if _CUDA in session.get_providers() else "its libraries or driver do not load"
    except ModelError as exc:
        problem = str(exc)
    if not problem:
        return session, f"cuda:{index}", ()
    detail = " ".join(said.getvalue().split())[:200]
    reason = f"CUDA cannot be used ({problem}{': ' + detail if detail else ''})"
    if kind == "cuda":
        raise ModelError(f"device cuda:{index}: {reason}; check nvidia-smi and alseg doctor, or use --device cpu")
    return _create_session(ort, path, [_CPU], threads), "cpu", (f"{reason}; the model runs on the CPU",)


def _create_session(ort: ModuleType, path: Path, providers: list[Any], threads: int) -> Any:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    # Spinning threads would take cores from the decoders between two batches.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.log_severity_level = _SILENT
    try:
        return ort.InferenceSession(str(path), settings, providers=providers, enable_fallback=0)
    except runtime_errors() as exc:
        raise ModelError(
            f"model {path} cannot be loaded by onnxruntime {ort.__version__}: {first_line(exc)}; "
            "export it again, with an opset and operators that this version has"
        ) from exc


def silent_run_options() -> Any:
    """RunOptions whose failures reach the user as an exception only."""
    import onnxruntime

    settings = onnxruntime.RunOptions()
    settings.log_severity_level = _SILENT
    return settings


def runtime_errors() -> tuple[type[Exception], ...]:
    """Everything ONNX Runtime raises; its exceptions share no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception)]
    return (*own, RuntimeError, ValueError, TypeError)


def first_line(exc: Exception) -> str:
    """The first line of an ONNX Runtime message, without error codes and the C++ function it came from."""
    lines = str(exc).strip().splitlines() or [type(exc).__name__]
    text = lines[0]
    for noise in _NOISE:
        text = re.sub(noise, "", text)
    return text if len(text) <= 300 else text[:297] + "..."
