"""Pairs of an image that a label reaches and the labelled image it comes from, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .propagate_gate import Claims, Neighbours
from .propagate_inputs import PropagationPool
from .propagate_options import PropagateOptions

PAIRS = "pairs.parquet"
MANIFEST = "manifest.parquet"
FAILURES = "failures.parquet"


def _field(name: str, kind: pa.DataType, unit: str | None = None) -> pa.Field:
    return pa.field(name, kind, metadata={"unit": unit} if unit else None)


MASK_FIELDS = (
    _field("mask_uri", pa.string()),
    _field("reliability", pa.float64(), "1 (0..1)"),
    _field("named_share", pa.float64(), "share of pixels"),
)
PAIR_SCHEMA = pa.schema(
    [
        _field("image_id", pa.string()),
        _field("uri", pa.string()),
        _field("label", pa.string()),
        _field("partner_id", pa.string()),
        _field("partner_mask_uri", pa.string()),
        _field("distance", pa.float64(), "nats"),
        _field("rank", pa.int32(), "images that are closer"),
        _field("certified", pa.bool_()),
        *MASK_FIELDS,
    ]
)


@dataclass(eq=False)
class ClassPairs:
    """Pairs of one class: rows of the class, ordered by (image, distance, partner). rank -1: not counted."""

    image: NDArray[np.int64]
    partner: NDArray[np.int64]
    distance: NDArray[np.float64]
    rank: NDArray[np.int32]
    certified: NDArray[np.bool_]


def class_pairs(
    found: Neighbours | Claims, labelled: NDArray[np.bool_], options: PropagateOptions, k: int
) -> ClassPairs:
    """The pairs of a class for one k, at most the `cap` of what was found unless k lets every image pass."""
    limit = np.inf if options.max_distance is None else options.max_distance
    if isinstance(found, Neighbours):
        near = np.isfinite(found.distance) & (found.distance <= limit)
        if not options.vacuous(k, int((~labelled).sum())):
            near &= (found.rank >= 0) & (found.rank < k)
        rows = np.flatnonzero(near)
        return ClassPairs(rows, found.partner[rows], found.distance[rows], found.rank[rows], found.certified[rows])
    return _from_claims(found, labelled, options.claims == "one", k, limit)


def _from_claims(found: Claims, labelled: NDArray[np.bool_], one: bool, k: int, limit: float) -> ClassPairs:
    claimants = np.flatnonzero(labelled)
    lists = [found.claimed[row][:k] for row in claimants]  # type: ignore[index]
    sizes = [len(a) for a in lists]
    partner = np.repeat(claimants, sizes)
    image = np.concatenate([np.empty(0, np.int64), *lists])
    distance = np.concatenate([np.empty(0), *(found.distance[row][:k] for row in claimants)])  # type: ignore[index]
    rank = np.concatenate([np.empty(0, np.int32), *(np.arange(n, dtype=np.int32) for n in sizes)])
    near = distance <= limit
    image, partner, distance, rank = image[near], partner[near], distance[near], rank[near]
    order = np.lexsort((partner, distance, image))
    if one:
        first = np.ones(len(order), np.bool_)
        first[1:] = np.diff(image[order]) != 0
        order = order[first]
    image, partner, distance, rank = image[order], partner[order], distance[order], rank[order]
    certified = np.full(len(image), found.certified[claimants].all()) if one else found.certified[partner]
    return ClassPairs(image, partner, distance, rank, certified)


def pair_table(
    pool: PropagationPool, name: str, members: NDArray[np.int64], pairs: ClassPairs, masks: Mapping[str, str | None]
) -> pa.Table:
    """The pairs of a class as rows of pairs.parquet, the columns about masks still null.

    Args:
        members: rows of the pool that the rows of the class are.
        masks: of the labelled images.
    """
    image, partner = pa.array(members[pairs.image]), pa.array(members[pairs.partner])
    partners = pool.image_id.take(partner)
    n = len(pairs.image)
    return pa.table(
        [
            pool.image_id.take(image),
            pool.uri.take(image),
            pa.array([name] * n, pa.string()),
            partners,
            pa.array([masks.get(p) for p in partners.to_pylist()], pa.string()),
            pa.array(pairs.distance),
            pa.array(pairs.rank, mask=pairs.rank < 0),
            pa.array(pairs.certified),
            *(pa.nulls(n, field.type) for field in MASK_FIELDS),
        ],
        schema=PAIR_SCHEMA,
    )


def with_masks(pairs: pa.Table, facts: Mapping[str, tuple[str, float | None, float]]) -> pa.Table:
    """The pairs with mask_uri, reliability and named_share of the images that have them."""
    ids = pairs.column("image_id").to_pylist()
    for i, field in enumerate(MASK_FIELDS):
        values: list[Any] = [facts[name][i] if name in facts else None for name in ids]
        pairs = pairs.set_column(pairs.schema.get_field_index(field.name), field, pa.array(values, field.type))
    return pairs


def image_manifest(pairs: pa.Table, multi_label: bool) -> pa.Table:
    """One row an image, in order of image_id: what training reads. With several classes label is their list."""
    rows: dict[str, dict[str, Any]] = {}
    for row in pairs.select(["image_id", "uri", "label", *(f.name for f in MASK_FIELDS)]).to_pylist():
        known = rows.setdefault(row["image_id"], {**row, "label": []})
        if row["label"] not in known["label"]:
            known["label"].append(row["label"])
    fields = [PAIR_SCHEMA.field("image_id"), PAIR_SCHEMA.field("uri")]
    fields += [_field("label", pa.list_(pa.string()) if multi_label else pa.string()), *MASK_FIELDS]
    order = sorted(rows)
    for name in order:
        if not multi_label:
            rows[name]["label"] = rows[name]["label"][0]
    return pa.Table.from_pylist([rows[name] for name in order], schema=pa.schema(fields))


def join_pairs(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables([PAIR_SCHEMA.empty_table(), *tables])
