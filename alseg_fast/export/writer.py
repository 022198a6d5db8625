"""`to_onnx`: from a torch module to one validated ONNX file that the engine reads without further options."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper
from torch import nn

from ..errors import ModelError, RangeError, UsageError
from ..runtimes.onnx import load_model
from ..runtimes.options import MAX_SIDE, METADATA_PREFIX, ModelOptions
from .dropout_calls import Place
from .flip_nodes import scores_of_views, views_of
from .flips import check_flips
from .hidden_dropout import check_nothing_hidden
from .module_state import OutputKey, Probe, check_module, prepared, probe
from .multiply_adds import trunk_and_rest
from .passes import MAX_PASSES, check_count, check_seed, no_dropout
from .scan_passes import mask_bytes, scan_passes
from .torch_graph import OPSETS, trace
from .trunk import constants_to_initializers, is_marker, marker_place
from .validate import compare_with_torch

MAX_MASK_BYTES = 256 << 20
_MAX_FILE_BYTES = 2**31 - 1  # of one protobuf message


@dataclass(frozen=True)
class Export:
    """What `to_onnx` wrote.

    Attributes:
        n_passes: passes an image in the output, mc_passes * (1 + len(flips)).
        places: the dropout calls that are active, in order of execution; empty for mc_passes = 1.
        trunk_nodes, rest_nodes: ONNX nodes that run once a view, and once a pass.
        mask_bytes: size of the masks in the file and in memory.
        trunk_share: share of the multiply-adds of one pass (convolutions and matrix products) that lies in the
            trunk.
        saved_share: share of the multiply-adds of all passes that need not be computed.
        difference: largest difference from torch passes found on noise, relative to the largest score.
    """

    path: str
    n_passes: int
    mc_passes: int
    flips: tuple[str, ...]
    places: tuple[Place, ...]
    trunk_nodes: int
    rest_nodes: int
    mask_bytes: int
    trunk_share: float
    saved_share: float
    difference: float


def to_onnx(
    module: nn.Module,
    path: str | os.PathLike[str],
    *,
    input_size: tuple[int, int],
    mc_passes: int = 1,
    flips: Sequence[str] = (),
    seed: int = 0,
    batch: int | None = None,
    output: OutputKey = None,
    training: Sequence[str] | None = None,
    classes: Sequence[str] | int | None = None,
    mean: Sequence[float] | float = 0.0,
    std: Sequence[float] | float = 1.0,
    scale: float = 1 / 255,
    channel_order: str = "rgb",
    resize: str = "stretch",
    activation: str = "softmax",
    background: float | None = None,
    opset: int = 18,
    max_mask_bytes: int = MAX_MASK_BYTES,
) -> Export:
    """Write a torch segmentation network as one ONNX graph: image (N, 3, H, W) float32 -> logits.

    With ``mc_passes`` T > 1 every dropout call of the forward pass (module or function, inside attention too) is
    active with fixed masks. What depends on none of them, the trunk, runs once a view; the rest runs T times. All
    else is in eval mode. The masks follow from ``seed``, the number of the dropout call and the pass: they are the
    same for every image, and pass t is the same for every T. The graph equals `stochastic_passes`, which is
    checked before the file appears.

    ``flips`` add views: the image is flipped, its scores are flipped back. Each view goes through the trunk and has
    all T passes, with the same masks. The output has T * (1 + len(flips)) passes; view f, pass t is at index
    f * T + t, the plain image being view 0.

    Args:
        module: float32 on the CPU, takes [N, channels, H, W] for any N; left as it was.
        path: the file; appears when it is complete and checked.
        input_size: (H, W) in pixels. The graph takes this size only, as a mask of elements belongs to a size.
        mc_passes: T; 1 = dropout off.
        flips: different ones of "horizontal", "vertical", "both".
        seed: 0 .. 2^64 - 1.
        batch: images a call that the graph takes; None = any number.
        output: key or index of the scores where the module gives several tensors; None = the first.
        training: names of submodules to run in training mode: those that call a dropout in that mode only, as in
            ``dropout_p=self.p if self.training else 0``. None: such a module is an error that names them; []: their
            dropout stays off. ``nn.MultiheadAttention`` needs no mention.
        classes, mean, std, scale, channel_order, resize, activation, background: written into the file as ``alseg.*``
            metadata, see `alseg_fast.runtimes.options.ModelOptions`; "grey" makes it one channel.
        opset: 18, 19 or 20.
        max_mask_bytes: limit of the masks, which are stored eight passes to a byte.
    Returns: what was written. Without passes and flips the output is (N, C, h, w), else (N, T, C, h, w).
    Raises:
        UsageError: an argument is not as said.
        RangeError: the masks or the file would be too large.
        ModelError: the module has no dropout for T > 1, cannot be exported, or the graph differs from torch.
    Threads: not while another thread uses the module, or attention of torch: flags and functions change meanwhile.
    Memory: the weights three times, and the activations of two images in torch and three in ONNX Runtime.
    """
    names = check_flips("to_onnx", flips)
    size = _check_request(input_size, mc_passes, seed, batch, opset, max_mask_bytes)
    options = ModelOptions.from_mapping(
        {
            "classes": list(classes) if isinstance(classes, (list, tuple)) else classes,
            "mean": mean,
            "std": std,
            "scale": scale,
            "channel_order": channel_order,
            "resize": resize,
            "activation": activation,
            "background": background,
            "output": "logits",
            # A map of 3 classes at 3 x 3 cells could be read either way; of five axes the order is known.
            "output_layout": "NCHW" if mc_passes == 1 and not names else None,
        }
    )
    if background is not None and activation != "cam":
        raise UsageError(
            f"to_onnx: background must be None with activation={activation!r}; got {background!r}. It belongs to 'cam'."
        )
    check_module(module)
    stochastic = mc_passes > 1
    channels = 1 if channel_order == "grey" else 3
    with prepared(module, training or ()):
        seen = probe(module, channels, size, output)
        if stochastic and training is None:
            check_nothing_hidden("to_onnx", module, channels, size)
        views = 1 + len(names)
        traced = (batch or 2) * views
        model = trace(
            module,
            (traced, channels, *size),
            mark=stochastic,
            dynamic=batch is None,
            opset=opset,
            names=("views" if names else "image", "logits" if views * mc_passes == 1 else "one_pass"),
            output=output,
        )
        # A dropout beside the way to the scores is called, but not in the graph.
        places = {i: seen.places[i] for i in sorted(map(marker_place, filter(is_marker, model.graph.node)))}
        if stochastic and not places:
            raise no_dropout("to_onnx")
        _check_masks(places, mc_passes, max_mask_bytes)
        trunk_adds, rest_adds = trunk_and_rest(model, traced)
        nodes = _add_passes(model, seen, places, mc_passes, names, seed)
        _finish(model, channels, size, batch, views * mc_passes, seen.scores, options, opset)
        difference = _write_checked(
            model,
            Path(path),
            module,
            (channels, *size),
            mc_passes=mc_passes,
            flips=names,
            seed=seed,
            batch=batch,
            output=output,
        )
    total = trunk_adds + rest_adds
    share = trunk_adds / total if total else 0.0
    return Export(
        path=str(path),
        n_passes=views * mc_passes,
        mc_passes=mc_passes,
        flips=names,
        places=tuple(places.values()),
        trunk_nodes=nodes[0],
        rest_nodes=nodes[1],
        mask_bytes=mask_bytes(places.values(), mc_passes),
        trunk_share=share,
        saved_share=share * (mc_passes - 1) / mc_passes,
        difference=difference,
    )


def _check_request(
    input_size: Any, mc_passes: object, seed: object, batch: object, opset: object, max_mask_bytes: object
) -> tuple[int, int]:
    sides = tuple(input_size) if isinstance(input_size, (tuple, list)) else ()
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= MAX_SIDE for side in sides):
        raise UsageError(f"to_onnx: input_size must be (H, W) in pixels, 1 to {MAX_SIDE}; got {input_size!r}.")
    check_count("to_onnx", "mc_passes", mc_passes, MAX_PASSES)
    check_seed("to_onnx", seed)
    if batch is not None:
        check_count("to_onnx", "batch", batch, MAX_PASSES)
    if opset not in OPSETS:
        raise UsageError(f"to_onnx: opset must be one of {', '.join(map(str, OPSETS))}; got {opset!r}.")
    check_count("to_onnx", "max_mask_bytes", max_mask_bytes, _MAX_FILE_BYTES)
    return sides[0], sides[1]


def _check_masks(places: Mapping[int, Place], n_passes: int, limit: int) -> None:
    if (needed := mask_bytes(places.values(), n_passes)) > limit:
        raise RangeError(
            f"to_onnx: the masks must take at most max_mask_bytes = {limit} bytes; got {needed} for {len(places)} "
            f"dropout places and {n_passes} passes. Use fewer passes, dropout of whole channels (nn.Dropout2d), a "
            "smaller input_size, or raise max_mask_bytes."
        )


def _add_passes(
    model: onnx.ModelProto, seen: Probe, places: Mapping[int, Place], mc_passes: int, flips: tuple[str, ...], seed: int
) -> tuple[int, int]:
    """Turn the traced graph into one that gives ``logits`` for all passes; numbers of trunk and rest nodes."""
    graph = model.graph
    if places:
        result = "passes" if flips else "logits"
        nodes = scan_passes(model, places, n_passes=mc_passes, seed=seed, scores=seen.scores, output=result)
    else:
        constants_to_initializers(graph)
        nodes, result = (len(graph.node), 0), graph.output[0].name
    if not flips:
        return nodes
    before, constants = views_of("image", "views", flips)
    if not places:
        constants.append(helper.make_tensor("alseg/pass_axis", TensorProto.INT64, [1], [1]))
        graph.node.append(helper.make_node("Unsqueeze", [result, "alseg/pass_axis"], ["passes"]))
    traced = list(graph.node)
    del graph.node[:]
    graph.node.extend([*before, *traced, *scores_of_views("passes", "logits", flips)])
    graph.initializer.extend(constants)
    return nodes


def _finish(
    model: onnx.ModelProto,
    channels: int,
    size: tuple[int, int],
    batch: int | None,
    n_passes: int,
    scores: tuple[int, int, int],
    options: ModelOptions,
    opset: int,
) -> None:
    """Declare input and output, name the writer, add the metadata."""
    graph = model.graph
    n: str | int = "N" if batch is None else batch
    logits = [n, *([n_passes] if n_passes > 1 else []), *scores]
    del graph.input[:], graph.output[:], graph.value_info[:], model.opset_import[:], model.metadata_props[:]
    graph.input.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, [n, channels, *size]))
    graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits))
    graph.name = "alseg"
    model.opset_import.append(helper.make_opsetid("", opset))
    model.producer_name, model.producer_version = "alseg_fast.export", ""
    for key, value in options.to_json().items():
        text = value if isinstance(value, str) else json.dumps(value)
        model.metadata_props.add(key=f"{METADATA_PREFIX}{key}", value=text)


def _write_checked(
    model: onnx.ModelProto, path: Path, module: nn.Module, shape: tuple[int, int, int], **request: Any
) -> float:
    """Write beside ``path``, read as the engine does, compare with torch, then move to ``path``."""
    if model.ByteSize() > _MAX_FILE_BYTES:
        raise RangeError(
            f"to_onnx: the file must be at most {_MAX_FILE_BYTES} bytes; got {model.ByteSize()}. Use fewer passes, or "
            "dropout of whole channels."
        )
    if not path.parent.is_dir():
        raise ModelError(f"to_onnx: the folder of path must exist; got {path}. Make {path.parent} first.")
    with tempfile.TemporaryDirectory(prefix=".alseg-export-", dir=path.parent) as folder:
        draft = Path(folder) / "model.onnx"
        draft.write_bytes(model.SerializeToString(deterministic=True))
        difference = compare_with_torch(draft, module, shape, **request)
        try:
            load_model(draft, device="cpu")
        except ModelError as exc:
            raise ModelError(str(exc).replace(str(draft), str(path))) from exc
        draft.replace(path)
    return difference
