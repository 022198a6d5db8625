"""Argument parsing shared by all commands: one-line errors, common options, options from a YAML file."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from ..errors import UsageError
from ..runtimes.options import ModelOptions

# Model options, by the key of the sidecar and of the metadata.
MODEL_OPTIONS = {
    "classes": "class names in channel order, comma separated, or their number",
    "mean": "one or three numbers subtracted from pixel * scale, in the model's channel order",
    "std": "one or three numbers to divide by",
    "scale": "factor on 0..255 pixels, such as 1/255",
    "channel_order": "rgb, bgr or grey",
    "resize": "stretch, letterbox or short-side",
    "activation": "softmax, sigmoid, probabilities, or cam for class activation maps",
    "output": "name of the graph output with the scores",
    "input_size": "HxW, or one side, for graphs of dynamic size",
    "input_layout": "NCHW or NHWC",
    "output_layout": "NCHW or NHWC",
    "background": "score of the background beside activation maps in 0..1",
}


class Parser(argparse.ArgumentParser):
    """argparse with the contract's error line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.ArgumentDefaultsHelpFormatter)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def add_common(parser: argparse.ArgumentParser, *, nested: bool = False) -> None:
    """Options of every command. nested: of an action of a command, which keeps what stands before the action."""
    group = parser.add_argument_group("common options")
    quiet = argparse.SUPPRESS
    off = quiet if nested else False
    group.add_argument("--json", action="store_true", default=off, help="machine-readable result on stdout")
    group.add_argument("--config", metavar="FILE.yaml", default=quiet, help="options from a file, same keys")
    group.add_argument("--debug", action="store_true", default=off, help="show the traceback of an error")
    group.add_argument("-v", "--verbose", action="store_true", default=off, help="log every failed image too")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """What ONNX does not say about a model; stated here it wins over metadata and sidecar."""
    group = parser.add_argument_group("model options (else ONNX metadata, else the sidecar M.json, else a default)")
    for key, text in MODEL_OPTIONS.items():
        group.add_argument(f"--{key.replace('_', '-')}", default=argparse.SUPPRESS, help=text)


def model_options(arguments: argparse.Namespace) -> ModelOptions:
    return ModelOptions.from_mapping({k: getattr(arguments, k) for k in MODEL_OPTIONS if hasattr(arguments, k)})


def with_config(words: Sequence[str]) -> list[str]:
    """The command line with the options of ``--config FILE.yaml`` put before its own, which so win.

    They follow the words up to the first option, at most two: a command may have actions with options of their own.

    Raises: UsageError: the file is missing, is no YAML mapping, or holds nested values.
    """
    for i, word in enumerate(words):
        if word == "--config":
            if i + 1 >= len(words):
                raise UsageError("--config needs a file; give FILE.yaml")
            return _inserted([*words[:i], *words[i + 2 :]], _words_of(words[i + 1]))
        if word.startswith("--config="):
            return _inserted([*words[:i], *words[i + 1 :]], _words_of(word.removeprefix("--config=")))
    return list(words)


def _inserted(words: list[str], options: list[str]) -> list[str]:
    place = 2 if len(words) > 1 and not words[1].startswith("-") else 1
    return [*words[:place], *options, *words[place:]]


def _words_of(path: str) -> list[str]:
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            values = yaml.safe_load(file)
    except OSError as error:
        raise UsageError(f"--config cannot read {path}: {error.strerror}; check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise UsageError(f"--config {path} is not YAML: {text}; correct it") from error
    if values is None:
        return []
    if not isinstance(values, dict):
        raise UsageError(f"--config {path} must be a mapping of options; got {type(values).__name__}; see --help")
    words: list[str] = []
    for key, value in values.items():
        option = "--" + str(key).replace("_", "-")
        if isinstance(value, bool):
            words += [option] if value else []
        elif isinstance(value, (str, int, float)):
            words.append(f"{option}={value}")
        elif isinstance(value, list) and all(isinstance(v, (str, int, float)) for v in value):
            words.append(f"{option}={','.join(map(str, value))}")
        elif value is not None:
            raise UsageError(f"--config {path}: {key} must be a value or a list of values; got {value!r}; see --help")
    return words


def names(text: str) -> tuple[str, ...]:
    """Comma-separated names."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number; got {text!r}") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {text}")
    return value


def shard(text: str) -> tuple[int, int]:
    """I/N with I counted from 0, as Slurm and Kubernetes number their tasks."""
    index, slash, count = text.partition("/")
    if not slash or not index.isdecimal() or not count.isdecimal() or not int(index) < int(count):
        raise argparse.ArgumentTypeError(f"must be I/N with 0 <= I < N; got {text!r}")
    return int(index), int(count)


def size_bytes(text: str) -> int:
    """Bytes of a size such as 500M or 4G (1024 each step), of at least 1M: less would be a slip."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    value = int(float(match[1]) * (1 << 10 * " kmgt".index(match[2] or " "))) if match else 0
    if value < 1 << 20:
        raise argparse.ArgumentTypeError(f"must be a size of at least 1M, such as 500M or 4G; got {text!r}")
    return value
