"""The rest of a split graph, run T times inside one ONNX ``Scan``; every pass takes its own masks.

A Scan rather than a batch of N * T: the rest stays as the network wrote it, whatever it does with its batch
axis, activations of one pass only are in memory, and the trunk's values are read, not repeated T times.

Masks are initialisers of eight passes to a byte. A pass picks its plane and its bit:
``float(plane & 2^b) * (gain / 2^b)`` is the factor 0 or 1 / (1 - p). As plane and bit vary with the pass, ONNX
Runtime cannot fold the masks into floats when it loads the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .dropout_calls import Place
from .masks import PASSES_PER_BYTE, gain, n_planes, packed_masks
from .trunk import constants_to_initializers, marker_place, read_by, split, without_markers

_PLANE, _BIT, _UNIT = "alseg/plane", "alseg/bit", "alseg/unit"


def mask_bytes(places: Iterable[Place], n_passes: int) -> int:
    """Bytes that the masks take, in the file and in memory."""
    return n_planes(n_passes) * sum(int(np.prod(place.noise, dtype=np.int64)) for place in places)


def scan_passes(
    model: onnx.ModelProto,
    places: Mapping[int, Place],
    *,
    n_passes: int,
    seed: int,
    scores: tuple[int, int, int],
    output: str,
) -> tuple[int, int]:
    """Replace the rest of ``model`` by a Scan over T passes, in place; its result is ``output`` (N, T, C, h, w).

    The first graph output, (N, C, h, w), must depend on a dropout. ``places`` are those of the markers, by number.
    Returns: number of nodes in the trunk, and in the rest.
    """
    graph = model.graph
    constants_to_initializers(graph)
    parts = split(graph)
    passes = np.arange(n_passes)
    bit = passes % PASSES_PER_BYTE
    scanned = [
        numpy_helper.from_array((passes // PASSES_PER_BYTE).astype(np.int64), f"{_PLANE}s"),
        numpy_helper.from_array((1 << bit).astype(np.uint8), f"{_BIT}s"),
        numpy_helper.from_array((0.5**bit).astype(np.float32), f"{_UNIT}s"),
    ]
    body = helper.make_graph(
        without_markers(parts.rest, lambda node: _mask_nodes(node, places[marker_place(node)])),
        "one_pass",
        [
            helper.make_tensor_value_info(_PLANE, TensorProto.INT64, []),
            helper.make_tensor_value_info(_BIT, TensorProto.UINT8, []),
            helper.make_tensor_value_info(_UNIT, TensorProto.FLOAT, []),
        ],
        [helper.make_tensor_value_info(graph.output[0].name, TensorProto.FLOAT, ["M", *scores])],
    )
    for place in places.values():
        body.initializer.extend(_place_constants(place))
    # Weights must lie where they are used: some optimisations of ONNX Runtime look no further.
    outside = read_by(parts.trunk)
    inside = read_by(parts.rest)
    body.initializer.extend(t for t in graph.initializer if t.name in inside - outside)
    kept = [t for t in graph.initializer if t.name in outside]
    masks = [
        numpy_helper.from_array(
            packed_masks(seed, place.call.index, n_passes, _stored_shape(place), place.call.p), _name(place, "masks")
        )
        for place in places.values()
    ]
    scan = helper.make_node(
        "Scan",
        [t.name for t in scanned],
        [output],
        name="alseg/passes",
        body=body,
        num_scan_inputs=len(scanned),
        scan_output_axes=[1],
    )
    del graph.node[:], graph.initializer[:]
    graph.node.extend([*parts.trunk, scan])
    graph.initializer.extend([*kept, *scanned, *masks])
    return len(parts.trunk), len(parts.rest)


def _name(place: Place, what: str) -> str:
    return f"alseg/dropout{place.call.index}/{what}"


def _stored_shape(place: Place) -> tuple[int, ...]:
    """Shape of a mask in the file: the noise of one image, with an axis of 1 for the batch."""
    axis = place.batch_axis
    if axis is None:
        return place.noise
    per_image = place.noise[axis]
    return (*place.noise[:axis], 1, *((per_image,) if per_image > 1 else ()), *place.noise[axis + 1 :])


def _merged(place: Place) -> bool:
    """Whether the batch axis holds several entries an image, such as N * heads."""
    return place.batch_axis is not None and place.noise[place.batch_axis] > 1


def _place_constants(place: Place) -> list[TensorProto]:
    constants = [numpy_helper.from_array(np.array(gain(place.call.p), np.float32), _name(place, "gain"))]
    if _merged(place):
        axis = place.batch_axis or 0
        before, per_image, after = place.shape[:axis], place.shape[axis], place.shape[axis + 1 :]
        apart = np.array([*before, -1, per_image, *after], np.int64)
        together = np.array([*before, -1, *after], np.int64)
        constants.append(numpy_helper.from_array(apart, _name(place, "apart")))
        constants.append(numpy_helper.from_array(together, _name(place, "together")))
    return constants


def _mask_nodes(marker: onnx.NodeProto, place: Place) -> list[onnx.NodeProto]:
    """``x * mask of this pass`` in place of a marker."""

    def name(what: str) -> str:
        return _name(place, what)

    x, y = marker.input[0], marker.output[0]
    nodes = [
        helper.make_node("Gather", [name("masks"), _PLANE], [name("plane")], axis=0),
        helper.make_node("BitwiseAnd", [name("plane"), _BIT], [name("bits")]),
        helper.make_node("Cast", [name("bits")], [name("kept")], to=TensorProto.FLOAT),
        helper.make_node("Mul", [_UNIT, name("gain")], [name("factor")]),
        helper.make_node("Mul", [name("kept"), name("factor")], [name("noise")]),
    ]
    if not _merged(place):
        return [*nodes, helper.make_node("Mul", [x, name("noise")], [y])]
    return [
        *nodes,
        helper.make_node("Reshape", [x, name("apart")], [name("x")]),
        helper.make_node("Mul", [name("x"), name("noise")], [name("y")]),
        helper.make_node("Reshape", [name("y"), name("together")], [y]),
    ]
