"""What every baseline of `bench crf` looks like.

``make(image, probs, n_iter, gaussian, bilateral) -> call`` with image [H, W, 3] uint8 RGB, probs [C, H, W] float32 of
columns that sum to 1, and the terms as in `crf_exact`; ``call()`` gives marginals [C, H, W] float32. A call does all of
it: unaries, lattice, iterations. A module that can build the lattice alone also has
``lattice(image, n_classes, gaussian, bilateral) -> call``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Probs = NDArray[np.float32]
Call = Callable[[], Any]

SMALLEST = np.float32(1e-5)  # a probability of 0 has no logarithm; pydensecrf's own helper raises it to this
