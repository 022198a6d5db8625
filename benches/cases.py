"""What `bench uncertainty` measures on: sizes, logits, and the peers by name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SEED = 20240607


@dataclass(frozen=True)
class Case:
    """Logits [1, n_classes, *low] -> maps of `high`. floor_ms: threads -> the stated floor, where there is one."""

    n_classes: int
    low: tuple[int, int]
    high: tuple[int, int]
    floor_ms: dict[int, float] | None = None

    @property
    def name(self) -> str:
        """E.g. C21-32x32-512x512."""
        return f"C{self.n_classes}-{self.low[0]}x{self.low[1]}-{self.high[0]}x{self.high[1]}"


# The floors are those of a throw-away AVX-512 probe, stated for another day's machine of this kind.
CASES = (
    Case(21, (32, 32), (512, 512), {1: 0.94, 2: 0.51}),
    Case(19, (64, 128), (1024, 2048), {1: 7.1, 2: 3.7}),
    Case(2, (28, 28), (224, 224), {1: 0.06, 2: 0.04}),
)


@dataclass(frozen=True)
class Peer:
    """A baseline by where its function lives; heavy libraries load when it is used.

    in_noise: also timed on noise, where most peers cost the same as on smooth logits.
    most_classes: left out above this.
    """

    name: str
    target: str  # "module:function" in baselines/
    in_noise: bool = False
    most_classes: int | None = None


EAGER = Peer("torch eager", "torch_eager:naive", in_noise=True)
PEERS = (
    EAGER,
    Peer("torch eager, tuned", "torch_eager:tuned"),
    Peer("torch eager, planes, kept memory", "torch_eager:planes"),
    Peer("torch.compile, whole", "torch_compiled:whole"),
    # With many classes it compiles for minutes and is slower than the two forms below.
    Peer("torch.compile, whole, unrolled", "torch_compiled:whole_unrolled", most_classes=8),
    Peer("torch interpolate + torch.compile", "torch_compiled:interpolate_then_compiled"),
    Peer(
        "torch interpolate + torch.compile, kept outputs", "torch_compiled:interpolate_then_compiled_out", in_noise=True
    ),
    Peer("onnxruntime graph, rewritten", "onnx_graph:rewritten"),
    Peer("NumPy + cv2.resize", "numpy_cv2:planes"),
)
FLOORS = (
    Peer("floor: write the outputs", "floors:write_outputs"),
    Peer("floor: multiply-adds", "floors:multiply_add"),
    Peer("yardstick: exponentials of torch", "floors:library_exp"),
)


def smooth_logits(case: Case, seed: int) -> NDArray[np.float32]:
    """Smooth random fields: one class leads by several nats inside its region, regions meet in narrow bands."""
    rng = np.random.default_rng(seed)
    h, w = case.low
    noise = rng.standard_normal((case.n_classes, h, w))
    fy, fx = np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None, :]
    field = np.fft.ifft2(np.fft.fft2(noise) * np.exp(-(fy**2 + fx**2) * (2 * np.pi * 3.0) ** 2 / 2)).real
    field *= 4.0 / field.std()
    return (field + 0.1 * rng.standard_normal(field.shape)).astype(np.float32)[None]


def noise_logits(case: Case, seed: int) -> NDArray[np.float32]:
    """Independent normal values times 3."""
    rng = np.random.default_rng(seed)
    return (3.0 * rng.standard_normal((1, case.n_classes, *case.low))).astype(np.float32)


INPUTS = {"smooth": smooth_logits, "noise": noise_logits}
