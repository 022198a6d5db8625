"""Reads CONFIG.yaml of a simulation, or a ready one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..learn.training.config_file import read_as, ready_configs
from .config import SimulationConfig, strategy_options

READY = Path(__file__).resolve().parent / "configs"


def read_simulation(source: str, settings: Sequence[str] = ()) -> SimulationConfig:
    """The config of a file or of a ready name, with `key.key=value` settings that win over it.

    Raises: UsageError: no such file or name, no YAML, a key twice or unknown, a value of a wrong type or out of range.
    """
    config = read_as(SimulationConfig, source, settings, READY)
    for number in range(len(config.strategies)):
        strategy_options(config, number, source)
    return config


def ready_simulations() -> dict[str, str]:
    """Name -> what it is for."""
    return ready_configs(READY)
