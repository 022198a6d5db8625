"""The ``alseg`` command: arguments -> engine -> text or JSON."""

from .main import main

__all__ = ["main"]
