"""OUT of a training: one config, and what --overwrite may delete."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import __version__, atomic
from ...errors import RunError
from .config import TrainConfig

CONFIG = "config.json"
RESULT = "result.json"
DATA = "data.json"
FORMAT = 1
_FOLDERS = ("checkpoints", "tensorboard", "done", "weak", "files")
_FILES = (RESULT, DATA, "metrics.jsonl", "network.onnx", "cam.onnx", "maps.png")
_EMPTY_DISK = "lost+found"  # a freshly made ext4 volume is not quite empty


def open_directory(out: Path, config: TrainConfig, *, overwrite: bool) -> None:
    """Begin a training in OUT, or go on with one of the same config.

    Raises: RunError: OUT holds something else, or a training with another config (the message names the difference).
    """
    atomic.remove_leftovers(out)
    made = _read(out / CONFIG)
    if made is None:
        others = sorted(n for n in os.listdir(out) if n != _EMPTY_DISK and not atomic.is_temp_name(n))
        if others:
            raise RunError(
                f"{out} is not empty and not a training (it has {others[0]} and no {CONFIG}); choose another --out"
            )
    elif overwrite:
        _wipe(out)
    else:
        _check_same(out, made["config"], config.facts())
        return
    content = {
        "format": FORMAT,
        "alseg_version": __version__,
        "config_hash": config.digest(),
        "config": config.facts(),
    }
    atomic.write_atomic(out / CONFIG, json_bytes(content))


def check_data(out: Path, digest: str) -> None:
    """Note the data of the first start; later ones must find the same.

    Raises: RunError: images, tags, splits or masks are not the ones that this training began with.
    """
    made = _read(out / DATA)
    if made is None:
        atomic.write_atomic(out / DATA, json_bytes({"format": FORMAT, "sha256": digest}))
    elif made.get("sha256") != digest:
        raise RunError(
            f"{out} was trained with other images, tags or masks than the data set has now; put them back, or use "
            "another --out or --overwrite"
        )


def read_result(out: Path) -> dict[str, Any] | None:
    """result.json of a finished training; None: it is not finished. Raises: RunError: the file is damaged."""
    return _read(out / RESULT)


def json_bytes(value: Any) -> bytes:
    """Readable JSON, never NaN."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != FORMAT:
            raise RunError(f"{path} has format {content['format']!r}, not {FORMAT}; choose another --out")
        return dict(content)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged; delete {path.parent} or choose another --out") from error


def _wipe(out: Path) -> None:
    """Delete what trainings write, except config.json, which is replaced; files of other makers stay."""
    try:
        for name in _FILES:
            (out / name).unlink(missing_ok=True)
        for name in _FOLDERS:
            path = out / name
            if path.is_symlink():
                raise RunError(f"{path} is a link; delete it yourself or choose another --out")
            if path.exists():
                shutil.rmtree(path)
    except OSError as error:
        raise RunError(f"cannot overwrite {out}: {error}; choose another --out") from error


def _check_same(out: Path, made: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    before, now = _flat(made), _flat(asked)
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if keys:
        had = ", ".join(f"{key} = {_show(before.get(key))}" for key in keys)
        wants = ", ".join(f"{key} = {_show(now.get(key))}" for key in keys)
        wants = _show(now.get(keys[0])) if len(keys) == 1 else wants
        raise RunError(f"{out} was trained with {had}, this command asks for {wants}; use another --out or --overwrite")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _show(value: Any) -> str:
    text = "(not set)" if value is None else json.dumps(value)
    return text if len(text) <= 200 else text[:197] + "..."
