"""What no kernel on this GPU can beat, measured: copying memory, and exponentials in registers.

``make(device) -> (call, amount)``: one call moves `amount` bytes, or computes `amount` exponentials.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
import triton.language as tl

_COPY_BYTES = 1 << 30
BLOCK, UNROLLED, ROUNDS = 1024, 8, 64
_PROGRAMS_PER_SM = 32  # two full waves of 128 threads


def copy_memory(device: torch.device) -> tuple[Callable[[], object], int]:
    """1 GiB from one place of the device memory to another: every byte is read and written."""
    source = torch.zeros(_COPY_BYTES // 4, dtype=torch.int32, device=device)
    target = torch.empty_like(source)

    def call() -> None:
        target.copy_(source)

    return call, 2 * _COPY_BYTES


@triton.jit
def _exp2_kernel(out_ptr, n_rounds, BLOCK: tl.constexpr, UNROLLED: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = (offsets % 7).to(tl.float32)
    for _ in range(n_rounds):
        for _ in tl.static_range(UNROLLED):
            x = tl.exp2(-x)  # goes to 0.6412, where x = 2^-x: neither overflows nor vanishes
    tl.store(out_ptr + offsets, x)


def registers_exp(device: torch.device) -> tuple[Callable[[], object], int]:
    """2^-x again and again in registers: the rate of the special-function units.

    Not the last word: polynomials on the multiply-add units can relieve them.
    """
    programs = _PROGRAMS_PER_SM * torch.cuda.get_device_properties(device).multi_processor_count
    out = torch.empty(programs * BLOCK, device=device)

    def call() -> None:
        _exp2_kernel[(programs,)](out, ROUNDS, BLOCK=BLOCK, UNROLLED=UNROLLED)

    return call, programs * BLOCK * UNROLLED * ROUNDS
