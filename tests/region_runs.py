"""RUNs with regions and maps, written by hand, and the hashes of draws in plain integers."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alseg_fast.ops.rle import encode_rle
from alseg_fast.stages.run_layout import part_path, regions_schema, scores_schema
from alseg_fast.stages.score import encode_png
from alseg_fast.stages.store import RunWriter

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
CLASSES = ("sky", "road", "tree")
HIGH = math.log(len(CLASSES))


def mix(value):
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
    return value ^ value >> 31


def name_hash(name, seed):
    data = name.encode()
    state = mix(seed * GOLDEN + len(data) & MASK)
    for start in range(0, len(data), 8):
        state = mix(state ^ int.from_bytes(data[start : start + 8], "little"))
    return state


def part_hash(name, number, seed):
    """The hash of a region or pixel as its docstring states it."""
    return mix(name_hash(name, seed) + (number + 1) * GOLDEN & MASK)


class Image:
    """One image of such a RUN; what is not given is made from a seed."""

    def __init__(self, segments, seed=0, **columns):
        self.segments = np.asarray(segments, np.int32)
        self.n = int(self.segments.max()) + 1
        self.area = np.bincount(self.segments.reshape(-1), minlength=self.n)
        rng = np.random.default_rng(seed)
        made = {
            "entropy_mean": rng.integers(0, 5, self.n) / 4,
            "crf_entropy": rng.integers(0, 5, self.n) / 4,
            "crf_class": rng.integers(0, len(CLASSES), self.n),
            "cost_clicks": 2 + rng.integers(0, 9, self.n) / 3,
        }
        self.columns = {name: np.asarray(columns.get(name, values)) for name, values in made.items()}
        self.columns["entropy_sum"] = self.columns["entropy_mean"] * self.area
        self.columns["cost_seconds"] = self.columns["cost_clicks"] * 1.5
        self.heat = columns.get("heat")
        self.labels = columns.get("labels")

    @property
    def size(self):
        return self.segments.shape

    def region_rows(self, image_id, crf):
        rles = encode_rle(self.segments, self.n)
        for i in range(self.n):
            rows, columns = np.nonzero(self.segments == i)
            row = {name: values[i].item() for name, values in self.columns.items()}
            if not crf:
                del row["crf_entropy"], row["crf_class"]
            yield row | {
                "image_id": image_id,
                "region_id": i,
                "x": int(columns.min()),
                "y": int(rows.min()),
                "w": int(np.ptp(columns)) + 1,
                "h": int(np.ptp(rows)) + 1,
                "area": int(self.area[i]),
                "class": int(self.columns["crf_class"][i]),
                "class_fraction": [1.0, 0.0, 0.0],
                "rle": rles[i],
            }


def make_region_run(out, images, *, shard_size=2, crf=True, maps=False, regions="slic:4", uris=None):
    """A RUN of {image_id: Image}; its parts are written as the engine's are."""
    pool = pa.table({"image_id": list(images), "uri": [(uris or {}).get(name, f"/pool/{name}") for name in images]})
    writer = RunWriter.open(
        out,
        pool=pool,
        pool_info={},
        config={"crf": crf, "maps": maps} | ({} if regions is None else {"regions": regions}),
        model={},
        classes=list(CLASSES),
        measures=("entropy",),
        map_ranges={"entropy": (0.0, HIGH)} if maps else {},
        shard_size=shard_size,
    )
    for index in range(writer.parts):
        rows = writer.shard_rows(index).to_pylist()
        for row in rows:
            image = images[row["image_id"]]
            row |= {"height": image.size[0], "width": image.size[1], "entropy_mean": 0.5}
        for kind, schema, content in (
            ("regions", regions_schema(("entropy",), crf=crf), _regions(rows, images, crf)),
            ("scores", scores_schema(("entropy",)), rows),
        ):
            if kind == "regions" and regions is None:
                continue
            path = part_path(writer.path, kind, index)
            path.parent.mkdir(exist_ok=True)
            pq.write_table(pa.Table.from_pylist(content, schema), path)
    for name, image in images.items() if maps else ():
        writer.write_map("entropy", name, encode_png(np.asarray(image.heat, np.uint8)))
        labels = np.zeros(image.size, np.uint8) if image.labels is None else np.asarray(image.labels, np.uint8)
        writer.write_map("labels", name, encode_png(labels))
    writer.finish()
    return out


def _regions(rows, images, crf):
    return [region for row in rows for region in images[row["image_id"]].region_rows(row["image_id"], crf)]


def grid(height, width, cell):
    """Segments in square cells."""
    y, x = np.mgrid[:height, :width] // cell
    return y * (-(-width // cell)) + x


def write_png(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(np.asarray(array, np.uint8)))
    return path
