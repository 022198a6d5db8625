"""Show what this machine offers: CPU features, GPU, providers, versions, and which back end each operation uses."""

from __future__ import annotations

import argparse
import pkgutil
import platform
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ..dispatch import Op
from .output import Result, columns


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(arguments: argparse.Namespace) -> Result:
    from .. import _native, config
    from ..process_facts import versions

    data: dict[str, Any] = {
        "machine": platform.machine(),
        "system": platform.platform(),
        "cpus": config.available_cpus(),
        "simd_levels": list(_native.available_levels()),
        "simd_level": config.forced_simd_level() or _native.simd_level(),
        "versions": versions(),
        "onnxruntime_providers": _providers(),
        "gpu": _gpu(),
        "backend_forced": config.forced_backend(),
        "operations": {op.name: _backends(op) for op in _operations()},
    }
    rows = [
        ("system", f"{data['system']} ({data['machine']})"),
        ("CPUs", f"{data['cpus']} for this process"),
        ("SIMD", f"{data['simd_level']} (this CPU runs {', '.join(data['simd_levels'])})"),
        ("GPU", data["gpu"] or "none found"),
        ("providers", ", ".join(data["onnxruntime_providers"]) or "onnxruntime is not installed"),
        ("versions", ", ".join(f"{k} {v}" for k, v in data["versions"].items() if k != "simd")),
        *((op, ", ".join(f"{b}: {r}" for b, r in back_ends.items())) for op, back_ends in data["operations"].items()),
    ]
    return Result(data, columns(rows))


def _operations() -> list[Op]:
    """Every operation of the package, by its folder's name."""
    from .. import kernels

    names = sorted(found.name for found in pkgutil.iter_modules(kernels.__path__) if found.ispkg)
    modules = [import_module(f"{kernels.__name__}.{name}") for name in names]
    return [op for module in modules for op in vars(module).values() if isinstance(op, Op)]


def _backends(op: Op) -> dict[str, str]:
    """Of each back end the devices it is written for, or the package it lacks; whether there is a GPU is told above."""
    devices: dict[str, list[str]] = {}
    missing: dict[str, str] = {}
    for impl in op.impls:
        reason = impl.missing()
        if reason is None:
            devices.setdefault(impl.backend, []).append(impl.device)
        else:
            missing[impl.backend] = reason
    return {
        name: f"available ({', '.join(devices[name])})" if name in devices else missing[name]
        for name in dict.fromkeys(i.backend for i in op.impls)
    }


def _providers() -> list[str]:
    if find_spec("onnxruntime") is None:
        return []
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def _gpu() -> str | None:
    """Name of the first CUDA device, as torch sees it where torch is installed, else the driver's device files."""
    if find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            return f"{torch.cuda.get_device_name(0)} (torch {torch.__version__})"
    from pathlib import Path

    cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    if not cards:
        return None
    model = next((line for line in cards[0].read_text().splitlines() if line.startswith("Model:")), "Model: NVIDIA GPU")
    return model.removeprefix("Model:").strip()
