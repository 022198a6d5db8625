"""The launches of one call as data: kernel, grid, arguments and constants; run on a device, or compiled without one."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from .common import MEASURES, Request, measure_bits, n_labels, segment_scale
from .triton_axes import axes_for, is_identity, rows_for
from .triton_binary import _uncertainty_binary_kernel
from .triton_kernels import _uncertainty_prepare_kernel, _uncertainty_single_kernel
from .triton_passes import _uncertainty_passes_kernel
from .triton_tune import Tile, candidates
from .triton_wide import _uncertainty_wide_kernel

ACTIVATIONS = {"softmax": 0, "sigmoid": 1, "probabilities": 2}
PREPARE_BLOCK, PREPARE_WARPS = 256, 4
PASS_REGISTERS = 130  # for the classes' scores, means and spreads, of the pixels of one thread
SCRATCH_BYTES = 128 << 20  # beyond, a launch takes as many tiles as this holds
VARIANCE, VOTES = 1 << MEASURES.index("variance"), 1 << MEASURES.index("variation_ratio")


@dataclass(frozen=True)
class Launch:
    """One kernel launch; ``kernel[(programs,)](*arguments, **constants)``."""

    kernel: Any
    programs: int
    arguments: tuple[Any, ...]
    constants: dict[str, Any]
    warps: int
    registers: int | None = None  # most registers a thread; None leaves it to the assembler

    @property
    def options(self) -> dict[str, Any]:
        """What the compiler is told; the same here and ahead of time."""
        return {"num_warps": self.warps, "maxnreg": self.registers, "enable_fp_fusion": True}

    def run(self) -> None:
        self.kernel[(self.programs,)](*self.arguments, **self.constants, **self.options)


@dataclass(frozen=True)
class Buffers:
    """Integer accumulators, all zero before the call; None where not wanted."""

    sums: Any  # [everything but status] int64, which the others are parts of
    total: Any  # [N, K] int64 fixed point; None where the class sums hold it already
    peak: Any  # [N, K] int32 bits of a float
    class_count: Any  # [N, L] int64
    class_sum: Any  # [N, K, L] int64 fixed point
    segment_area: Any  # [N, S] int64
    segment_sum: Any  # [N, K, S] int64 fixed point
    segment_class: Any  # [N, S, L] int64
    status: Any  # [N] int32


def buffers_for(request: Request, n: int, n_classes: int, segments: bool, device: Any) -> Buffers:
    k, width, s = len(MEASURES), n_labels(n_classes), request.n_segments
    shapes: dict[str, tuple[int, ...] | None] = {
        "peak": (n, k) if request.sums else None,
        "total": (n, k) if request.sums and not request.class_stats else None,
        "class_count": (n, width) if request.class_stats else None,
        "class_sum": (n, k, width) if request.class_stats else None,
        "segment_area": (n, s) if segments else None,
        "segment_sum": (n, k, s) if segments else None,
        "segment_class": (n, s, width) if segments and request.class_stats else None,
    }
    sizes = {name: math.prod(shape) if shape else 0 for name, shape in shapes.items()}
    sums = torch.zeros(sum(sizes.values()), dtype=torch.int64, device=device)
    parts, first = {}, 0
    for name, shape in shapes.items():
        part = sums[first : first + sizes[name]]
        first += sizes[name]
        if name == "peak":
            part = part.view(torch.int32)[: sizes[name]]
        parts[name] = None if shape is None else part.view(shape)
    return Buffers(sums=sums, status=torch.zeros(n, dtype=torch.int32, device=device), **parts)


@dataclass(frozen=True)
class Call:
    """The arguments of one call on the device, and what follows from their shapes."""

    logits: Any
    request: Request
    valid: Any  # [N, H, W] uint8 contiguous, or None
    segments: Any  # [N, H, W] int32 contiguous, or None
    maps: tuple[Any, ...]  # one for each of MEASURES, None where not wanted
    labels: Any
    buffers: Buffers
    shift: Any  # [N, T, h, w] float32, or None
    prepared: Any  # [N, T, C, h, w + 1] float32, or None

    @property
    def source(self) -> tuple[int, int]:
        return self.logits.shape[3], self.logits.shape[4]

    @property
    def scale(self) -> float:
        return segment_scale(self.request.size[0] * self.request.size[1], self.logits.shape[2])

    @property
    def kind(self) -> str:
        """Which kernel: independent channels; one pass; several over few classes, or over any number."""
        _, passes, classes, _, _ = self.logits.shape
        if self.request.activation == "sigmoid" or classes == 1:
            return "binary"
        if passes == 1:
            return "single"
        # With one row a column the interpolation costs more than the second exp2 of the wide kernel.
        return "passes" if passes <= 255 and 2 * self.class_registers <= PASS_REGISTERS else "wide"

    @property
    def class_registers(self) -> int:
        """Registers a pixel that the kernel of few classes needs for them."""
        return int(self.logits.shape[2]) * (3 if measure_bits(self.request.measures) & VARIANCE else 2)

    @property
    def gain(self) -> float:
        return 1.0 if self.request.activation == "probabilities" else math.log2(math.e) / self.request.temperature


def wants_prepared(request: Request, shape: tuple[int, ...]) -> bool:
    """Whether scaled and shifted float32 copies of the source scores pay: small beside one map of the result."""
    _, passes, classes, h, w = shape
    return passes * classes * h * w <= request.size[0] * request.size[1] and not is_identity(request, (h, w))


def prepare_launch(call: Call) -> Launch:
    n, passes = call.logits.shape[:2]
    h, w = call.source
    extent = (*call.logits.shape[1:], *call.request.size, 0)
    status = call.buffers.status
    # A sigmoid's logits are not shifted: scaled before the interpolation, large ones would be rounded twice.
    gain = 1.0 if call.kind == "binary" else call.gain
    arguments = (call.logits, call.logits.stride(), call.shift, call.prepared, status, extent, gain)
    constants = {"ACTIVATION": ACTIVATIONS[call.request.activation], "BLOCK": PREPARE_BLOCK}
    programs = n * passes * -(-h * w // PREPARE_BLOCK)
    return Launch(_uncertainty_prepare_kernel, programs, arguments, constants, PREPARE_WARPS)


def pixels_a_thread(call: Call) -> tuple[int, ...]:
    """How many pixels a thread may hold without spills; the usual number first (`triton_aot` checks them all)."""
    if call.kind == "single":
        return (8, 16, 4) if call.buffers.class_sum is None and call.segments is None else (4, 8, 2)
    if call.kind == "passes":
        most = min(4, PASS_REGISTERS // call.class_registers)
        return (4, 2) if most >= 4 else (2, 1)
    return (4, 8, 2) if call.kind == "wide" else (4, 2)


def most_registers(call: Call, tile: Tile) -> int | None:
    """A limit keeps the assembler from spilling a few bytes for the sake of one more program a multiprocessor."""
    pixels = tile.rows * tile.cols // (32 * tile.warps)
    if call.kind == "passes":
        counters = -(-call.logits.shape[2] // 4) if measure_bits(call.request.measures) & VOTES else 0
        needed = (call.class_registers + counters + 16) * pixels + (40 if call.prepared is not None else 100)
        return next((steps for steps in (128, 168) if needed <= steps), 255)  # 16, 12 or 8 warps a multiprocessor
    if call.kind == "wide":
        return 128 if pixels <= 4 else 255
    return None


def tiles_for(call: Call) -> list[Tile]:
    """The candidates, best guess first."""
    rows: Callable[[int], int] = lambda limit: rows_for(call.request, call.source, limit)  # noqa: E731
    return candidates(rows, pixels_a_thread(call), call.request.size[1])


def tuning_key(call: Call) -> Hashable:
    """Calls of one key share a tile: C and T in powers of two, and how many rows and columns a source pixel spans."""
    _, passes, classes, h, w = call.logits.shape
    stretch = tuple(round(math.log2(out / size)) for out, size in zip(call.request.size, (h, w), strict=True))
    return (
        call.kind,
        call.request.activation,
        (classes - 1).bit_length(),
        (passes - 1).bit_length(),
        str(call.logits.dtype),
        measure_bits(call.request.measures),
        tuple(x is not None for x in (*call.maps, call.labels, call.valid, call.segments, call.buffers.class_sum)),
        call.prepared is not None,
        stretch,
        call.request.size[1].bit_length(),
        str(call.logits.device),
    )


def measure_launches(call: Call, tile: Tile) -> Iterator[Launch]:
    """The fused pass; one launch, but where the passes' divisors need scratch memory."""
    request, buffers = call.request, call.buffers
    n, passes, classes, _, _ = call.logits.shape
    axes = axes_for(request, call.source, tile.rows, call.logits.device)
    scores = call.logits if call.prepared is None else call.prepared
    out = (
        call.valid,
        call.segments,
        call.maps,
        call.labels,
        buffers.total,
        buffers.peak,
        buffers.class_count,
        buffers.class_sum,
        buffers.segment_area,
        buffers.segment_sum,
        buffers.segment_class,
        buffers.status,
    )
    extent = (*call.logits.shape[1:], *request.size, axes.n_bands)
    bits = measure_bits(request.measures)
    constants = {
        "ACTIVATION": ACTIVATIONS[request.activation],
        "BITS": bits,
        "LABELS": call.labels is not None or buffers.class_count is not None,
        "PASSES": min(passes, 2),
        # Otherwise how many classes are added up before they join the others: long sums round less in parts.
        "CLASSES": classes if call.kind == "passes" else 16 if classes > 32 else 0,
        "RAW": call.prepared is None,
        "IDENTITY": axes.identity,
        "ROWS": tile.rows,
        "COLS": tile.cols,
    }
    kernels = {
        "single": _uncertainty_single_kernel,
        "passes": _uncertainty_passes_kernel,
        "wide": _uncertainty_wide_kernel,
        "binary": _uncertainty_binary_kernel,
    }
    tiles = n * axes.n_bands * -(-request.size[1] // tile.cols)
    step, scratch = tiles, None
    if call.kind == "wide":
        floats = passes * tile.rows * tile.cols * (3 if bits & VOTES else 2)
        step = min(tiles, max(1, SCRATCH_BYTES // (4 * floats)))
        scratch = torch.empty(step * floats, dtype=torch.float32, device=call.logits.device)
    for first in range(0, tiles, step):
        arguments = (
            scores,
            scores.stride(),
            call.shift,
            axes.on_device,
            extent,
            call.gain,
            out,
            n_labels(classes),
            request.n_segments,
            call.scale,
            first,
            scratch,
        )
        programs, registers = min(step, tiles - first), most_registers(call, tile)
        yield Launch(kernels[call.kind], programs, arguments, constants, tile.warps, registers)
