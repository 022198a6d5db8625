"""Data sets by name."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from ...checks import check_choice
from ...errors import UsageError
from .dataset import Dataset
from .tag_choice import keep_tags

__all__ = ["READERS", "keep_tags", "read_dataset"]

READERS = {
    "camvid": "read_camvid",
    "ccp": "read_ccp",
    "cityscapes": "read_cityscapes",
    "coco": "read_coco",
    "cub": "read_cub",
    "glas": "read_glas",
    "manifest": "read_manifest",
    "mapillary": "read_mapillary",
    "voc": "read_voc",
}
"""Name of the data set -> its function in the module of the same name in `formats`."""


def read_dataset(name: str, root: str | os.PathLike[str], **options: Any) -> Dataset:
    """A published data set in its own layout, or a manifest.

    Args:
        name: one of `READERS`.
        root: its folder; of "manifest" the file.
        options: of the data set's function, which says what they mean.
    Raises:
        RangeError, UsageError: unknown name or option.
        PoolError: a folder, list or listed file is missing or wrong; names it and says what to do.
        DataError: a mask cannot be used, where tags come from masks.
    """
    check_choice("read_dataset", "name", name, tuple(READERS))
    module = import_module(f"{__package__}.formats.{name}")
    read: Callable[..., Dataset] = getattr(module, READERS[name])
    known = [p for p in inspect.signature(read).parameters if p != "root"]
    wrong = [option for option in options if option not in known]
    if wrong:
        raise UsageError(
            f"read_dataset: {name} has the options {', '.join(known)}; got {wrong[0]}. Correct or drop the name."
        )
    return read(Path(os.path.expanduser(root)), **options)
