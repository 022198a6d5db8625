"""Entry point: parse, run, and turn every outcome into one line and an exit status.

0 the command did its job, 1 it could not (or --strict and something failed), 2 wrong usage.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from .. import __version__
from ..errors import AlsegError, UsageError
from . import bench, demo, doctor, index, inspect, propagate, pseudo_label, report, score, select, simulate, train
from .arguments import Parser, add_common, with_config
from .output import Result, emit, set_up_logging
from .stderr import quiet_codecs

COMMANDS = (demo, inspect, doctor, score, select, index, propagate, pseudo_label, train, simulate, report, bench)


class _Stopped(BaseException):
    """SIGTERM or SIGINT: unwind, so that what is finished is written and counted."""


def build_parser() -> Parser:
    parser = Parser(prog="alseg", description="Active learning for image segmentation at the speed of the hardware.")
    parser.add_argument("--version", action="version", version=f"alseg-fast {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    for module in COMMANDS:
        name = module.__name__.rsplit(".", 1)[-1].replace("_", "-")
        summary = (module.__doc__ or "").split("\n", 1)[0]
        command = commands.add_parser(name, help=summary, description=module.__doc__)
        module.add_arguments(command)
        add_common(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if threading.current_thread() is not threading.main_thread():
        return _run(words)  # signals belong to the main thread
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        return _run(words)
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(words: list[str]) -> int:
    debug = "--debug" in words
    try:
        arguments = build_parser().parse_args(with_config(words))
        with quiet_codecs(not (arguments.debug or arguments.verbose)):
            set_up_logging(arguments)
            result: Result = arguments.run(arguments)
        emit(result, arguments.json)
        return result.status
    except (_Stopped, KeyboardInterrupt):
        return _fail("stopped; what was finished is kept, run the same command again to go on", 1)
    except BrokenPipeError:
        # The reader of our output went away (| head); there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UsageError as error:
        if debug:
            raise
        return _fail(str(error), 2)
    except AlsegError as error:
        if debug:
            raise
        return _fail(str(error), 1)
    except MemoryError:
        if debug:
            raise
        return _fail("out of memory; use fewer --workers or a smaller --max-pixels", 1)
    except OSError as error:
        if debug:
            raise
        where = f", {error.filename}" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}; check the path and its access rights", 1)


def _stop(signum: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
    raise _Stopped


def _fail(text: str, status: int) -> int:
    logging.shutdown()
    print("alseg: error: " + " ".join(text.split()), file=sys.stderr)
    return status
