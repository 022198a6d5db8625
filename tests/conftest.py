"""Fixtures: poisoned output memory, every instruction-set level, the folder of real data."""

from pathlib import Path

import numpy as np
import pytest

from alseg_fast import _native, alloc
from support import build_model

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def poisoned_outputs(monkeypatch):
    """Fresh kernel outputs hold NaN or 0x7F, so an element that no kernel wrote is seen."""

    def empty(shape, dtype):
        array = np.empty(shape, dtype)
        array.fill(np.nan if array.dtype.kind == "f" else 0x7F)
        return array

    monkeypatch.setattr(alloc, "empty", empty)
    ops = (
        "uncertainty",
        "region_impurity",
        "edge_map",
        "foreground",
        "rle",
        "region_geometry",
        "region_probs",
        "region_crf",
        "slic",
        "dense_crf",
        "js_rerank",
        "js_knn",
        "nearest_centroid",
        "js_channel_sums",
        "color_histogram",
        "belharbi_histogram",
        "gaussian_mixture",
        "reliability",
    )
    for module in (f"alseg_fast.kernels.{op}.native_cpu" for op in ops):
        __import__(module)
        monkeypatch.setattr(f"{module}.empty", empty)


@pytest.fixture(params=_native.available_levels())
def simd_level(request):
    """Runs the test once at every instruction-set level of this CPU."""
    before = _native.simd_level()
    _native.set_simd_level(request.param)
    yield request.param
    _native.set_simd_level(before)


@pytest.fixture(scope="session")
def real_data():
    """The folder of real images and models; its licences forbid copies in the project."""
    if not DATA.is_dir():
        pytest.skip(f"the real images are not here ({DATA}); their licences forbid shipping them")
    return DATA


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    return build_model(tmp_path_factory.mktemp("model") / "tiny.onnx")
