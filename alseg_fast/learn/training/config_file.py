"""Reads CONFIG.yaml and `--set` into a `TrainConfig`; every mistake is one line that says where and what to do.

YAML is read as version 1.2 has it, not 1.1: 1e-4 is a number, and off, no and 010 are text.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ...errors import UsageError
from .config import TrainConfig

READY = Path(__file__).resolve().parents[1] / "configs"
_MOST_BYTES = 1 << 20
_MOST_VALUES = 100_000
_Model = TypeVar("_Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars, and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    where = f"line {key.start_mark.line + 1}"
                    raise yaml.MarkedYAMLError(problem=f"the key {key.value} stands twice, again in {where}")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}  # of its own: without YAML 1.1's
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def ready_names(folder: Path | None = None) -> list[str]:
    """Names of the configs that ship in the package, in this folder of it."""
    return sorted(path.stem for path in (folder or READY).glob("*.yaml"))


def ready_configs(folder: Path | None = None) -> dict[str, str]:
    """Name -> what it is for: the first sentence of the comment it begins with."""
    found = {}
    for name in ready_names(folder):
        lines = ((folder or READY) / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
        comment = itertools.takewhile(lambda line: re.match(r"#\s*\S", line), lines)
        words = " ".join(line.removeprefix("#").strip() for line in comment)
        found[name] = re.split(r"(?<=\.)\s+(?=[A-Z])", words)[0]
    return found


def read_config(source: str, settings: Sequence[str] = ()) -> TrainConfig:
    """The config of a file, or of a ready name, with `key.key=value` settings that win over it.

    Raises: UsageError: no such file or name, no YAML, a key twice or unknown, a value of a wrong type or out of range.
    """
    return read_as(TrainConfig, source, settings, READY)


def read_as(model: type[_Model], source: str, settings: Sequence[str], folder: Path) -> _Model:
    """The same for any kind of config; `folder` has the ready ones. Raises: as `read_config`."""
    path = Path(source)
    if not path.exists() and re.fullmatch(r"[A-Za-z0-9_-]+", source):
        path = folder / f"{source}.yaml"
        if not path.exists():
            names = ready_names(folder)
            close = difflib.get_close_matches(source, names, 1, 0.5)
            advice = f"did you mean {close[0]}?" if close else f"the ready ones are {', '.join(names)}"
            raise UsageError(f"{source} is neither a file nor a ready config; {advice}")
    values = _read_mapping(path, source)
    named = dict(_setting(text) for text in settings)
    for key, value in named.items():
        _put(values, key, value)
    return validated(model, values, source, named)


def validated(
    model: type[_Model],
    values: Mapping[str, Any],
    source: str,
    settings: Mapping[str, Any] | None = None,
    prefix: str = "",
) -> _Model:
    """`values` as a model, with this module's messages.

    Args:
        source: what stands before the message.
        settings: keys that came from `--set`, which the message then names instead.
        prefix: of the keys in the message, such as "options.".
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        key, text = _message(model, values, problems)
        named = any(key == k or key.startswith(f"{k}.") for k in settings or {})
        more = len({p["loc"][:2] for p in problems}) - 1
        tail = f" ({more} more after this one)" if more > 0 else ""
        raise UsageError(f"{'--set' if named else source}: {prefix}{text}{tail}") from None


def method_options(model: type[_Model], config: TrainConfig, source: str) -> _Model:
    """The config's `options` as the method's own type."""
    return validated(model, config.options, source, None, "options.")


def _read_mapping(path: Path, source: str) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader) if size <= _MOST_BYTES else None
        own = _own_copy(values, [_MOST_VALUES])
    except OSError as error:
        raise UsageError(f"cannot read {source}: {error.strerror}; check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UsageError(f"{source} is not YAML: {' '.join(str(error).split())}; correct it") from error
    if size > _MOST_BYTES:
        raise UsageError(f"{source} is larger than a config can be ({_MOST_BYTES:,} bytes); check the path")
    if not isinstance(own, dict):
        raise UsageError(f"{source} must be a mapping of keys; got {type(own).__name__}; see alseg train --help")
    return own


def _own_copy(value: Any, left: list[int]) -> Any:
    """A copy without shared parts: YAML's aliases are one object, but a setting must change one place only.

    Raises: ValueError: aliases of aliases make it larger than any config (`left`: values that may still come).
    """
    left[0] -= 1
    if left[0] < 0:
        raise ValueError(f"its aliases stand for more than {_MOST_VALUES:,} values")
    if isinstance(value, dict):
        return {key: _own_copy(item, left) for key, item in value.items()}
    return [_own_copy(item, left) for item in value] if isinstance(value, list) else value


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[^.\s]+(\.[^.\s]+)*", key):
        raise UsageError(f"--set must be key.key=value; got {text!r}; write for example --set stages.main.steps=500")
    try:
        return key, _own_copy(yaml.load(value, _Loader), [_MOST_VALUES])
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"--set {key}: {value!r} is not YAML ({' '.join(str(error).split())})") from error


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    here: Any = values
    for i, parent in enumerate(parents):
        if here.get(parent) is None:
            here[parent] = {}
        here = here[parent]
        if not isinstance(here, dict):
            raise UsageError(f"--set {key}: {'.'.join(parents[: i + 1])} is a value, not a mapping of keys")
    here[last] = value


def _message(model: type[BaseModel], values: Any, problems: list[ErrorDetails]) -> tuple[str, str]:
    """(key, what is wrong with it) of the first problem; a union's problems are told together."""
    first = problems[0]
    loc = _known_part(values, first)
    key = ".".join(map(str, loc))
    if first["type"] == "extra_forbidden":
        near = _near(str(loc[-1]), _keys_at(model, loc[:-1]))
        return key, f"{key} is not a key{near}"
    if first["type"] == "missing":
        return key, f"{key} is missing; add it, or give --set {key}=VALUE"
    if first["type"] == "value_error":
        text = str(first["ctx"]["error"]) if "ctx" in first else first["msg"]
        head = f"{key}." if key else ""
        return key, f"{head}{text}"
    wants = [_wants(p["msg"]) for p in problems if _known_part(values, p) == loc]
    return key, f"{key} must be {' or '.join(dict.fromkeys(wants))}; got {_short(first['input'])}"


def _known_part(values: Any, problem: ErrorDetails) -> tuple[int | str, ...]:
    """The keys of a problem's place; pydantic adds names of union members, which the user never wrote."""
    known: list[int | str] = []
    here = values
    for part in problem["loc"]:
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            if problem["type"] == "missing" and part == problem["loc"][-1]:
                known.append(part)
            break
        known.append(part)
    return tuple(known)


def _keys_at(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The keys that are allowed in the mapping at `path`."""
    here: Any = model
    for part in path:
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(str(part))
            here = None if field is None else _model_in(field.annotation)
        elif get_origin(here) is dict:
            here = _model_in(get_args(here)[1])
    return list(here.model_fields) if isinstance(here, type) and issubclass(here, BaseModel) else []


def _model_in(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, UnionType):
        return next((a for a in get_args(annotation) if isinstance(a, type) and issubclass(a, BaseModel)), None)
    return annotation


def _near(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, 1, 0.5)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; the keys are {', '.join(known)}" if known else "; drop it"


def _wants(message: str) -> str:
    """What pydantic asks for, without its "Input should be"."""
    return re.sub(r"^Input should (be|have|match) ?", "", message).replace("'", "") or message


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."
