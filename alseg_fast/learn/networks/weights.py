"""Weights from files: torchvision's ResNets, DeiT's transformers, or state dicts of this package."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ModelError

_WRAPPERS = ("state_dict", "model", "model_state_dict")
_PREFIX = "module."
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class WeightsReport:
    """What `load_weights` did.

    Attributes:
        matched: names that were loaded.
        missing: names of the module that the file does not have; they keep their values. Batch counters, which
            older files lack and nothing uses, are not counted.
        mismatched: names whose shapes differ, with the sentence that says so; they keep their values.
        ignored: names in the file that the module does not have, such as ``fc.weight``.
    """

    path: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: Mapping[str, str]
    ignored: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} tensors loaded from {self.path}"]
        parts += [f"missing: {_few(self.missing)}"] if self.missing else []
        parts += [f"of another shape: {_few(tuple(self.mismatched.values()))}"] if self.mismatched else []
        parts += [f"ignored: {_few(self.ignored)}"] if self.ignored else []
        return "; ".join(parts)


def load_weights(module: nn.Module, path: str | Path, *, prefix: str = "", strict: bool = False) -> WeightsReport:
    """Load the tensors of a file into a module by name; either all that fit, or on an error none.

    Files are read without running code in them. A dict around the state dict ("state_dict", "model") and the prefix
    "module." of parallel training are taken off.

    Args:
        prefix: only names that begin with it count, without it: "encoder." loads the encoder of a whole network.
        strict: missing names or other shapes are an error.
    Raises:
        ModelError: the file is missing, damaged, no state dict, fits in no name, or not wholly with ``strict``.
    """
    stored = {name.removeprefix(prefix): value for name, value in _read(Path(path)).items() if name.startswith(prefix)}
    own = module.state_dict()
    shared = [name for name in own if name in stored]
    mismatched = {
        name: f"{name} {list(stored[name].shape)} in the file, {list(own[name].shape)} in the network"
        for name in shared
        if stored[name].shape != own[name].shape
    }
    matched = tuple(name for name in shared if name not in mismatched)
    report = WeightsReport(
        str(path),
        matched,
        tuple(name for name in own if name not in stored and not name.endswith(_COUNTER)),
        mismatched,
        tuple(name for name in stored if name not in own),
    )
    if not matched or (strict and (report.missing or mismatched)):
        raise ModelError(f"weights {path} do not fit the network: {report}; give a file of the same architecture")
    bad = [name for name in matched if stored[name].is_floating_point() and not stored[name].isfinite().all()]
    if bad:
        raise ModelError(f"weights {path} hold NaN or infinity in {bad[0]}; take an earlier file")
    with torch.no_grad():
        for name in matched:
            own[name].copy_(stored[name])
    return report


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"weights {path} are not there; give the path of a file")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError, zipfile.BadZipFile) as exc:
        reason = next(iter(str(exc).splitlines()), type(exc).__name__)[:200]
        raise ModelError(f"weights {path} cannot be read ({reason}); fetch or save the file again") from exc
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise ModelError(f"weights {path} hold a {type(content).__name__}; they must be a state dict: names to tensors")
    tensors = {str(k).removeprefix(_PREFIX): v for k, v in content.items() if isinstance(v, Tensor)}
    if not tensors:
        raise ModelError(f"weights {path} hold no tensors by name; they must be a state dict")
    return tensors


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
