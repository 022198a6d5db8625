"""One run of an ONNX graph in ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..runtimes.onnx_session import import_onnxruntime, silent_run_options

_FATAL = 4  # of ONNX Runtime's log levels: what fails is raised, and need not be printed too


def run_graph(
    model: Path | bytes, feed: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
) -> list[NDArray[Any]]:
    """Outputs (None = all) of a file or a serialised model, on as many threads as torch uses.

    Raises: what ONNX Runtime raises, see `alseg_fast.runtimes.onnx_session.runtime_errors`.
    """
    ort = import_onnxruntime()
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.log_severity_level = _FATAL
    source = model if isinstance(model, bytes) else str(model)
    session = ort.InferenceSession(source, settings, providers=["CPUExecutionProvider"])
    return [np.asarray(array) for array in session.run(outputs, dict(feed), silent_run_options())]
