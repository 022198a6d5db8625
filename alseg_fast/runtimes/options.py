"""What is stated about a model besides its graph (options, metadata, sidecar), and who wins."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from ..errors import AlsegError, ModelError, UsageError

MAX_SIDECAR_BYTES = 1 << 20
MAX_SIDE = 65_536
METADATA_PREFIX = "alseg."


@dataclass(frozen=True)
class ModelOptions:
    """What the user says about a model on the command line or in Python; None = not said.

    A pixel p (0..255) becomes ``(p * scale - mean) / std``, channel by channel in the order of the model's
    input: for a "bgr" model, mean[0] belongs to blue.

    Attributes:
        classes: class names in channel order, or only their number.
        mean, std: three numbers, or one for all channels; in the units of ``p * scale``.
        scale: factor applied to 0..255 pixels.
        input_size: (h, w) in pixels, or one side, for models of dynamic size.
        activation: what the scores are; "cam": class activation maps, to which the background is added as label 0.
        background: score of the background beside activation maps divided by their largest value, in (0, 1).
        output: name of the graph output that holds the scores.
    """

    classes: tuple[str, ...] | int | None = None
    mean: tuple[float, ...] | float | None = None
    std: tuple[float, ...] | float | None = None
    scale: float | None = None
    channel_order: Literal["rgb", "bgr", "grey"] | None = None
    resize: Literal["stretch", "letterbox", "short-side"] | None = None
    activation: Literal["softmax", "sigmoid", "probabilities", "cam"] | None = None
    output: str | None = None
    input_size: tuple[int, int] | int | None = None
    input_layout: Literal["NCHW", "NHWC"] | None = None
    output_layout: Literal["NCHW", "NHWC"] | None = None
    background: float | None = None

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> ModelOptions:
        """Options from loose values (command-line strings, YAML): "0.5,0.5,0.5", "512x896", "1/255", "a,b,c".

        Raises:
            UsageError: a key is unknown or a value is not what its key takes.
        """
        unknown = sorted(set(values) - set(KEYS))
        if unknown:
            raise UsageError(f"unknown model option {unknown[0]}; known: {', '.join(KEYS)}")
        return cls(**{k: _parse(k, v, "model option", UsageError) for k, v in values.items() if v is not None})

    def to_json(self) -> dict[str, Any]:
        """What is said, as JSON values that `from_mapping` takes back."""
        said = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in said.items() if v is not None}


KEYS = tuple(f.name for f in fields(ModelOptions))


@dataclass(frozen=True)
class Stated:
    """Parsed statements by key, strongest first: ``{key: ((source, value), ...)}``."""

    values: dict[str, tuple[tuple[str, Any], ...]] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        """The winning value of a key, or None when nobody states it."""
        said = self.values.get(key)
        return said[0][1] if said else None

    def source(self, key: str) -> str:
        """Where the winning value comes from, naming what it overrode: ``option (metadata says 0.5)``."""
        (name, value), *others = self.values[key]
        beaten = [f"{other} says {show(v)}" for other, v in others if v != value]
        return f"{name} ({', '.join(beaten)})" if beaten else name


def collect_statements(path: Path, metadata: Mapping[str, str], options: ModelOptions) -> Stated:
    """Parse options, then ``alseg.*`` ONNX metadata, then the sidecar ``M.json`` (or ``M.onnx.json``).

    Raises:
        UsageError: an option's value is not what it takes.
        ModelError: metadata or sidecar have an unknown key or a wrong value, or two sidecars lie there.
    """
    said: dict[str, list[tuple[str, Any]]] = {}

    def add(source: str, where: str, values: Mapping[str, object], error: type[AlsegError]) -> None:
        for key, raw in values.items():
            said.setdefault(key, []).append((source, _parse(key, raw, where, error)))

    given = {key: getattr(options, key) for key in KEYS}
    add("option", "model option", {k: v for k, v in given.items() if v is not None}, UsageError)
    named = {k: v for k, v in metadata.items() if k.startswith(METADATA_PREFIX)}
    _check_keys(named, METADATA_PREFIX, f"in the metadata of model {path}")
    stripped = {k.removeprefix(METADATA_PREFIX): v for k, v in named.items()}
    add("metadata", f"model {path}: metadata alseg.", stripped, ModelError)
    sidecar, values = _read_sidecar(path)
    add("sidecar", f"sidecar {sidecar}:", values, ModelError)
    return Stated({key: tuple(items) for key, items in said.items()})


def show(value: Any) -> str:
    """A value as a person writes it: 1/255 for a scale, commas for a tuple, 0.485 rather than 0.48500001."""
    if isinstance(value, tuple):
        return "x".join(map(str, value)) if _is_size(value) else ", ".join(map(show, value))
    if isinstance(value, float):
        if value != 1 and 0 < value < 0.02 and math.isclose(1 / value * 2, round(1 / value * 2), rel_tol=1e-9):
            return f"1/{1 / value:g}"
        return f"{value:.6g}"
    return str(value)


def _is_size(value: tuple[Any, ...]) -> bool:
    return len(value) == 2 and all(isinstance(v, int) for v in value)


def _check_keys(values: Mapping[str, object], prefix: str, where: str) -> None:
    for key in values:
        if key.removeprefix(prefix) not in KEYS:
            known = ", ".join(prefix + k for k in KEYS)
            raise ModelError(f"unknown key {key!r} {where}; known: {known}")


def _read_sidecar(path: Path) -> tuple[Path, dict[str, object]]:
    candidates = [path.with_suffix(".json"), path.with_name(path.name + ".json")]
    found = [c for c in dict.fromkeys(candidates) if c.is_file() and c != path]
    if not found:
        return candidates[0], {}
    if len(found) > 1:
        raise ModelError(f"model {path} has two sidecars, {found[0].name} and {found[1].name}; keep one")
    sidecar = found[0]
    try:
        if sidecar.stat().st_size > MAX_SIDECAR_BYTES:
            raise ModelError(f"sidecar {sidecar} is larger than {MAX_SIDECAR_BYTES} bytes; it is no model sidecar")
        values = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise ModelError(f"sidecar {sidecar} is not readable JSON ({exc}); correct or remove it") from exc
    if not isinstance(values, dict):
        raise ModelError(f"sidecar {sidecar} must hold one JSON object; got {type(values).__name__}")
    _check_keys(values, "", f"in sidecar {sidecar}")
    return sidecar, values


# One parser a key: takes a decoded value, returns the normal form, raises ValueError with the requirement.


def _parse(key: str, raw: object, where: str, error: type[AlsegError]) -> Any:
    try:
        return _PARSERS[key](_decode(key, raw))
    except (ValueError, TypeError, OverflowError) as exc:
        separator = "" if where.endswith(".") else " "
        raise error(f"{where}{separator}{key} must be {_REQUIREMENT[key]}; got {reprlib.repr(raw)}") from exc


def _decode(key: str, raw: object) -> Any:
    """JSON text becomes its value; other text becomes a list where the key takes one, else stays text."""
    # A graph's output may be called "1273", so its name is never read as a number.
    if not isinstance(raw, str) or (key == "output" and not raw.startswith('"')):
        return raw
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        pass
    if key == "classes" or (key in ("mean", "std") and "," in raw):
        return [part.strip() for part in raw.split(",")]
    if key == "input_size":
        return [int(part) for part in raw.lower().replace("x", ",").split(",")]
    return raw


def _classes(value: Any) -> tuple[str, ...] | int:
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= 65_535:
            raise ValueError
        return value
    if not isinstance(value, list | tuple) or not value:
        raise ValueError
    # Names reach terminals, file names and reports: no control characters.
    if not all(isinstance(v, str) and v and v.isprintable() for v in value):
        raise ValueError
    return tuple(value)


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError
    if isinstance(value, str) and value.count("/") == 1:
        over, under = map(float, value.split("/"))
        if under == 0:
            raise ValueError
        return _number(over / under)
    if not math.isfinite(number := float(value)):
        raise ValueError
    return number


def _positive(value: Any) -> float:
    if (number := _number(value)) <= 0:
        raise ValueError
    return number


def _open_share(value: Any) -> float:
    if not 0 < (number := _number(value)) < 1:
        raise ValueError
    return number


def _three(number: Callable[[Any], float]) -> Callable[[Any], tuple[float, ...]]:
    def parse(value: Any) -> tuple[float, ...]:
        values = value if isinstance(value, list | tuple) else [value]
        if len(values) not in (1, 3):
            raise ValueError
        parsed = tuple(number(v) for v in values)
        return parsed if len(parsed) == 3 else parsed * 3

    return parse


def _choice(*names: str) -> Callable[[Any], str]:
    by_fold = {name.casefold(): name for name in names}

    def parse(value: Any) -> str:
        if not isinstance(value, str) or value.casefold() not in by_fold:
            raise ValueError
        return by_fold[value.casefold()]

    return parse


def _output_name(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _size(value: Any) -> tuple[int, int]:
    sides = value if isinstance(value, list | tuple) else [value]
    if len(sides) not in (1, 2) or not all(type(v) is int and 1 <= v <= MAX_SIDE for v in sides):
        raise ValueError
    return sides[0], sides[-1]


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "classes": _classes,
    "mean": _three(_number),
    "std": _three(_positive),
    "scale": _positive,
    "channel_order": _choice("rgb", "bgr", "grey"),
    "resize": _choice("stretch", "letterbox", "short-side"),
    "activation": _choice("softmax", "sigmoid", "probabilities", "cam"),
    "output": _output_name,
    "input_size": _size,
    "input_layout": _choice("NCHW", "NHWC"),
    "output_layout": _choice("NCHW", "NHWC"),
    "background": _open_share,
}
_REQUIREMENT = {
    "classes": "a list of printable class names or their number",
    "mean": "one or three finite numbers",
    "std": "one or three numbers above 0",
    "scale": "a number above 0 (1/255 is one)",
    "channel_order": "rgb, bgr or grey",
    "resize": "stretch, letterbox or short-side",
    "activation": "softmax, sigmoid, probabilities or cam",
    "output": "the name of a graph output",
    "input_size": f"one side or (h, w) in pixels, 1..{MAX_SIDE}",
    "input_layout": "NCHW or NHWC",
    "output_layout": "NCHW or NHWC",
    "background": "a number above 0 and below 1",
}
