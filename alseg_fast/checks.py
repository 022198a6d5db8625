"""The only author of array error messages: ``<function>: <argument> must be <requirement>; got <value>. <fix>``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .errors import DtypeError, RangeError, ShapeError


def is_torch(x: object) -> bool:
    """Whether x is a torch tensor, without importing torch."""
    return type(x).__module__.split(".", 1)[0] == "torch" and hasattr(x, "detach")


def check_ndim(function: str, name: str, x: Any, ndims: Sequence[int], letters: str) -> None:
    if x.ndim not in ndims:
        raise ShapeError(
            f"{function}: {name} must have shape {letters}; got {list(x.shape)}. "
            f"Add or drop axes so that it has {' or '.join(map(str, ndims))} dimensions."
        )
    if 0 in x.shape:
        raise ShapeError(f"{function}: {name} must not be empty; got shape {list(x.shape)}. Pass at least one image.")


def check_dtype(function: str, name: str, dtype: object, allowed: Sequence[str], fix: str) -> None:
    if str(dtype) not in allowed:
        raise DtypeError(f"{function}: {name} must be {' or '.join(allowed)}; got {dtype}. {fix}")


def check_size(function: str, name: str, size: Any) -> tuple[int, int]:
    """(H, W) as two positive ints."""
    try:
        height, width = (int(v) for v in size)
        exact = (height, width) == tuple(size)
    except (TypeError, ValueError):
        exact = False
        height = width = 0
    if not exact or height < 1 or width < 1:
        raise ShapeError(f"{function}: {name} must be (H, W), two positive integers; got {size!r}. Pass pixels.")
    if height * width > 2**40:
        raise ShapeError(f"{function}: {name} must have at most 2^40 pixels; got {size!r}. Pass pixels.")
    return height, width


def check_subset(function: str, name: str, values: object, allowed: Sequence[str]) -> tuple[str, ...]:
    """A tuple of distinct known names; one name alone is accepted as a string."""
    names = (values,) if isinstance(values, str) else tuple(values) if isinstance(values, Iterable) else (values,)
    unknown = [v for v in names if v not in allowed]
    if unknown:
        raise RangeError(
            f"{function}: {name} must be among {', '.join(allowed)}; got {unknown[0]!r}. Correct or drop the name."
        )
    return tuple(dict.fromkeys(str(v) for v in names))


def check_choice(function: str, name: str, value: object, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise RangeError(f"{function}: {name} must be one of {', '.join(allowed)}; got {value!r}. Choose one of them.")
    return str(value)


def check_threads(function: str, num_threads: int | None) -> int:
    """0 for None (all CPUs of this process), else the number itself."""
    if num_threads is None:
        return 0
    if isinstance(num_threads, bool) or not isinstance(num_threads, (int, np.integer)) or num_threads < 1:
        raise RangeError(
            f"{function}: num_threads must be None or an integer >= 1; got {num_threads!r}. None uses every CPU."
        )
    return int(num_threads)
