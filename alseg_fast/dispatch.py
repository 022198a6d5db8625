"""One registry that resolves (operation, device) to an implementation: the only file that knows back ends.

An implementation is skipped for three reasons only: it runs on another device, a package it needs is not
installed, or its declared limits exclude the call. An exception inside an import or a kernel is a bug and
propagates; there is no silent fallback. The readable ``reference`` runs only when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from . import config
from .errors import BackendError, UsageError

BACKENDS = ("triton", "native", "faiss", "numba", "reference")

_forced: ContextVar[str | None] = ContextVar("alseg_backend", default=None)


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Force one back end within a ``with`` block (this thread or task only)."""
    if name not in BACKENDS:
        raise UsageError(f"use_backend: name must be one of {', '.join(BACKENDS)}; got {name!r}.")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


@dataclass(frozen=True)
class Impl:
    """One implementation: a back-end name, where its function lives, and what it can do."""

    backend: str
    target: str  # "module:function" relative to the op's package
    device: str  # "cpu" or "cuda"
    needs: tuple[str, ...] = ()
    limits: Callable[..., str | None] | None = None  # (*args, **kwargs) -> reason it cannot run, or None

    def missing(self) -> str | None:
        """The first package this implementation needs and cannot find, as a sentence."""
        for name in self.needs:
            if not _installed(name):
                return f"{name} is not installed"
        return None


@cache
def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False


@cache
def _load(package: str, target: str) -> Callable[..., Any]:
    module, function = target.split(":")
    loaded: Callable[..., Any] = getattr(import_module(f"{package}.{module}"), function)
    return loaded


@dataclass(frozen=True)
class Op:
    """An operation and its implementations in order of preference."""

    package: str
    impls: tuple[Impl, ...]

    @property
    def name(self) -> str:
        return self.package.rsplit(".", 1)[-1]

    def explain(self, device: str, *args: Any, **kwargs: Any) -> list[tuple[Impl, str | None]]:
        """Each implementation with the reason why it cannot run this call, or None where it can."""
        return [(impl, self._reason(impl, device, args, kwargs)) for impl in self.impls]

    @staticmethod
    def _reason(impl: Impl, device: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        if impl.device != device:
            return f"runs on {impl.device}"
        missing = impl.missing()
        if missing is not None:
            return missing
        return impl.limits(*args, **kwargs) if impl.limits else None

    def resolve(self, device: str, *args: Any, **kwargs: Any) -> Impl:
        """The implementation that will run; BackendError lists every candidate and why it cannot."""
        forced = _forced.get() or config.forced_backend()
        if forced is not None and forced not in BACKENDS:
            raise BackendError(f"ALSEG_BACKEND must be one of {', '.join(BACKENDS)}; got {forced!r}.")
        reasons = []
        for impl in self.impls:
            if forced is None and impl.backend == "reference":
                reasons.append("reference: runs only when it is asked for (ALSEG_BACKEND=reference)")
                continue
            if forced is not None and impl.backend != forced:
                continue
            reason = self._reason(impl, device, args, kwargs)
            if reason is None:
                return impl
            reasons.append(f"{impl.backend}: {reason}")
        what = f"backend {forced!r}" if forced else "no backend"
        listed = "; ".join(reasons) or f"{self.name} has no implementation of that name"
        verb = "cannot run" if forced else "can run"
        raise BackendError(f"{self.name}: {what} {verb} this call on {device}: {listed}.")

    def __call__(self, device: str, *args: Any, **kwargs: Any) -> Any:
        impl = self.resolve(device, *args, **kwargs)
        return _load(self.package, impl.target)(*args, **kwargs)

    def implementation(self, backend: str) -> Callable[..., Any]:
        """The function of one back end, for tests that compare them."""
        for impl in self.impls:
            if impl.backend == backend:
                return _load(self.package, impl.target)
        raise BackendError(f"{self.name}: there is no {backend!r} implementation.")
