"""Glob and brace patterns of local paths, without entering symbolic links at `**`."""

import fnmatch
import itertools
import os
import re
from collections.abc import Iterator

from braceexpand import braceexpand

from ...errors import PoolError
from .uris import one_line

MAX_EXPANSIONS = 1_000_000
_RANGE = re.compile(r"\{(-?\d{1,18})\.\.(-?\d{1,18})")
_MAGIC = re.compile(r"[*?\[]")


def has_magic(text: str) -> bool:
    return _MAGIC.search(text) is not None


def expand_braces(pattern: str) -> list[str]:
    """`pool-{000..099}.tar` -> 100 names, in order. Raises PoolError: unbalanced braces, too many names."""
    if "{" not in pattern:
        return [pattern]
    # braceexpand holds every range in memory before the first name comes out, so they are counted first.
    spans = sum(abs(int(last) - int(first)) for first, last in _RANGE.findall(pattern))
    names: list[str] = []
    if spans <= MAX_EXPANSIONS:
        try:
            names = list(itertools.islice(braceexpand(pattern, escape=False), MAX_EXPANSIONS + 1))
        except ValueError as exc:
            raise PoolError(f"unbalanced braces, {pattern}; write ranges as {{000..099}}") from exc
    if max(spans, len(names)) > MAX_EXPANSIONS:
        raise PoolError(f"more than {MAX_EXPANSIONS:,} names, {pattern}; check the range")
    return names


def fixed_folder(pattern: str) -> str:
    """The folder before the first component with a brace or a glob character: the root of the image ids."""
    cut = re.search(r"[*?\[{]", pattern)
    head = pattern if cut is None else pattern[: cut.start()]
    return head.rpartition("/")[0] or ("/" if head.startswith("/") else "")


def expand_glob(pattern: str) -> Iterator[str]:
    """Files and links that match an absolute pattern: `*`, `?`, `[...]` within a component, `**` for any
    folders.

    Hidden names match only a component that starts with a dot. Order is not defined.
    Raises PoolError for a folder that cannot be read.
    """
    if not has_magic(pattern):
        if os.path.lexists(pattern) and not os.path.isdir(pattern):
            yield pattern
        return
    root = fixed_folder(pattern)
    parts = [part for part in pattern[len(root) :].split("/") if part]
    if parts[-1] == "**":
        parts.append("*")
    yield from _match(root, parts)


def _match(folder: str, parts: list[str]) -> Iterator[str]:
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _match(folder, rest)
        for entry in _entries(folder):
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield from _match(entry.path, parts)
        return
    if not has_magic(part):
        path = os.path.join(folder, part)
        if rest and os.path.isdir(path):
            yield from _match(path, rest)
        elif not rest and os.path.lexists(path) and not os.path.isdir(path):
            yield path
        return
    matches = re.compile(fnmatch.translate(part)).match
    for entry in _entries(folder):
        if not matches(entry.name) or (entry.name.startswith(".") and not part.startswith(".")):
            continue
        if rest and entry.is_dir():
            yield from _match(entry.path, rest)
        elif not rest and not entry.is_dir():
            yield entry.path


def _entries(folder: str) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise PoolError(
            f"cannot read folder {folder}: {one_line(exc)}; make it readable or narrow the pattern"
        ) from exc
