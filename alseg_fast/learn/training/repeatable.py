"""Same seed, same bits: torch's settings for that, and its random numbers as a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.deterministic

from ... import config
from ...errors import UsageError


def resolve_device(name: str) -> torch.device:
    """ "auto", "cpu", "cuda" or "cuda:1" as a device that is there.

    Raises: UsageError: there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        n = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= n:
            raise UsageError(f"device must be one of this machine's {n} CUDA devices; got {name}; use device = cpu")
        return torch.device("cuda", device.index or 0)
    return device


@contextmanager
def repeatable(device: torch.device, seed: int, threads: int | None = None) -> Iterator[None]:
    """Within the block torch works repeatably, from `seed`; afterwards its settings and generators are as before.

    On the CPU an operation without a repeatable form is an error. On CUDA it is a warning of torch that names it: some
    losses have no other form there, and results then repeat only up to rounding.
    """
    cuda = device.type == "cuda"
    if cuda:
        config.repeatable_cublas()
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    n_threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    deterministic: Any = torch.utils.deterministic  # whose attribute is a property, which its types do not know
    fills = deterministic.fill_uninitialized_memory
    try:
        # Deterministic mode fills every new tensor with NaN, for programs that read what they did not write.
        deterministic.fill_uninitialized_memory = False
        torch.use_deterministic_algorithms(True, warn_only=cuda)
        torch.backends.cudnn.benchmark = False
        if threads is not None:
            torch.set_num_threads(threads)
        with own_random_numbers(device, seed):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        deterministic.fill_uninitialized_memory = fills
        torch.backends.cudnn.benchmark = benchmark
        torch.set_num_threads(n_threads)


@contextmanager
def own_random_numbers(device: torch.device, seed: int) -> Iterator[None]:
    """Within the block torch's generators start from `seed`; afterwards they are where they were."""
    with torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def random_state(device: torch.device) -> dict[str, Any]:
    """Where torch's generators are."""
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Put them back there."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
