"""Small models and pictures that the tests make for themselves."""

import numpy as np
import pytest

CLASSES = ("sky", "road", "tree", "car")


def build_model(path, *, size=(32, 48), classes=CLASSES, poison=None, passes=None, metadata=None):
    """A small segmentation network with fixed random weights: convolutions to logits at 1/4 of `size`.

    Args:
        poison: pixel value (0..255) from which on a picture's logits become NaN, or None.
        passes: T, for an output (N, T, C, h, w) whose passes differ by their random weights, or None.
    """
    onnx = pytest.importorskip("onnx", reason="building the test model needs onnx")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = {
        "w0": rng.normal(size=(8, 3, 3, 3)).astype(np.float32) * 0.6,
        "w1": rng.normal(size=((passes or 1) * len(classes), 8, 3, 3)).astype(np.float32) * 0.6,
    }
    nodes = [
        helper.make_node("Conv", ["image", "w0"], ["c0"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1"], ["scores"], pads=[1] * 4, strides=[2, 2]),
    ]
    if poison is not None:
        # log of (poison / 255 - brightest pixel) is NaN where that is negative, and otherwise times 0
        weights["limit"] = np.float32(poison / 255)
        weights["zero"] = np.float32(0)
        nodes += [
            helper.make_node("ReduceMax", ["image"], ["brightest"], keepdims=1),
            helper.make_node("Sub", ["limit", "brightest"], ["room"]),
            helper.make_node("Log", ["room"], ["taint"]),
            helper.make_node("Mul", ["taint", "zero"], ["trace"]),
            helper.make_node("Add", ["scores", "trace"], ["logits"]),
        ]
    elif passes is not None:
        weights["apart"] = np.array([0, passes, len(classes), size[0] // 4, size[1] // 4])
        nodes.append(helper.make_node("Reshape", ["scores", "apart"], ["logits"]))
    else:
        nodes.append(helper.make_node("Identity", ["scores"], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, *size])],
        [
            helper.make_tensor_value_info(
                "logits", TensorProto.FLOAT, None if passes else ["n", len(classes), None, None]
            )
        ],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    stated = {"alseg.classes": ",".join(classes), "alseg.scale": "1/255", "alseg.mean": "0", "alseg.std": "1"}
    stated |= {"alseg.channel_order": "rgb", "alseg.resize": "stretch", "alseg.activation": "softmax"}
    helper.set_model_props(model, {**stated, **(metadata or {})})
    onnx.save(model, path)
    return path


def draw_picture(seed, size=(40, 60)):
    """A smooth random picture [h, w, 3] uint8."""
    from PIL import Image

    small = np.random.default_rng(seed).integers(0, 200, (5, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC))


def write_pictures(folder, n, first=0):
    """n JPEG files img-0000.jpg ... in `folder`."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + n):
        Image.fromarray(draw_picture(i)).save(folder / f"img-{i:04d}.jpg", quality=92)
    return folder
