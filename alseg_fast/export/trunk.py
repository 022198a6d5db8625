"""Splits an ONNX graph at its dropout nodes: the trunk depends on none of them, the rest does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import onnx
from onnx import numpy_helper

from .torch_graph import MARKER, MARKER_DOMAIN


@dataclass(frozen=True)
class Split:
    """Nodes in execution order; markers are among the rest."""

    trunk: tuple[onnx.NodeProto, ...]
    rest: tuple[onnx.NodeProto, ...]


def split(graph: onnx.GraphProto) -> Split:
    """Trunk and rest of a graph whose nodes are in execution order (as ONNX requires)."""
    depends: set[str] = set()
    trunk, rest = [], []
    for node in graph.node:
        if is_marker(node) or not depends.isdisjoint(values_read(node)):
            depends.update(name for name in node.output if name)
            rest.append(node)
        else:
            trunk.append(node)
    return Split(tuple(trunk), tuple(rest))


def is_marker(node: onnx.NodeProto) -> bool:
    """Whether a node stands for a dropout."""
    return node.domain == MARKER_DOMAIN and node.op_type == MARKER


def marker_place(node: onnx.NodeProto) -> int:
    """The number of the dropout that a marker stands for."""
    return next(int(a.i) for a in node.attribute if a.name == "place")


def values_read(node: onnx.NodeProto) -> set[str]:
    """Names a node reads, those that its subgraphs take from outside included."""
    names = {name for name in node.input if name}
    for graph in _subgraphs(node):
        own = {v.name for v in graph.input} | {t.name for t in graph.initializer}
        for inner in graph.node:
            names |= values_read(inner) - own
            own.update(inner.output)
        names |= {v.name for v in graph.output} - own
    return names


def constants_to_initializers(graph: onnx.GraphProto) -> None:
    """Turn the Constant nodes of a graph into initialisers, in place."""
    kept = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            tensor = numpy_helper.from_array(numpy_helper.to_array(value), node.output[0])
            graph.initializer.append(tensor)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def read_by(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """Every name that some of the nodes read."""
    return set[str]().union(*(values_read(node) for node in nodes))


def without_markers(
    nodes: Iterable[onnx.NodeProto], replace: Callable[[onnx.NodeProto], Iterable[onnx.NodeProto]]
) -> list[onnx.NodeProto]:
    """The nodes with every marker exchanged for the nodes that ``replace`` gives."""
    return [new for node in nodes for new in (replace(node) if is_marker(node) else (node,))]


def _subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [g for a in node.attribute for g in ([a.g] if a.HasField("g") else list(a.graphs))]
