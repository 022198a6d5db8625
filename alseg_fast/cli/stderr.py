"""Keeps what C libraries print about broken pictures off the terminal; our own lines still reach it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_codecs(active: bool = True) -> Iterator[None]:
    """Within the block, file descriptor 2 leads nowhere while ``sys.stderr`` still leads to the user.

    libtiff and others write a line a damaged tag straight to the descriptor; each such picture is recorded as a
    failure with its reason anyway, and a million-image log would drown in them.
    """
    if not active:
        yield
        return
    sys.stderr.flush()
    before = sys.stderr
    try:
        keep = os.dup(2)
    except OSError:  # no descriptor 2: there is nothing to keep quiet
        yield
        return
    # A stream of its own: tests and notebooks replace sys.stderr by objects without a descriptor.
    ours = before if not _is_descriptor_2(before) else os.fdopen(os.dup(keep), "w", buffering=1, errors="replace")
    silence = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silence, 2)
        sys.stderr = ours
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            yield
    finally:
        sys.stderr = before
        os.dup2(keep, 2)
        os.close(silence)
        os.close(keep)
        if ours is not before:
            ours.close()


def _is_descriptor_2(stream: object) -> bool:
    try:
        return bool(stream.fileno() == 2)  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False
