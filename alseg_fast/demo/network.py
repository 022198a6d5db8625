"""The example network in torch, and its translation to ONNX.

A small encoder of inverted residual blocks down to 1/8 of the input, dilated so that each output sees most
of the picture, with a global context term. About 200,000 weights. The ONNX graph is written node by node from
the trained weights with every batch normalisation folded into its convolution, so that it depends neither on
an exporter nor on where or when it was made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from .scenes import CLASSES

INPUT_SIZE = (240, 320)
MEAN, STD, SCALE = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 1 / 255
_OPSET, _IR_VERSION = 17, 8


class ConvNorm(nn.Module):
    """Convolution, batch normalisation and, unless ``relu`` is false, ReLU."""

    def __init__(
        self,
        cin: int,
        cout: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        relu: bool = True,
    ) -> None:
        super().__init__()
        pad = dilation * (kernel // 2)
        self.conv = nn.Conv2d(cin, cout, kernel, stride, pad, dilation, groups, bias=False)
        self.norm = nn.BatchNorm2d(cout)
        self.relu = relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        return torch.relu(x) if self.relu else x


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; added to the input where the shapes agree (Sandler et al. 2018)."""

    def __init__(self, cin: int, cout: int, *, widen: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        mid = cin * widen
        self.widening = ConvNorm(cin, mid)
        self.filtering = ConvNorm(mid, mid, 3, stride=stride, dilation=dilation, groups=mid)
        self.narrowing = ConvNorm(mid, cout, relu=False)
        self.residual = stride == 1 and cin == cout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.narrowing(self.filtering(self.widening(x)))
        return x + y if self.residual else y


class ExampleNetwork(nn.Module):
    """[N, 3, H, W] float32, normalised -> logits [N, C, ceil(H / 8), ceil(W / 8)].

    With ``dropout`` above 0, whole channels before the classifier are dropped with this probability (training, and
    stochastic passes of `alseg_fast.export`). It has no weights: any state dict fits.
    """

    def __init__(self, n_classes: int = len(CLASSES), dropout: float = 0.0) -> None:
        super().__init__()
        width = 56
        self.encoder = nn.Sequential(
            ConvNorm(3, 16, 3, stride=2),
            InvertedResidual(16, 24, widen=3, stride=2),
            InvertedResidual(24, 24, widen=3),
            InvertedResidual(24, width, widen=4, stride=2),
            *(InvertedResidual(width, width, widen=4, dilation=d) for d in (1, 2, 4, 1, 2, 6)),
        )
        self.local = ConvNorm(width, 96, relu=False)
        self.context = nn.Conv2d(width, 96, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(96, n_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.encoder(x)
        x = torch.relu(self.local(x) + self.context(x.mean((2, 3), keepdim=True)))
        logits: torch.Tensor = self.classifier(self.dropout(x))
        return logits


def _stored(statistic: torch.Tensor | None) -> torch.Tensor:
    if statistic is None:
        raise ValueError("save_onnx: batch normalisation must keep running statistics; got none.")
    return statistic.double()


class _GraphWriter:
    """Collects ONNX nodes and weights; tensors are named in the order in which they appear."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def op(self, kind: str, inputs: list[str], *, output: str | None = None, **attributes: Any) -> str:
        name = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def conv(self, x: str, conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None, output: str | None = None) -> str:
        """A convolution, with the normalisation that follows it folded into its weights (in float64)."""
        weight = conv.weight.detach().double()
        bias = torch.zeros(conv.out_channels).double() if conv.bias is None else conv.bias.detach().double()
        if norm is not None:
            gain = norm.weight.detach().double() / torch.sqrt(_stored(norm.running_var) + norm.eps)
            weight = weight * gain[:, None, None, None]
            bias = norm.bias.detach().double() + (bias - _stored(norm.running_mean)) * gain
        stem = f"conv{len(self.weights) // 2}"
        for name, value in ((f"{stem}.weight", weight), (f"{stem}.bias", bias)):
            self.weights.append(numpy_helper.from_array(value.numpy().astype(np.float32), name))
        pad = [int(p) for p in conv.padding]
        return self.op(
            "Conv",
            [x, f"{stem}.weight", f"{stem}.bias"],
            output=output,
            kernel_shape=list(conv.kernel_size),
            strides=list(conv.stride),
            pads=pad + pad,
            dilations=list(conv.dilation),
            group=conv.groups,
        )

    def conv_norm(self, x: str, layer: ConvNorm) -> str:
        y = self.conv(x, layer.conv, layer.norm)
        return self.op("Relu", [y]) if layer.relu else y

    def inverted_residual(self, x: str, block: InvertedResidual) -> str:
        y = x
        for step in (block.widening, block.filtering, block.narrowing):
            y = self.conv_norm(y, step)
        return self.op("Add", [x, y]) if block.residual else y


def save_onnx(network: ExampleNetwork, path: str | Path) -> None:
    """Write the network as ONNX with its metadata: image [N, 3, H, W] float32 -> logits [N, C, h, w]."""
    graph = _GraphWriter()
    x = "image"
    for block in network.encoder:
        if isinstance(block, InvertedResidual):
            x = graph.inverted_residual(x, block)
        elif isinstance(block, ConvNorm):
            x = graph.conv_norm(x, block)
    pooled = graph.op("GlobalAveragePool", [x])
    both = graph.op("Add", [graph.conv_norm(x, network.local), graph.conv(pooled, network.context)])
    graph.conv(graph.op("Relu", [both]), network.classifier, output="logits")
    image_shape: list[str | int | None] = ["N", 3, "H", "W"]
    logits_shape: list[str | int | None] = ["N", len(CLASSES), "h", "w"]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "example",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, image_shape)],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits_shape)],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="alseg_fast.demo.train",
    )
    for key, value in {
        "classes": list(CLASSES),
        "mean": list(MEAN),
        "std": list(STD),
        "scale": SCALE,
        "input_size": list(INPUT_SIZE),
    }.items():
        model.metadata_props.add(key=f"alseg.{key}", value=json.dumps(value))
    for key, text in {
        "channel_order": "rgb",
        "resize": "stretch",
        "activation": "softmax",
        "output": "logits",
    }.items():
        model.metadata_props.add(key=f"alseg.{key}", value=text)
    onnx.checker.check_model(model, full_check=True)
    Path(path).write_bytes(model.SerializeToString(deterministic=True))
