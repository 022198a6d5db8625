"""The regions of the pictures of a shard as one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from .run_layout import regions_schema


def regions_table(pictures: Sequence[tuple[str, Mapping[str, Any]]], measures: Sequence[str], *, crf: bool) -> pa.Table:
    """The regions of several pictures as one table in the given order.

    Args:
        pictures: (image_id, columns of `region_columns` and `crf_columns`) each.
    """
    schema = regions_schema(measures, crf=crf)
    tables = [_table(image_id, columns, schema) for image_id, columns in pictures]
    return pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()


def _table(image_id: str, columns: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    count = len(columns["region_id"])
    arrays = []
    for field in schema:
        if field.name == "image_id":
            array = pa.array([image_id], pa.string()).take(pa.array(np.zeros(count, np.int64)))
        elif field.name == "class_fraction":
            fraction = np.ascontiguousarray(columns["class_fraction"], np.float32)
            ends = np.arange(count + 1, dtype=np.int32) * fraction.shape[1]
            array = pa.ListArray.from_arrays(pa.array(ends), pa.array(fraction.ravel()))
        else:
            array = pa.array(columns[field.name], field.type)
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=schema)
