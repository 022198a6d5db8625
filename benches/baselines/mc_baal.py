"""BALD of the baal library, after PyTorch's interpolation and softmax.

Only its module of heuristics is loaded: ``import baal`` pulls in training code with needs of its own. baal wants
[N, C, H, W, T], the passes last; heuristics for a single pass would average over whatever axis comes last.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from .mc_signature import Call, Outputs
from .torch_eager import set_threads

__all__ = ["bald", "load_heuristics", "set_threads"]

_HEURISTICS = "baal.active.heuristics.heuristics"
_PARENTS = ("baal", "baal.active", "baal.active.heuristics", "baal.utils")


def load_heuristics() -> ModuleType:
    """baal's heuristics without running the ``__init__`` files above them.

    Raises: ModuleNotFoundError: baal, or SciPy which it needs, is not installed.
    """
    if _HEURISTICS in sys.modules:
        return sys.modules[_HEURISTICS]
    # find_spec of a top-level name imports nothing.
    spec = find_spec("baal")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("baal is not installed; pip install --no-deps baal scipy")
    root = Path(next(iter(spec.submodule_search_locations)))
    before = {name for name in sys.modules if name.split(".")[0] == "baal"}
    try:
        for name in _PARENTS:
            if name not in sys.modules:
                parent = ModuleType(name)
                parent.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
                sys.modules[name] = parent
        return import_module(_HEURISTICS)
    finally:  # a later `import baal` must find the real package
        for name in [n for n in sys.modules if n.split(".")[0] == "baal" and n not in before]:
            del sys.modules[name]


def bald(logits: NDArray[np.float32], size: tuple[int, int]) -> Call:
    """Mutual information alone."""
    z = torch.from_numpy(logits)[0]
    heuristic: Any = load_heuristics().BALD()

    def call() -> Outputs:
        with torch.inference_mode():
            up = functional.interpolate(z, size=size, mode="bilinear", align_corners=False)
            p = torch.softmax(up, dim=1).numpy()  # [T, C, H, W]
        return {"mutual_information": heuristic.compute_score(np.moveaxis(p, 0, -1)[None])}

    return call
