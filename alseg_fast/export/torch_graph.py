"""The torch module as an ONNX graph in which every dropout is a node ``alseg::Dropout`` with its number.

Uses torch's TorchScript-based exporter: it keeps the batch dynamic through ordinary Python ``shape`` code,
takes a custom node for the dropout, and needs no package besides torch and onnx.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from ..errors import AlsegError, ModelError
from .dropout_calls import DropoutCall
from .module_state import OutputKey, run

MARKER_DOMAIN, MARKER = "alseg", "Dropout"
OPSETS = (18, 19, 20)  # BitwiseAnd came with 18; the exporter ends at 20


class _Marker(torch.autograd.Function):
    """Identity in torch, ``alseg::Dropout`` with attribute ``place`` in ONNX."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, place: int) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def symbolic(g: Any, x: Any, place: int) -> Any:
        return g.op(f"{MARKER_DOMAIN}::{MARKER}", x, place_i=place).setType(x.type())


class _Marked(nn.Module):
    """The module with markers for its dropouts, or without any dropout."""

    def __init__(self, module: nn.Module, output: OutputKey, mark: bool) -> None:
        super().__init__()
        self.module, self.output, self.mark = module, output, mark
        self.training = module.training

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return run(self.module, x, self._replace, self.output)[0]

    def _replace(self, x: torch.Tensor, call: DropoutCall) -> torch.Tensor:
        marked: torch.Tensor = _Marker.apply(x, call.index) if self.mark else x  # type: ignore[no-untyped-call]
        return marked


def trace(
    module: nn.Module,
    shape: tuple[int, int, int, int],
    *,
    mark: bool,
    dynamic: bool,
    opset: int,
    names: tuple[str, str],
    output: OutputKey,
) -> onnx.ModelProto:
    """ONNX graph of a ``prepared`` module for an input of ``shape``; with ``dynamic`` the batch stays open.

    Args:
        mark: dropouts become ``alseg::Dropout`` nodes; otherwise they are left out.
        names: of the graph's input and output.
    Raises:
        ModelError: torch cannot export the module.
    """
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            # Tracing warns of every Python branch on a shape; what matters is checked on the finished graph.
            warnings.simplefilter("ignore")
            file = Path(folder) / "traced.onnx"
            torch.onnx.export(
                _Marked(module, output, mark),
                (torch.zeros(shape),),
                file,
                dynamo=False,
                opset_version=opset,
                training=torch.onnx.TrainingMode.PRESERVE,
                custom_opsets={MARKER_DOMAIN: 1} if mark else None,
                input_names=[names[0]],
                output_names=[names[1]],
                dynamic_axes={name: {0: "N"} for name in names} if dynamic else None,
            )
            return onnx.load(file)
    except AlsegError:
        raise
    except Exception as exc:
        reason = next((line.strip() for line in str(exc).splitlines() if line.strip()), type(exc).__name__)
        raise ModelError(
            f"to_onnx: torch cannot export this module ({type(exc).__name__}: {reason[:300]}). Replace the "
            f"operation that it names, or try another opset of {', '.join(map(str, OPSETS))}."
        ) from exc
