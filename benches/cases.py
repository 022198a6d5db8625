"""What `bench uncertainty` measures on: sizes, logits, and the peers by name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEED = 20240607
MOST_GIB = 4.0  # a peer whose temporaries need more is left out, and its row says so


@dataclass(frozen=True)
class Case:
    """Logits [1, n_classes, *low], or [1, passes, n_classes, *low] with several passes -> maps of `high`.

    floor_ms: threads -> the stated floor, where there is one.
    """

    n_classes: int
    low: tuple[int, int]
    high: tuple[int, int]
    floor_ms: dict[int, float] | None = None
    passes: int = 1

    @property
    def name(self) -> str:
        """E.g. C21-32x32-512x512, or T8-C21-32x32-512x512."""
        sizes = f"C{self.n_classes}-{self.low[0]}x{self.low[1]}-{self.high[0]}x{self.high[1]}"
        return sizes if self.passes == 1 else f"T{self.passes}-{sizes}"

    @property
    def upsampled_gib(self) -> float:
        """Size of the logits of all passes at full resolution, float32."""
        return 4 * self.passes * self.n_classes * math.prod(self.high) / 2**30


# The floors are those of a throw-away AVX-512 probe, stated for another day's machine of this kind.
CASES = (
    Case(21, (32, 32), (512, 512), {1: 0.94, 2: 0.51}),
    Case(19, (64, 128), (1024, 2048), {1: 7.1, 2: 3.7}),
    Case(2, (28, 28), (224, 224), {1: 0.06, 2: 0.04}),
)
MC_CASES = (
    Case(21, (32, 32), (512, 512), {1: 12.3, 2: 6.5}, passes=8),
    Case(19, (64, 128), (1024, 2048), {2: 39.0}, passes=8),
    Case(2, (28, 28), (224, 224), passes=8),
)


@dataclass(frozen=True)
class Peer:
    """A baseline by where its function lives; heavy libraries load when it is used.

    in_noise: also timed on noise, where most peers cost the same as on smooth logits.
    most_classes: left out above this.
    copies: arrays as large as all upsampled logits that it holds at its peak; see `left_out`.
    gives: what it computes, where that is not everything.
    """

    name: str
    target: str  # "module:function" in baselines/
    in_noise: bool = False
    most_classes: int | None = None
    copies: int = 0
    gives: tuple[str, ...] | None = None

    def left_out(self, case: Case) -> str | None:
        """Why it does not take part in a case, or None where it does."""
        needed = self.copies * case.upsampled_gib
        if needed <= MOST_GIB:
            return None
        return f"left out: holds about {needed:.0f} GiB of temporaries, more than {MOST_GIB:g}"


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
MC_EAGER = Peer("torch eager, batched", "mc_torch_eager:batched", in_noise=True, copies=4)
MC_PEERS = (
    MC_EAGER,
    Peer("torch eager, streamed, kept memory", "mc_torch_eager:streamed"),
    Peer("torch.compile, batched", "mc_torch_compiled:batched", copies=1),
    Peer("torch interpolate + torch.compile, streamed, kept", "mc_torch_compiled:streamed", in_noise=True),
    Peer("onnxruntime graph, rewritten", "mc_onnx_graph:rewritten", copies=10),
    Peer("torch softmax + baal, BALD alone", "mc_baal:bald", copies=4, gives=("mutual_information",)),
)
FLOORS = (
    Peer("floor: write the outputs", "floors:write_outputs"),
    Peer("floor: multiply-adds", "floors:multiply_add"),
    Peer("yardstick: exponentials of torch", "floors:library_exp"),
)


@dataclass(frozen=True)
class Form:
    """One question of the benchmark. `usual` is what everybody writes, which the goals refer to."""

    name: str
    measures: tuple[str, ...]
    labels: bool
    cases: tuple[Case, ...]
    peers: tuple[Peer, ...]
    usual: str


SINGLE = Form("single", ("entropy", "margin"), True, CASES, PEERS, EAGER.name)
MC = Form(
    *("mc", ("entropy", "expected_entropy", "mutual_information", "variance"), False),
    *(MC_CASES, MC_PEERS, MC_EAGER.name),
)
FORMS = (SINGLE, MC)


def _smooth_field(rng: np.random.Generator, case: Case, spread: float) -> NDArray[np.float64]:
    """[C, h, w] of a standard deviation, smooth over three logit pixels."""
    h, w = case.low
    noise = rng.standard_normal((case.n_classes, h, w))
    fy, fx = np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None, :]
    field = np.fft.ifft2(np.fft.fft2(noise) * np.exp(-(fy**2 + fx**2) * (2 * np.pi * 3.0) ** 2 / 2)).real
    return np.asarray(field * (spread / field.std()))


def smooth_logits(case: Case, seed: int) -> NDArray[np.float32]:
    """Smooth random fields: one class leads by several nats inside its region, regions meet in narrow bands.

    Passes share one field and differ by fields of a quarter of its spread.
    """
    rng = np.random.default_rng(seed)
    field = _smooth_field(rng, case, 4.0)
    if case.passes > 1:
        field = field + np.stack([_smooth_field(rng, case, 1.0) for _ in range(case.passes)])
    return (field + 0.1 * rng.standard_normal(field.shape)).astype(np.float32)[None]


def noise_logits(case: Case, seed: int) -> NDArray[np.float32]:
    """Independent normal values times 3."""
    rng = np.random.default_rng(seed)
    passes = () if case.passes == 1 else (case.passes,)
    return (3.0 * rng.standard_normal((1, *passes, case.n_classes, *case.low))).astype(np.float32)


INPUTS: dict[str, Any] = {"smooth": smooth_logits, "noise": noise_logits}
