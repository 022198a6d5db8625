"""What every baseline of `bench uncertainty` looks like.

``make(logits, size) -> call`` with logits [1, C, h, w] float32 and size (H, W); ``call()`` gives entropy (nats),
p1 - p2 and arg-max labels, each [1, H, W], of the softmax of the bilinearly upsampled logits (corners not aligned).
A module of baselines also has ``set_threads(n)``, called before `make`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Outputs = tuple[Any, Any, Any]
Call = Callable[[], Outputs]
