"""Networks to measure with, written node by node from a fixed seed: right in cost, meaningless in content."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

_OPSET, _IR_VERSION = 17, 8
_SEED = 3
INPUT_SIDE = 512
N_CLASSES = 21
_LOGIT_DEVIATION = 3.0
# MobileNetV2 (Sandler et al. 2018, table 2) up to 1/16 of the input: widen, channels, repeats, stride.
_BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
_STEM, _HEAD = 32, 256
_MEAN, _STD, _SCALE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1 / 255  # ImageNet's, as most such networks have
_METADATA = {
    "mean": list(_MEAN),
    "std": list(_STD),
    "scale": _SCALE,
    "channel_order": "rgb",
    "resize": "stretch",
    "activation": "softmax",
}


class _Writer:
    """Collects nodes and weights, and counts multiply-adds."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: dict[str, NDArray[Any]] = {}
        self.multiply_adds = 0

    def op(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        name = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def conv(
        self,
        x: str,
        cin: int,
        cout: int,
        side: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        relu6: bool = True,
        output: str | None = None,
    ) -> str:
        """A convolution with the weights of He et al. (2015); `side` is that of the output."""
        fan_in = cin // groups * kernel * kernel
        gain = np.sqrt((2.0 if relu6 else 1.0) / fan_in)
        stem = f"conv{len(self.weights) // 2}"
        shape = (cout, cin // groups, kernel, kernel)
        self.weights[f"{stem}.weight"] = (gain * self.rng.standard_normal(shape)).astype(np.float32)
        self.weights[f"{stem}.bias"] = (0.1 * self.rng.standard_normal(cout)).astype(np.float32)
        self.multiply_adds += side * side * cout * fan_in
        y = self.op(
            "Conv",
            [x, f"{stem}.weight", f"{stem}.bias"],
            output,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
            group=groups,
        )
        return self.op("Clip", [y, "zero", "six"]) if relu6 else y


def _build(side: int, n_classes: int) -> tuple[_Writer, str]:
    """All nodes but the classifier's calibration; the writer and the name of the last bias."""
    w = _Writer(_SEED)
    x, channels, side = w.conv("image", 3, _STEM, side // 2, 3, stride=2), _STEM, side // 2
    for widen, cout, repeats, first_stride in _BLOCKS:
        for i in range(repeats):
            stride = first_stride if i == 0 else 1
            mid, y = channels * widen, x
            if widen > 1:
                y = w.conv(y, channels, mid, side)
            side //= stride
            y = w.conv(y, mid, mid, side, 3, stride=stride, groups=mid)
            y = w.conv(y, mid, cout, side, relu6=False)
            x = w.op("Add", [x, y]) if stride == 1 and channels == cout else y
            channels = cout
    # The head of LR-ASPP (Howard et al. 2019): features times a gate from the whole picture.
    features = w.conv(x, channels, _HEAD, side)
    pooled = w.op("GlobalAveragePool", [x])
    gate = w.op("Sigmoid", [w.conv(pooled, channels, _HEAD, 1, relu6=False)])
    w.conv(w.op("Mul", [features, gate]), _HEAD, n_classes, side, relu6=False, output="logits")
    return w, list(w.weights)[-1]


def _model(w: _Writer, side: int, n_classes: int) -> Any:
    weights = {**w.weights, "zero": np.array(0, np.float32), "six": np.array(6, np.float32)}
    graph = helper.make_graph(
        w.nodes,
        "mobile",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", n_classes, "h", "w"])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    named = {**_METADATA, "classes": [f"class {c}" for c in range(n_classes)]}
    for key, value in named.items():
        model.metadata_props.add(key=f"alseg.{key}", value=value if isinstance(value, str) else json.dumps(value))
    onnx.checker.check_model(model, full_check=True)
    return model


def prepare_picture(data: bytes, side: int) -> NDArray[np.float32]:
    """JPEG -> [1, 3, side, side]."""
    image = Image.open(io.BytesIO(data)).resize((side, side), Image.Resampling.BILINEAR)
    x = (np.asarray(image, np.float32) * _SCALE - np.array(_MEAN)) / np.array(_STD)
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None], np.float32)


def save_mobile_network(
    path: Path, pictures: Sequence[bytes], *, side: int = INPUT_SIDE, n_classes: int = N_CLASSES
) -> float:
    """Write a MobileNet-class segmentation network, logits at 1/16, and return its cost in GFLOP an image.

    Random weights, batch normalisation folded; the classifier is scaled so that over the given JPEGs each class
    has logits of mean 0 and deviation 3, and the largest one differs from place to place.
    """
    import onnxruntime

    writer, bias = _build(side, n_classes)
    session = onnxruntime.InferenceSession(
        _model(writer, side, n_classes).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    logits = np.concatenate([session.run(None, {"image": prepare_picture(data, side)})[0] for data in pictures])
    gain = _LOGIT_DEVIATION / logits.std(axis=(0, 2, 3))
    weight = bias.replace("bias", "weight")
    writer.weights[weight] = (writer.weights[weight] * gain[:, None, None, None]).astype(np.float32)
    writer.weights[bias] = ((writer.weights[bias] - logits.mean(axis=(0, 2, 3))) * gain).astype(np.float32)
    path.write_bytes(_model(writer, side, n_classes).SerializeToString(deterministic=True))
    return 2 * writer.multiply_adds / 1e9


def save_tiny_network(path: Path, *, side: int = 64, n_classes: int = 4) -> None:
    """Write a one-layer network, logits at 1/8: for measuring everything but the network."""
    writer = _Writer(_SEED)
    writer.conv("image", 3, n_classes, side // 8, 9, stride=8, relu6=False, output="logits")
    path.write_bytes(_model(writer, side, n_classes).SerializeToString(deterministic=True))
