"""The instruction-set level that the environment pins, applied once."""

from __future__ import annotations

from functools import cache

from .. import config
from ..errors import BackendError


@cache
def apply_simd_level() -> None:
    """Pins the native kernels to ``ALSEG_SIMD`` once, where it is set."""
    level = config.forced_simd_level()
    if level is None:
        return
    from .. import _native

    if level not in _native.available_levels():
        raise BackendError(
            f"ALSEG_SIMD must be one of {', '.join(_native.available_levels())} on this CPU; got {level!r}. Unset it."
        )
    _native.set_simd_level(level)
