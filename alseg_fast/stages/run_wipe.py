"""What may be deleted in an --out directory: only files that a RUN consists of, never anything else."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from ..atomic import is_temp_name
from ..errors import RunError
from . import run_layout as layout

_OURS = {
    **{kind: re.compile(r"^part-\d{5,}\.parquet$") for kind in layout.PART_KINDS},
    layout.TIMINGS: re.compile(r"\.json$"),
    layout.MAPS: re.compile(r"\.png$"),
}
_EMPTY_DISK = "lost+found"  # a freshly made ext4 volume is not quite empty


def refuse_foreign_directory(run: Path) -> None:
    """Raises: RunError: the directory holds something and no run.json. Also refused with --overwrite."""
    try:
        names = os.listdir(run)
    except OSError as exc:
        raise RunError(f"cannot list {run}: {exc.strerror or exc}; choose another --out") from exc
    others = sorted(name for name in names if name != _EMPTY_DISK and not is_temp_name(name))
    # Asked again after the listing: another process may have begun the RUN in between, run.json first.
    if others and not (run / layout.RUN_JSON).exists():
        raise RunError(f"{run} is not empty and not a run (it has {others[0]} and no run.json); choose another --out")


def wipe_run(run: Path) -> None:
    """Delete everything a scoring command wrote into a RUN, except run.json.

    run.json stays so that the directory is a RUN at every moment; the caller replaces it. Files of other
    makers stay, links are not followed, directories go when they are empty.
    Raises: RunError: something cannot be deleted.
    """
    try:
        (run / layout.SUCCESS).unlink(missing_ok=True)
        for name, pattern in _OURS.items():
            wipe_tree(run / name, pattern, deep=name == layout.MAPS)
        (run / layout.POOL_ARROW).unlink(missing_ok=True)
    except OSError as exc:
        raise RunError(f"cannot overwrite {run}: {exc}; choose another --out") from exc


def wipe_tree(directory: Path, pattern: re.Pattern[str], *, deep: bool) -> None:
    """Delete the files of a directory whose name the pattern finds, `deep` those below it too."""
    for folder, folders, files in os.walk(directory, topdown=False):
        if folder != str(directory) and not deep:
            continue
        for name in files:
            if pattern.search(name) or is_temp_name(name):
                os.unlink(os.path.join(folder, name))
        if deep:
            for name in folders:
                with contextlib.suppress(OSError):
                    os.rmdir(os.path.join(folder, name))
    with contextlib.suppress(OSError):
        directory.rmdir()
