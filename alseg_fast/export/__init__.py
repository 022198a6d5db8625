"""Torch segmentation networks as ONNX graphs for this engine; MC dropout and flips inside the graph.

    from alseg_fast.export import to_onnx

    to_onnx(network, "network.onnx", input_size=(240, 320), mc_passes=8, classes=("sky", "road"))

The part of the network that depends on no dropout (the trunk) runs once an image, the rest once a pass, with
masks that are part of the file. Needs torch, onnx and onnxruntime (the extras ``train`` and ``cpu``).
"""

from .dropout_calls import Place
from .passes import stochastic_passes
from .writer import Export, to_onnx

__all__ = ["Export", "Place", "stochastic_passes", "to_onnx"]
