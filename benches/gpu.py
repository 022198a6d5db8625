"""Which GPU is measured, and what it was: facts without which a figure means nothing."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from typing import Any

from alseg_fast.errors import BackendError, UsageError

_QUERY = (
    "driver_version",
    "clocks.sm",
    "clocks.mem",
    "clocks.max.sm",
    "clocks.max.mem",
    "power.limit",
    "temperature.gpu",
)


def require_gpu(name: str) -> Any:
    """ "cuda" or "cuda:1" -> the torch device.

    Raises:
        UsageError: no such device name, or no GPU of that number.
        BackendError: torch is not installed or sees no GPU.
    """
    kind, colon, number = name.partition(":")
    if kind != "cuda" or (colon and not number.isdecimal()):
        raise UsageError(f"bench uncertainty: device must be cpu, cuda or cuda:NUMBER; got {name!r}.")
    if find_spec("torch") is None:
        raise BackendError(
            f"bench uncertainty: device must be one that torch can use; got {name!r}, and torch is not installed. "
            "Install a CUDA build of torch and triton (the gpu extra)."
        )
    import torch

    if not torch.cuda.is_available():
        raise BackendError(
            f"bench uncertainty: device must be one that torch can use; got {name!r}, and torch {torch.__version__} "
            "sees no GPU. Run it on a machine with an NVIDIA GPU and a CUDA build of torch, or use --device cpu."
        )
    if int(number or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"bench uncertainty: device must be one of the {torch.cuda.device_count()} GPUs of this machine, counted "
            f"from 0; got {name!r}."
        )
    return torch.device("cuda", int(number or 0))


def describe_gpu(device: Any) -> dict[str, Any]:
    """Name, size, driver, CUDA and, where nvidia-smi is there, clocks, as JSON values."""
    import torch

    facts = torch.cuda.get_device_properties(device)
    return {
        "gpu": facts.name,
        "gpu_memory_gib": round(facts.total_memory / 2**30, 1),
        "gpu_processors": facts.multi_processor_count,
        "gpu_l2_mib": round(facts.L2_cache_size / 2**20, 1),
        "gpu_capability": f"{facts.major}.{facts.minor}",
        "cuda": torch.version.cuda,
        "nvidia_smi": ask_nvidia_smi(device),
    }


def ask_nvidia_smi(device: Any) -> dict[str, str] | None:
    """Driver, clocks now and at most (MHz), power limit (W) and temperature (C); None where it cannot be asked."""
    import torch

    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    # By its identity: nvidia-smi does not know the numbers that CUDA_VISIBLE_DEVICES gives.
    which = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    command = [program, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits", "-i", which]
    try:
        text = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_nvidia_smi(text)


def parse_nvidia_smi(text: str) -> dict[str, str] | None:
    """The one line of values it prints."""
    values = [value.strip() for value in text.strip().split(",")]
    return dict(zip(_QUERY, values, strict=True)) if len(values) == len(_QUERY) else None
