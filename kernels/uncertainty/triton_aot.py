"""Compiles the Triton kernels ahead of time for chips that need not be here, and reports what each launch costs.

``python -m alseg_fast.kernels.uncertainty.triton_aot`` prints registers a thread, shared memory and spills of every
kernel and chip, and exits with 1 if anything spills; ``--all-tiles`` takes minutes. The launches are those of
:mod:`triton_launch`, made from tensors without memory, so that what is compiled is what runs.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource

from .common import MEASURES, Request
from .triton_gpu import describe
from .triton_launch import Launch, measure_launches, prepare_launch, tiles_for
from .triton_top import PHASES, WARPS, histogram_launch

CHIPS = (80, 90, 100)
POINTERS = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.uint8: "*u8",
    torch.uint16: "*u16",
}


@dataclass(frozen=True)
class Variant:
    """One request, as far as it shapes the code."""

    name: str
    shape: tuple[int, int, int, int, int]  # N, T, C, h, w
    size: tuple[int, int]
    activation: str = "softmax"
    dtype: torch.dtype = torch.float32
    measures: tuple[str, ...] = MEASURES
    maps: bool = True
    class_stats: bool = False
    segments: int = 0
    valid: bool = False


@dataclass(frozen=True)
class Row:
    """What the assembler says of one compiled kernel."""

    kernel: str
    variant: str
    chip: str
    tile: str
    shared_bytes: int
    registers: int
    spilled_bytes: int  # stores and loads


CITY, VOC = ((8, 1, 19, 64, 128), (1024, 2048)), ((8, 1, 21, 32, 32), (512, 512))
VARIANTS = (
    Variant("softmax T=1 fp32 all measures", *CITY),
    Variant("softmax T=1 fp16 all measures", *CITY, dtype=torch.float16),
    Variant("softmax T=1 bf16 all measures", *CITY, dtype=torch.bfloat16),
    Variant("softmax T=1 bf16 entropy", *CITY, dtype=torch.bfloat16, measures=("entropy",)),
    Variant("softmax T=1 bf16 reductions only", *CITY, dtype=torch.bfloat16, maps=False),
    Variant(
        "softmax T=1 bf16 classes, segments, valid", *CITY, "softmax", torch.bfloat16, MEASURES, True, True, 400, True
    ),
    Variant("softmax T=1 fp32 scale 4, not prepared", (1, 1, 150, 128, 128), (512, 512)),
    Variant("softmax T=1 fp16 same size", (1, 1, 19, 512, 1024), (512, 1024), dtype=torch.float16),
    Variant("softmax T=1 offsets beyond 2^31", (2, 1, 150, 4096, 4096), (4096, 4096)),
    Variant("softmax T=1 one row, one column", (1, 1, 2, 1, 1), (1, 1)),
    Variant("softmax T=8 C=19 all measures", (1, 8, 19, 64, 128), (1024, 2048), dtype=torch.bfloat16),
    Variant("softmax T=8 C=21 all measures", (1, 8, 21, 32, 32), (512, 512)),
    Variant("softmax T=8 C=21 BALD", (1, 8, 21, 32, 32), (512, 512), measures=("mutual_information",)),
    Variant("softmax T=8 C=21 not prepared", (1, 8, 21, 128, 128), (512, 512), dtype=torch.bfloat16),
    Variant(
        "softmax T=8 C=21 classes, segments, valid",
        (1, 8, 21, 32, 32),
        (512, 512),
        "softmax",
        torch.float32,
        MEASURES,
        True,
        True,
        400,
        True,
    ),
    Variant("softmax T=8 C=10 all measures", (1, 8, 10, 32, 32), (512, 512)),
    Variant("softmax T=8 C=16 BALD", (1, 8, 16, 32, 32), (512, 512), measures=("mutual_information",)),
    Variant("softmax T=8 C=32 BALD", (1, 8, 32, 32, 32), (512, 512), measures=("mutual_information",)),
    Variant("softmax T=8 C=59 all measures", (1, 8, 59, 32, 32), (512, 512)),
    Variant(
        "softmax T=30 C=150 BALD, not prepared", (1, 30, 150, 64, 64), (512, 512), measures=("mutual_information",)
    ),
    Variant("sigmoid T=1 all measures", *VOC, "sigmoid"),
    Variant("sigmoid T=8 all measures", (1, 8, 20, 32, 32), (512, 512), "sigmoid"),
    Variant("sigmoid T=8 one channel, classes", (1, 8, 1, 64, 64), (512, 512), "sigmoid", class_stats=True),
    Variant("probabilities T=1 all measures", *VOC, "probabilities"),
    Variant("probabilities T=8 all measures", (1, 8, 21, 32, 32), (512, 512), "probabilities"),
    Variant("probabilities one channel", (1, 1, 1, 64, 64), (512, 512), "probabilities"),
)


def launches_of(variant: Variant, first_tile: bool = False) -> Iterator[tuple[Launch, str]]:
    """The launches of a request with the tile of each; the tensors have shapes but no memory."""
    n, _, _, h, w = variant.shape
    on = torch.device("meta")
    request = Request(
        size=variant.size,
        measures=variant.measures,
        activation=variant.activation,
        align_corners=False,
        box=(0.0, 0.0, float(h), float(w)),
        maps=variant.maps,
        labels=variant.maps,
        class_stats=variant.class_stats,
        top_fraction=None,
        sums=True,
        num_threads=0,
        n_segments=variant.segments,
    )
    picture = (n, *variant.size)
    call = describe(
        torch.empty(variant.shape, dtype=variant.dtype, device=on),
        request,
        torch.empty(picture, dtype=torch.bool, device=on) if variant.valid else None,
        torch.empty(picture, dtype=torch.int32, device=on) if variant.segments else None,
        None,
    )
    yield prepare_launch(call), "-"
    for tile in tiles_for(call)[: 1 if first_tile else None]:
        launch = next(measure_launches(call, tile))
        yield launch, f"{tile.rows}x{tile.cols}/{tile.warps}"


def top_launches() -> Iterator[Launch]:
    """The three phases of the top mean, over all measures."""
    on = torch.device("meta")
    maps = tuple(torch.empty((1, 512, 512), dtype=torch.float32, device=on) for _ in MEASURES)
    words = torch.empty((len(maps), 2048), dtype=torch.int64, device=on)
    for phase in range(len(PHASES)):
        prefix = None if phase == 0 else words.to(torch.int32)
        kernel, programs, arguments, constants = histogram_launch(maps, phase, prefix, words, words, 1.0)
        yield Launch(kernel, programs, arguments, constants, WARPS)


def source_of(launch: Launch) -> Any:
    """What the just-in-time compiler would compile for these arguments."""
    kernel, signature, constants, attributes = launch.kernel, {}, {}, {}

    def kind(value: Any, path: tuple[int, ...], free: bool) -> Any:
        if isinstance(value, tuple):
            # Triton 3.9 gives no way to leave the numbers of a tuple unspecialised.
            return tuple(kind(v, (*path, i), True) for i, v in enumerate(value))
        if value is None or (free and isinstance(value, int) and value == 1):
            constants[path] = value
            return "constexpr"
        if isinstance(value, torch.Tensor):
            if (value.storage_offset() * value.element_size()) % 16 == 0:  # allocations begin at multiples of 512
                attributes[path] = [["tt.divisibility", 16]]
            return POINTERS[value.dtype]
        if isinstance(value, float):
            return "fp32"
        if free and value % 16 == 0:
            attributes[path] = [["tt.divisibility", 16]]
        return "i32" if -(2**31) <= value < 2**31 else "i64"

    for i, name in enumerate(kernel.arg_names):
        if name in launch.constants:
            signature[name] = "constexpr"
            constants[(i,)] = launch.constants[name]
        else:
            signature[name] = kind(launch.arguments[i], (i,), not kernel.params[i].do_not_specialize)
    return ASTSource(kernel, signature, constants, attributes)


def compile_for(launch: Launch, chip: int) -> Any:
    return triton.compile(source_of(launch), target=GPUTarget("cuda", chip, 32), options=launch.options)


def assembler_report(ptx: str, chip: int) -> tuple[int, int]:
    """(registers a thread, bytes of spill stores and loads), from the assembler's own log."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(ptx, encoding="utf-8")
        arch = re.search(r"^\.target\s+(\w+)", ptx, re.MULTILINE)
        if arch is None:
            raise RuntimeError("triton_aot: the PTX has no .target line.")
        command = [get_ptxas(chip).path, "-v", "--regAllocOptLevel=2", f"--gpu-name={arch[1]}", str(source)]
        log = subprocess.run([*command, "-o", f"{folder}/kernel.cubin"], check=True, capture_output=True, text=True)
    registers = re.search(r"Used (\d+) registers", log.stderr)
    spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log.stderr)
    if registers is None or spills is None:
        raise RuntimeError(f"triton_aot: the assembler's log cannot be read: {log.stderr!r}.")
    return int(registers[1]), sum(int(x) for x in spills.groups())


def report(chips: tuple[int, ...], variants: tuple[Variant, ...], first_tile: bool, top: bool) -> Iterator[Row]:
    """A row for each kernel, variant and chip; the same compiled code is listed once a chip.

    Args:
        first_tile: only the tile that is taken where nothing can be timed, instead of all candidates.
        top: the kernels of the top mean too.
    """
    jobs = [(launch, v.name, tile) for v in variants for launch, tile in launches_of(v, first_tile)]
    if top:
        jobs += [(launch, f"phase {i + 1}", "-") for i, launch in enumerate(top_launches())]
    seen = set()
    with ThreadPoolExecutor(1) as assembler:  # works while the next kernel is compiled
        rows = []
        for launch, name, tile in jobs:
            for chip in chips:
                compiled = compile_for(launch, chip)
                if compiled.hash in seen:
                    continue
                seen.add(compiled.hash)
                kernel = launch.kernel.__name__.removeprefix("_uncertainty_").removesuffix("_kernel")
                facts = (kernel, name, f"sm_{chip}", tile, int(compiled.metadata.shared))
                rows.append((facts, assembler.submit(assembler_report, compiled.asm["ptx"], chip)))
                while rows and rows[0][1].done():
                    yield row_of(*rows.pop(0))
        for facts, pending in rows:
            yield row_of(facts, pending)


def row_of(facts: tuple[str, str, str, str, int], pending: Future[tuple[int, int]]) -> Row:
    registers, spilled = pending.result()
    return Row(*facts, registers, spilled)


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 if nothing spills, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="triton_aot", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--chip", type=int, action="append", help="compute capability times ten; default 80, 90, 100")
    parser.add_argument("--variant", action="append", default=[], help="part of a variant's name; default all")
    parser.add_argument("--all-tiles", action="store_true", help="also the other tiles that the tuner tries")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of the table")
    options = parser.parse_args(arguments)
    chosen = tuple(v for v in VARIANTS if not options.variant or any(part in v.name for part in options.variant))
    spilled = 0
    if not options.json:
        print(f"{'kernel':<10} {'variant':<44} {'chip':<7} {'tile/warps':<11} {'regs':>4} {'shared':>6} {'spills':>6}")
    for row in report(tuple(options.chip or CHIPS), chosen, not options.all_tiles, top=not options.variant):
        spilled += row.spilled_bytes
        if options.json:
            print(json.dumps(asdict(row)), flush=True)
        else:
            print(
                f"{row.kernel:<10} {row.variant:<44} {row.chip:<7} {row.tile:<11} "
                f"{row.registers:>4} {row.shared_bytes:>6} {row.spilled_bytes:>6}",
                flush=True,
            )
    return 1 if spilled else 0


if __name__ == "__main__":
    sys.exit(main())
