"""Compiles the kernels of the Triton region impurity for three chips and prints spilled bytes; run as a script."""

import torch

from alseg_fast.kernels.region_impurity import triton_gpu
from alseg_fast.kernels.uncertainty.triton_aot import CHIPS, POINTERS, assembler_report, compile_for
from alseg_fast.kernels.uncertainty.triton_launch import Launch

POINTERS[torch.float64] = "*fp64"


def tensor(dtype):
    return torch.empty((1, 513, 513), dtype=dtype, device="meta")


sizes = (512 * 512, 512, 512, 3)
constants = {"BLOCK": triton_gpu.BLOCK}
launches = [
    (triton_gpu._region_impurity_class_kernel, (tensor(torch.int32), tensor(torch.float32), *sizes)),
    (
        triton_gpu._region_impurity_score_kernel,
        (tensor(torch.int32), tensor(torch.float64), tensor(torch.uint8), tensor(torch.float32), *sizes),
    ),
]
for kernel, arguments in launches:
    for chip in CHIPS:
        compiled = compile_for(Launch(kernel, 1, arguments, constants, triton_gpu.WARPS), chip)
        registers, spilled = assembler_report(compiled.asm["ptx"], chip)
        print(f"{kernel.__name__} sm_{chip} registers {registers} spilled {spilled}")
