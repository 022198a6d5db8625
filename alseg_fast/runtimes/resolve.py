"""From graph, options, metadata and sidecar to one ModelSpec; states every default it had to take.

Two steps, because a graph may leave its output shapes open: `resolve_input` says how to feed the graph, the
caller runs it once, and `resolve_spec` reads what came out. Nothing here imports a runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ..errors import ModelError
from ..types import CAM_BACKGROUND
from .layout import LAYOUT_AXES, Dim, input_layout, show_shape
from .onnx_file import OnnxFile
from .options import Stated, show
from .scores import activation_doubt, choose_output, score_axes
from .spec import ModelSpec

DEFAULT_SIDE = 512
MAX_INPUT_PIXELS = 178_956_970  # per image, the package's limit for decoded images too
INPUT_DTYPES = ("float32", "float16", "uint8")
_DEFAULTS: dict[str, Any] = {
    "scale": 1 / 255,
    "mean": (0.0, 0.0, 0.0),
    "std": (1.0, 1.0, 1.0),
    "channel_order": "rgb",
    "resize": "stretch",
    "activation": "softmax",
}
_RAW_PIXELS = {"scale": 1.0, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


@dataclass(frozen=True)
class TensorInfo:
    """Declared name, dtype and shape of a graph input or output; shape None = the graph does not say."""

    name: str
    dtype: str
    shape: tuple[Dim, ...] | None

    def __str__(self) -> str:
        return f"{self.name!r} {self.dtype} {show_shape(self.shape) if self.shape is not None else '[unknown]'}"


@dataclass(frozen=True)
class InputSpec:
    """How to feed a graph: one image tensor of this name, dtype, layout and size (h, w)."""

    name: str
    dtype: str
    layout: str
    size: tuple[int, int]
    size_source: str
    fixed_size: bool
    batch: int | None
    channels: int


def resolve_input(path: str, inputs: Sequence[TensorInfo], stated: Stated) -> InputSpec:
    """The one image input of a graph: layout, size and batch.

    Raises:
        ModelError: not exactly one input, wrong rank, dtype or layout, or a size the graph does not take.
    """
    if len(inputs) != 1:
        listed = "; ".join(map(str, inputs)) or "none"
        raise ModelError(f"model {path} must have exactly one required input, the image; it has {listed}")
    info = inputs[0]
    if info.shape is not None and len(info.shape) != 4:
        raise ModelError(
            f"model {path} takes no images: input {info} has rank {len(info.shape)}; "
            "it must be (N, 3, h, w) or (N, h, w, 3)"
        )
    if info.dtype not in INPUT_DTYPES:
        raise ModelError(f"model {path}: input {info} is unsupported; export it with {', '.join(INPUT_DTYPES)} input")
    shape = info.shape or (None,) * 4
    layout = input_layout(info.name, shape, stated.get("input_layout"))
    channel, row, column = LAYOUT_AXES[layout]
    declared = (shape[row], shape[column])
    said = stated.get("input_size")
    size = tuple(d or (said[i] if said else DEFAULT_SIDE) for i, d in enumerate(declared))
    source = "graph" if None not in declared else stated.source("input_size") if said else "default"
    if said is not None and said != size:
        raise ModelError(
            f"model {path}: the graph takes {show_shape(declared)} pixels, not the {show(said)} that "
            f"{stated.source('input_size')} asks for; leave input_size out"
        )
    if (shape[0] or 1) * size[0] * size[1] > MAX_INPUT_PIXELS:
        raise ModelError(
            f"model {path}: an input of {show_shape(shape)} at {show(size)} exceeds {MAX_INPUT_PIXELS} pixels"
        )
    fixed = None not in declared
    channels = shape[channel] or (1 if stated.get("channel_order") == "grey" else 3)
    return InputSpec(info.name, info.dtype, layout, (size[0], size[1]), source, fixed, shape[0], channels)


def resolve_spec(file: OnnxFile, image: InputSpec, outputs: Mapping[str, NDArray[Any]], stated: Stated) -> ModelSpec:
    """All facts of a model, given what one run gave (``image.batch or 1`` images).

    Raises:
        ModelError: outputs hold no scores, the class count does not fit, or statements contradict the graph.
    """
    path = str(file.path)
    name, warnings = choose_output(path, outputs, stated.get("output"))
    scores, layout, layout_source = score_axes(path, name, outputs[name], image.batch or 1, image.size, stated)
    n_classes = scores.shape[-3]
    classes, classes_source = _class_names(path, name, n_classes, stated)
    pixel, pixel_sources, assumed = _pixel_facts(path, image, n_classes, stated)
    sources = {
        "sha256": "file",
        **dict.fromkeys(("opset", "input_name", "input_dtype", "batch", "channels"), "graph"),
        **dict.fromkeys(("output_dtype", "n_passes", "n_classes", "output_size"), "graph"),
        "input_layout": stated.source("input_layout") if stated.get("input_layout") else "graph",
        "input_size": image.size_source,
        "output_name": stated.source("output") if stated.get("output") else "graph",
        "output_layout": layout_source,
        "classes": classes_source,
        **pixel_sources,
    }
    if image.size_source == "default":
        side = show(image.size)
        warnings += (f"the graph takes any size and none is stated: {side} assumed; say --input-size",)
    if assumed:
        listed = ", ".join(f"{key} {_show_default(pixel[key])}" for key in assumed)
        where = file.path.with_suffix(".json").name
        advice = f"say --{assumed[0].replace('_', '-')} and so on, or write them into {where}"
        warnings += (f"assumed, because nothing states it: {listed}; {advice}",)
    if doubt := activation_doubt(scores, pixel["activation"], "activation" in assumed):
        warnings += (doubt,)
    return ModelSpec(
        path=path,
        sha256=file.sha256,
        ir_version=file.ir_version,
        opset=file.opset,
        producer=file.producer,
        input_name=image.name,
        input_dtype=image.dtype,
        input_layout=image.layout,
        input_size=image.size,
        fixed_size=image.fixed_size,
        batch=image.batch,
        channels=image.channels,
        output_name=name,
        output_dtype=str(scores.dtype),
        output_layout=layout,
        n_passes=scores.shape[1] if layout == "NTCHW" else 1,
        n_classes=n_classes,
        output_size=(scores.shape[-2], scores.shape[-1]),
        classes=classes,
        **pixel,
        sources=sources,
        warnings=warnings,
    )


def _class_names(path: str, name: str, n_classes: int, stated: Stated) -> tuple[tuple[str, ...], str]:
    said = stated.get("classes")
    numbered = tuple(f"class_{i}" for i in range(n_classes))
    if said is None:
        return numbered, "default"
    count = said if isinstance(said, int) else len(said)
    source = stated.source("classes")
    if count != n_classes:
        raise ModelError(
            f"model {path}: {count} classes stated ({source}) but output {name!r} has {n_classes} channels; "
            "correct the list or say --output-layout"
        )
    return (numbered if isinstance(said, int) else said), source


def _pixel_facts(
    path: str, image: InputSpec, n_classes: int, stated: Stated
) -> tuple[dict[str, Any], dict[str, str], tuple[str, ...]]:
    """Values of scale, mean, std, channel_order, resize, activation, background; their sources; which were assumed."""
    defaults = dict(_DEFAULTS)
    if image.dtype == "uint8":
        defaults |= _RAW_PIXELS
    if n_classes == 1:
        defaults["activation"] = "sigmoid"
    values, sources, assumed = {}, {}, []
    for key, default in defaults.items():
        said = stated.get(key)
        values[key] = default if said is None else said
        sources[key] = "default" if said is None else stated.source(key)
        if said is None and not (image.dtype == "uint8" and key in _RAW_PIXELS):
            assumed.append(key)
    if image.channels == 1:
        values["channel_order"], sources["channel_order"] = _grey(path, values, stated), "graph"
        assumed = [key for key in assumed if key != "channel_order"]
    elif values["channel_order"] == "grey":
        raise ModelError(f"model {path}: channel_order is grey but the input has 3 channels; say rgb or bgr")
    if image.dtype == "uint8" and any(values[key] != raw for key, raw in _RAW_PIXELS.items()):
        raise ModelError(f"model {path}: a uint8 input takes raw pixels; leave scale, mean and std out")
    if n_classes == 1 and values["activation"] == "softmax":
        raise ModelError(f"model {path}: softmax over one class is always 1; say sigmoid or probabilities")
    if values["resize"] == "short-side" and image.fixed_size:
        raise ModelError(
            f"model {path}: resize short-side needs a graph of dynamic size, this one takes "
            f"{show(image.size)}; say stretch or letterbox"
        )
    values["background"], sources["background"] = _background(path, values["activation"], stated)
    return values, sources, tuple(assumed)


def _background(path: str, activation: str, stated: Stated) -> tuple[float | None, str]:
    """The background score of a model of activation maps, None of any other; and its source."""
    said = stated.get("background")
    if activation == "cam":
        if "background" in (stated.get("classes") if isinstance(stated.get("classes"), tuple) else ()):
            raise ModelError(
                f"model {path}: activation maps have no class background, it is added as label 0; leave it out of "
                "classes"
            )
        return (CAM_BACKGROUND, "default") if said is None else (said, stated.source("background"))
    if said is not None and stated.source("background").startswith("option"):
        raise ModelError(
            f"model {path}: only activation maps are given a background score, its activation is {activation}; leave "
            "background out, or say --activation cam"
        )
    return None, "default"


def _grey(path: str, values: Mapping[str, Any], stated: Stated) -> str:
    if stated.get("channel_order") in ("rgb", "bgr"):
        raise ModelError(f"model {path}: the input has one channel; channel_order must be grey or left out")
    for key in ("mean", "std"):
        if len(set(values[key])) > 1:
            raise ModelError(f"model {path}: the input has one channel; {key} must be one number")
    return "grey"


def _show_default(value: Any) -> str:
    return show(value[0] if isinstance(value, tuple) else value)
