"""Public functions, one file per operation: docstring, checks, then the operation's registry."""

from .resize import resize_normalize
from .uncertainty import uncertainty

__all__ = ["resize_normalize", "uncertainty"]
