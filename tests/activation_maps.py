"""A network whose activation maps are known: how red, green and blue the picture is, in blocks of four pixels."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

CLASSES = ("red", "green", "blue")
SIZE = (32, 48)
BLOCK = 4
BIAS = 0.2


def build_map_model(path, *, activation="cam", classes=CLASSES, poison=None, **metadata):
    """Maps [n, 3, 8, 12]: mean of each colour in a block, less BIAS.

    Args:
        poison: pixel value from which on a picture's maps become NaN, or None.
    """
    onnx = pytest.importorskip("onnx", reason="building the test model needs onnx")
    from onnx import TensorProto, helper, numpy_helper

    weights = {"bias": np.float32(BIAS)}
    nodes = [
        helper.make_node("AveragePool", ["image"], ["colour"], kernel_shape=[BLOCK] * 2, strides=[BLOCK] * 2),
        helper.make_node("Sub", ["colour", "bias"], ["maps" if poison is None else "clean"]),
    ]
    if poison is not None:
        weights |= {"limit": np.float32(poison / 255), "zero": np.float32(0)}
        nodes += [
            helper.make_node("ReduceMax", ["image"], ["brightest"], keepdims=1),
            helper.make_node("Sub", ["limit", "brightest"], ["room"]),
            helper.make_node("Log", ["room"], ["taint"]),
            helper.make_node("Mul", ["taint", "zero"], ["trace"]),
            helper.make_node("Add", ["clean", "trace"], ["maps"]),
        ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, *SIZE])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["n", 3, None, None])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    stated = {"classes": ",".join(classes), "scale": "1/255", "mean": "0", "std": "1", "channel_order": "rgb"}
    stated |= {"resize": "stretch", "activation": activation, **metadata}
    helper.set_model_props(model, {f"alseg.{key}": value for key, value in stated.items()})
    onnx.save(model, path)
    return path


def maps_of(image):
    """[3, 8, 12] what the network gives for [32, 48, 3] uint8."""
    h, w = SIZE[0] // BLOCK, SIZE[1] // BLOCK
    blocks = (image.astype(np.float32) / 255).reshape(h, BLOCK, w, BLOCK, 3)
    return blocks.mean(axis=(1, 3)).transpose(2, 0, 1) - np.float32(BIAS)


def upsampled(maps, size):
    """[K, H, W] bilinear, corners not aligned, as every framework has it."""
    for axis, n in ((1, size[0]), (2, size[1])):
        at = np.clip((np.arange(n) + 0.5) * maps.shape[axis] / n - 0.5, 0, maps.shape[axis] - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, maps.shape[axis] - 1)
        shape = [1, 1, 1]
        shape[axis] = n
        t = (at - low).reshape(shape)
        maps = np.take(maps, low, axis) * (1 - t) + np.take(maps, high, axis) * t
    return maps


def literal_maps(image, tags):
    """[3, 8, 12] the validated, normalised maps, in the words of the definition."""
    cams = np.maximum(maps_of(image).astype(np.float64), 0)
    peak = cams.max(axis=(1, 2), keepdims=True)
    return np.divide(cams, peak, out=np.zeros_like(cams), where=peak > 0) * np.asarray(tags)[:, None, None]


def draw_blobs(seed):
    """[32, 48, 3] uint8: a dark picture with a soft red, green and blue blob somewhere."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.empty((*SIZE, 3))
    for c in range(3):
        cy, cx = rng.uniform(4, 28), rng.uniform(4, 44)
        image[..., c] = 30 + rng.uniform(120, 200) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / rng.uniform(30, 90))
    return np.rint(np.clip(image, 0, 230)).astype(np.uint8)


def write_blobs(folder, labels, first=0):
    """PNG files b-0000.png ... and pool.parquet with these labels; (folder / "pool.parquet")."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"b-{i:04d}" for i in range(first, first + len(labels))]
    uris = [f"{name}.png" for name in ids]
    for i, uri in enumerate(uris, first):
        Image.fromarray(draw_blobs(i)).save(folder / uri)
    table = pa.table({"image_id": ids, "uri": uris, "label": pa.array(labels, pa.list_(pa.string()))})
    pq.write_table(table, folder / "pool.parquet")
    return folder / "pool.parquet"
