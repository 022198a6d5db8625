"""What the engine knows about a model: every fact, and where it was stated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..errors import ModelError
from .options import ModelOptions, show

__all__ = ["ModelOptions", "ModelSpec"]

# Facts that change scores; the rest (path, sources, warnings, producer) may differ between two equal runs.
_IDENTITY = (
    *("sha256", "input_name", "input_dtype", "input_layout", "input_size", "fixed_size", "channels"),
    *("output_name", "output_layout", "n_passes", "n_classes", "output_size"),
    *("classes", "mean", "std", "scale", "channel_order", "resize", "activation"),
)
_COLUMN = 64  # characters of the value column in `describe`: a SHA-256 fits
_TUPLES = ("input_size", "output_size", "classes", "mean", "std", "warnings")


@dataclass(frozen=True)
class ModelSpec:
    """Everything resolved about one model. Sizes are (h, w) in pixels.

    A pixel p (0..255) enters as ``(p * scale - mean) / std``, channel by channel in the order of the model's
    input (`channel_order`): for a "bgr" model, mean[0] and std[0] belong to blue.

    Attributes:
        path: the model file as it was named.
        sha256: digest of the file, external data included (see `onnx_file.OnnxFile`).
        opset: operator set versions by domain.
        producer: name and version of the exporter, may be empty.
        input_dtype: "float32", "float16" or "uint8" (uint8 models take raw pixels: scale 1, mean 0, std 1).
        input_layout: "NCHW" or "NHWC".
        input_size: the size images are brought to.
        fixed_size: the graph takes no other input size.
        batch: images a call that the graph fixes; None = any number.
        channels: 3, or 1 for a grey model. A `Runner` takes three channels in either case.
        output_layout: "NCHW", "NHWC", or "NTCHW" when the graph itself gives T passes.
        n_passes: T, 1 unless the layout is NTCHW.
        output_size: size of the scores for an image of `input_size`.
        activation: "softmax", "sigmoid", "probabilities", or "cam": class activation maps, beside which the background
            is label 0.
        background: score of the background beside the maps of "cam"; None of other models.
        channel_order: "rgb", "bgr", or "grey" (fill the input as rgb; the runner makes the luma).
        sources: field -> "graph" | "metadata" | "sidecar" | "option" | "default", with what it overrode.
        warnings: what was assumed or looks wrong, a sentence each.
    """

    path: str
    sha256: str
    ir_version: int
    opset: dict[str, int]
    producer: str
    input_name: str
    input_dtype: str
    input_layout: str
    input_size: tuple[int, int]
    fixed_size: bool
    batch: int | None
    channels: int
    output_name: str
    output_dtype: str
    output_layout: str
    n_passes: int
    n_classes: int
    output_size: tuple[int, int]
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: float
    channel_order: str
    resize: str
    activation: str
    background: float | None
    sources: dict[str, str]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All facts as JSON values; `from_json` gives an equal spec back."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModelSpec:
        """The spec that `to_json` wrote.

        Raises:
            ModelError: a field is missing or unknown.
        """
        names = {f.name for f in fields(cls)}
        if wrong := sorted(names ^ set(values)):
            kind = "lacks" if wrong[0] in names else "has an unknown"
            raise ModelError(f"model description {kind} field {wrong[0]!r}; write it again with this version")
        known: dict[str, Any] = {k: tuple(v) if k in _TUPLES else v for k, v in values.items()}
        return cls(**known)

    def identity(self) -> dict[str, Any]:
        """The facts that decide the scores: two runs with equal identity may share their rows."""
        everything = self.to_json()
        facts = {key: everything[key] for key in _IDENTITY}
        # Models without a background of their own say what they said before there were any with one.
        return facts if self.background is None else {**facts, "background": self.background}

    def describe(self) -> str:
        """The text of `alseg inspect MODEL`: field, value and source in columns, warnings after them."""
        rows = [(name, _printable(value), self.sources.get(key, "")) for name, key, value in self._facts()]
        # A long path must not push every source to the right edge.
        widths = [max(len(row[i]) for row in rows if len(row[i]) <= _COLUMN) for i in range(2)]
        lines = [f"{n:<{widths[0]}}  {v:<{widths[1]}}  {s}".rstrip() for n, v, s in rows]
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])

    def _facts(self) -> list[tuple[str, str, str]]:
        """(label, key into sources, value) in reading order."""
        opsets = ", ".join(f"{domain} {version}" for domain, version in self.opset.items())
        producer = f", by {self.producer}" if self.producer else ""
        size = "fixed" if self.fixed_size else "any; this one unless told otherwise"
        batch = "any" if self.batch is None else f"{self.batch} (fixed)"
        passes = [("passes", "n_passes", str(self.n_passes))] if self.output_layout == "NTCHW" else []
        return [
            ("model", "path", self.path),
            ("sha256", "sha256", self.sha256),
            ("format", "opset", f"ONNX IR {self.ir_version}, opset {opsets}{producer}"),
            ("input", "input_name", self.input_name),
            ("input dtype", "input_dtype", self.input_dtype),
            ("input layout", "input_layout", self.input_layout),
            ("input size", "input_size", f"{show(self.input_size)} h x w, {size}"),
            ("batch", "batch", batch),
            ("channels", "channels", str(self.channels)),
            ("output", "output_name", self.output_name),
            ("output dtype", "output_dtype", self.output_dtype),
            ("output layout", "output_layout", self.output_layout),
            ("output size", "output_size", f"{show(self.output_size)} h x w"),
            *passes,
            ("classes", "classes", f"{self.n_classes}: {_shorten(self.classes)}"),
            ("scale", "scale", show(self.scale)),
            ("mean", "mean", f"{show(self.mean)} ({self.channel_order})"),
            ("std", "std", f"{show(self.std)} ({self.channel_order})"),
            ("channel order", "channel_order", self.channel_order),
            ("resize", "resize", self.resize),
            ("activation", "activation", self.activation),
            *([] if self.background is None else [("background", "background", f"{show(self.background)}, label 0")]),
        ]


def _shorten(names: tuple[str, ...]) -> str:
    """As many names as a column holds, and how many are left."""
    shown, room = 0, _COLUMN - len("65535: , ... (65535 more)")
    while shown < len(names) and (room := room - len(names[shown]) - 2) >= 0:
        shown += 1
    if shown == len(names):
        return ", ".join(names)
    return f"{', '.join(names[: max(shown, 1)])}, ... ({len(names) - max(shown, 1)} more)"


def _printable(text: str) -> str:
    """Names come from files of strangers: keep their control characters from the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)
