"""The methods that `alseg train` knows, by name."""

from __future__ import annotations

import difflib
import importlib
from typing import cast

from ...errors import UsageError
from .job import Recipe

_PACKAGE = "alseg_fast.learn.methods"
METHODS = {
    name: f"{_PACKAGE}.{name}"
    for name in ("classifier", "segmentation", "separated", "joint", "cosa", "four_step", "erasing")
}


def load_recipe(name: str) -> Recipe:
    """The module of a method. Raises: UsageError: there is none of this name."""
    if name not in METHODS:
        close = difflib.get_close_matches(name, METHODS, 1, 0.5)
        hint = f"did you mean {close[0]}?" if close else "choose one of them"
        raise UsageError(f"method must be one of {', '.join(METHODS)}; got {name!r}; {hint}")
    return cast(Recipe, importlib.import_module(METHODS[name]))
