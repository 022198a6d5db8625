"""One class of a propagation: from nothing, from what is known of it, or from both where only labels were added."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .propagate_gate import (
    Advance,
    Claims,
    ClassSearch,
    Neighbours,
    add_labels,
    equal_weights,
    find_claims,
    find_neighbours,
    published_weights,
)
from .propagate_options import PropagateOptions
from .propagate_state import ClassState, members_digest, read_state, write_state

NEW, KEPT, ADDED = "new", "kept", "labels added"
BEGUN = "begun"  # by an earlier call that was stopped within the class
LABELS_REMOVED, IMAGES_CHANGED, OPTIONS_CHANGED = "labels removed", "images changed", "options changed"


@dataclass(frozen=True)
class SearchSettings:
    """How to search: none of it changes a result.

    block_bytes: memory for one block of queries.
    save_seconds: of a class that takes longer, what is done so far is kept so often.
    """

    device: str = "auto"
    num_threads: int | None = None
    block_bytes: int = 1 << 28
    advance: Advance = lambda n: None
    save_seconds: float = 30.0


def gate_class(
    root: Path,
    name: str,
    ids: Sequence[str],
    hist: NDArray[np.float32],
    channels: int,
    labelled: NDArray[np.bool_],
    options: PropagateOptions,
    settings: SearchSettings,
) -> tuple[ClassState, str]:
    """The state of a class, written to `root`, and what was done for it: one of the constants above.

    Args:
        ids, hist, labelled: of the class's images in order of image_id.
    """
    how = {"direction": options.direction, "weights": options.weights, "exact": options.exact, "channels": channels}
    digest = members_digest(ids, hist)
    cap = options.cap(int((~labelled).sum()))
    old = read_state(root, name)
    what = _what_to_do(old, digest, how, labelled, cap)
    if old is not None and what == KEPT:
        return old, KEPT
    same = old is not None and old.members == digest and old.how["weights"] == options.weights
    if old is not None and same:
        weights = old.channel_weights
    elif options.weights == "published":
        weights = published_weights(hist, channels, device=settings.device, num_threads=settings.num_threads)
    else:
        weights = equal_weights(channels)
    search = ClassSearch(
        hist,
        channels,
        weights,
        exact=options.exact,
        device=settings.device,
        num_threads=settings.num_threads,
        block_bytes=settings.block_bytes,
        advance=settings.advance,
    )
    found: Neighbours | Claims
    if options.direction == "labelled":
        known = old.found if old is not None and what == ADDED and isinstance(old.found, Claims) else None
        found = find_claims(search, labelled, cap, known, None if old is None else old.labelled)
    elif old is not None and what == ADDED and isinstance(old.found, Neighbours):
        found = add_labels(search, old.found, old.labelled, labelled, cap)
    else:
        begun = old.found if old is not None and what == BEGUN and isinstance(old.found, Neighbours) else None
        saved = time.monotonic()

        def save(part: Neighbours) -> None:
            nonlocal saved
            if time.monotonic() - saved >= settings.save_seconds:
                write_state(root, ClassState(name, digest, how, weights, labelled, part, complete=False), ids)
                saved = time.monotonic()

        found = find_neighbours(search, labelled, cap, begun, save)
    state = ClassState(name, digest, how, weights, labelled, found)
    write_state(root, state, ids)
    return state, NEW if what == BEGUN else what


def _what_to_do(old: ClassState | None, digest: str, how: dict[str, Any], labelled: NDArray[np.bool_], cap: int) -> str:
    if old is None:
        return NEW
    if old.members != digest:
        return IMAGES_CHANGED
    if old.how != how:
        return OPTIONS_CHANGED
    same = np.array_equal(old.labelled, labelled) and old.found.cap == cap
    if not old.complete:
        return BEGUN if same else NEW
    if (old.labelled & ~labelled).any():
        return LABELS_REMOVED
    if same:
        return KEPT
    # An approximate answer depends on what was searched together, so only exact ones are continued.
    return ADDED if how["exact"] else OPTIONS_CHANGED
