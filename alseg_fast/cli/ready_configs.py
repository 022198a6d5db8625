"""What the commands that train have in common: a config or a ready name, settings, and the extra they need."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ..errors import UsageError
from .output import columns


def add_config_arguments(parser: argparse.ArgumentParser, *, example: str, listed: str) -> None:
    """CONFIG.yaml, --out, --set and --list.

    Args:
        example: a setting, for the help of --set.
        listed: what --list shows.
    """
    parser.add_argument(
        "source", nargs="?", metavar="CONFIG.yaml", help="a config, or the name of a ready one (--list shows them)"
    )
    parser.add_argument("--out", metavar="DIR", help="directory to write; else the config's out")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help=f"wins over the config, such as --set data.root=glas --set {example}; repeatable",
    )
    parser.add_argument("--list", action="store_true", help=f"show {listed}, and stop")


@contextmanager
def training_extra(command: str) -> Iterator[None]:
    """Imports of what needs the extra: a missing library is named with what to install. Raises: UsageError."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "alseg_fast").startswith("alseg_fast"):
            raise
        raise UsageError(
            f"alseg {command} needs {error.name}, which is not installed; run pip install 'alseg-fast[train]'"
        ) from None


def source_of(command: str, arguments: argparse.Namespace) -> str:
    """The config that was named. Raises: UsageError: none was."""
    if arguments.source is None:
        raise UsageError(f"give CONFIG.yaml or the name of a ready config; alseg {command} --list shows them")
    return str(arguments.source)


def out_of(arguments: argparse.Namespace, configured: object) -> str:
    """The directory to write. Raises: UsageError: neither command nor config says one."""
    out = arguments.out or configured
    if out is None:
        raise UsageError("give --out DIR, or out in the config")
    return str(out)


def ready_text(ready: Mapping[str, str]) -> str:
    """The ready configs as --list prints them."""
    return "ready configs:\n" + (columns(list(ready.items()), "  ") if ready else "  none")
