"""The example: drawn scenes with ground truth, a small network trained on them, and measures of usefulness.

``scenes`` draws a pool, ``example.onnx`` is the network, ``evaluate`` tells how well uncertainty finds the
wrong pixels. ``train`` makes ``example.onnx`` and alone needs torch.
"""

from pathlib import Path

EXAMPLE_MODEL = Path(__file__).with_name("example.onnx")
