"""What every baseline of the MC form looks like.

``make(logits, size) -> call`` with logits [1, T, C, h, w] float32 and size (H, W); ``call()`` gives measure ->
[1, H, W]: "entropy" (of the mean of the T softmax outputs, nats), "expected_entropy" (mean of their entropies),
"mutual_information" (the difference: BALD) and "variance" (population variance over the passes, mean over classes)
of the bilinearly upsampled logits (corners not aligned). One that gives fewer measures says so in its name.
A module of baselines also has ``set_threads(n)``, called before `make`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MEASURES = ("entropy", "expected_entropy", "mutual_information", "variance")
Outputs = dict[str, Any]
Call = Callable[[], Outputs]
