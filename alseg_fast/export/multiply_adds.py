"""Counts the multiply-adds of convolutions and matrix products in a marked graph, for one image."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import TensorProto, helper

from .run_graph import run_graph
from .trunk import split, without_markers

_COUNTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")


def trunk_and_rest(model: onnx.ModelProto, batch: int) -> tuple[int, int]:
    """Multiply-adds an image of the trunk and of the rest of a graph, before it is rewritten.

    Runs the graph once, dropout off, and asks for the shapes only: inference without running stops at the first
    reshape that is computed.

    Args:
        batch: images to run, as many as were traced.
    """
    rest = {name for node in split(model.graph).rest for name in node.output}
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    counted = [node for node in model.graph.node if node.op_type in _COUNTED]
    if not counted:
        return 0, 0
    wanted = sorted({name for node in counted for name in (*node.input[:2], node.output[0])})
    plain = without_markers(graph.node, lambda node: (helper.make_node("Identity", node.input, node.output),))
    asked = [helper.make_node("Shape", [name], [f"shape of {name}"]) for name in wanted]
    declared = [helper.make_tensor_value_info(node.output[0], TensorProto.INT64, [None]) for node in asked]
    del graph.node[:], graph.output[:], graph.value_info[:]
    graph.node.extend([*plain, *asked])
    graph.output.extend(declared)
    image = graph.input[0]
    size = [d.dim_value for d in image.type.tensor_type.shape.dim][1:]
    feed = {image.name: np.zeros((batch, *size), np.float32)}
    found = run_graph(copy.SerializeToString(), feed, [node.output[0] for node in asked])
    shapes = {name: tuple(map(int, extents)) for name, extents in zip(wanted, found, strict=True)}
    counts = [0, 0]
    for node in counted:
        first, second, result = (shapes[name] for name in (*node.input[:2], node.output[0]))
        counts[node.output[0] in rest] += _count(node, first, second, result)
    return counts[0] // batch, counts[1] // batch


def _count(node: onnx.NodeProto, first: tuple[int, ...], second: tuple[int, ...], result: tuple[int, ...]) -> int:
    if node.op_type == "Conv":
        return math.prod(result) * math.prod(second[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(first) * math.prod(second[1:])
    transposed = node.op_type == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute)
    return math.prod(result) * first[0 if transposed else -1]
