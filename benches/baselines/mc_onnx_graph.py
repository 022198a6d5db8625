"""The MC measures as an ONNX graph behind the network, in the fastest form found.

All passes in one batch; pass by pass the same operators took 1.3 to 1.6 times as long, Softmax and LogSoftmax over
channels longer still.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from .mc_signature import MEASURES, Call, Outputs
from .onnx_graph import IR_VERSION, OPSET, open_session, set_threads

__all__ = ["rewritten", "set_threads"]


def _graph(passes: int, n_classes: int, size: tuple[int, int]) -> bytes:
    nodes = []

    def op(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    op("Resize", ["z", "", "", "up_shape"], "up", mode="linear", coordinate_transformation_mode="half_pixel")
    planes = [f"plane{c}" for c in range(n_classes)]
    nodes.append(helper.make_node("Split", ["up"], planes, axis=1))
    op("Max", planes, "first")
    op("Sub", ["up", "first"], "t")
    op("Exp", ["t"], "e")
    op("ReduceSum", ["e", "channel"], "total", keepdims=1)
    op("Mul", ["t", "e"], "te")
    op("ReduceSum", ["te", "channel"], "moment", keepdims=1)
    op("Log", ["total"], "log_total")
    op("Div", ["moment", "total"], "mean_t")
    op("Sub", ["log_total", "mean_t"], "entropies")  # [T, 1, H, W]
    op("Div", ["e", "total"], "p")  # [T, C, H, W]
    op("Mul", ["p", "p"], "pp")
    op("ReduceSum", ["pp", "channel"], "squares", keepdims=1)
    op("ReduceMean", ["entropies"], "expected_entropy", axes=[0], keepdims=1)
    op("ReduceMean", ["squares"], "mean_square", axes=[0], keepdims=1)
    op("ReduceMean", ["p"], "mean", axes=[0], keepdims=1)
    op("Log", ["mean"], "log_mean")
    op("Mul", ["mean", "log_mean"], "plogp")
    op("ReduceSum", ["plogp", "channel"], "minus_entropy", keepdims=1)
    op("Neg", ["minus_entropy"], "entropy")
    op("Sub", ["entropy", "expected_entropy"], "mutual_information")
    op("Mul", ["mean", "mean"], "mean_mean")
    op("ReduceSum", ["mean_mean", "channel"], "mean_squared", keepdims=1)
    op("Sub", ["mean_square", "mean_squared"], "spread")
    op("Div", ["spread", "classes"], "variance")
    weights: dict[str, NDArray[Any]] = {
        "up_shape": np.array([passes, n_classes, *size], np.int64),
        "channel": np.array([1], np.int64),
        "classes": np.array(n_classes, np.float32),
    }
    real = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "uncertainty_of_passes",
        [helper.make_tensor_value_info("z", real, [passes, n_classes, "h", "w"])],
        [helper.make_tensor_value_info(name, real, None) for name in MEASURES],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    data: bytes = model.SerializeToString()
    return data


def rewritten(logits: NDArray[np.float32], size: tuple[int, int]) -> Call:
    """Softmax as max, exp and sum."""
    z = np.ascontiguousarray(logits[0])
    session = open_session(_graph(z.shape[0], z.shape[1], size))

    def call() -> Outputs:
        found = session.run(list(MEASURES), {"z": z})
        return {name: value[:, 0] for name, value in zip(MEASURES, found, strict=True)}

    return call
