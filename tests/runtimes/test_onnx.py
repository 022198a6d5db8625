"""Models run by ONNX Runtime: tiny graphs made here, and real ones where shared data lies beside."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from alseg_fast.errors import AlsegError, ModelError, UsageError
from alseg_fast.runtimes.onnx import OnnxModel, load_model
from alseg_fast.runtimes.spec import ModelOptions

pytest.importorskip("onnxruntime")

MODELS = Path(__file__).resolve().parents[2] / "../shared/data/models"
STATED = {
    "scale": "1",
    "mean": "0",
    "std": "1",
    "channel_order": "rgb",
    "resize": "stretch",
    "activation": "softmax",
}
FLOAT, HALF, BYTE, DOUBLE, INT64 = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.UINT8,
    TensorProto.DOUBLE,
    TensorProto.INT64,
)
Shape = Sequence[int | str]


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: Sequence[tuple[str, int, Shape | None]],
    outputs: Sequence[tuple[str, int, Shape | None]],
    weights: dict[str, np.ndarray] | None = None,
    metadata: dict[str, str] | None = None,
    opset: int = 17,
) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model.producer_name, model.producer_version = "tester", "1.0"
    helper.set_model_props(model, {f"alseg.{k}": v for k, v in (metadata or {}).items()})
    path.write_bytes(model.SerializeToString())
    return path


WEIGHT = np.random.default_rng(3).normal(size=(5, 3, 1, 1)).astype(np.float32)


def pixelwise(
    path: Path, shape: Shape = ("N", 3, "H", "W"), metadata: dict[str, str] | None = None, kind: int = FLOAT
) -> Path:
    """A 1x1 convolution from three channels to five classes at half the size, NCHW."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    conv = helper.make_node("Conv", ["image", "weight"], ["scores"], strides=[2, 2])
    open_shape = ("N", 5, "h", "w")
    return save(
        path,
        [conv],
        [("image", kind, shape)],
        [("scores", kind, open_shape)],
        {"weight": WEIGHT.astype(dtype)},
        STATED if metadata is None else metadata,
    )


def channels_last(path: Path, shape: Shape = (1, 8, 12, 3)) -> Path:
    """The same classes from an NHWC image, at full size, NHWC."""
    node = helper.make_node("MatMul", ["image", "weight"], ["scores"])
    outputs = [("scores", FLOAT, (*shape[:3], 5))]
    return save(path, [node], [("image", FLOAT, shape)], outputs, {"weight": WEIGHT[:, :, 0, 0].T}, STATED)


def noise(shape: Sequence[int], dtype: str = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32).astype(dtype)


def pixelwise_scores(batch: np.ndarray) -> np.ndarray:
    return np.einsum("nchw,kc->nkhw", batch[:, :, ::2, ::2], WEIGHT[:, :, 0, 0])


# What a graph says, and running it


def test_facts_of_a_dynamic_graph(tmp_path: Path) -> None:
    model = load_model(pixelwise(tmp_path / "m.onnx"), ModelOptions(input_size=(16, 24)))
    spec = model.spec
    assert (spec.input_name, spec.input_dtype, spec.input_layout) == ("image", "float32", "NCHW")
    assert (spec.input_size, spec.fixed_size, spec.batch) == ((16, 24), False, None)
    assert (spec.output_name, spec.output_dtype, spec.output_layout) == ("scores", "float32", "NCHW")
    assert (spec.output_size, spec.n_classes, spec.n_passes) == ((8, 12), 5, 1)
    assert (spec.ir_version, spec.opset, spec.producer) == (8, {"ai.onnx": 17}, "tester 1.0")
    assert (spec.sources["scale"], spec.warnings, model.warnings) == ("metadata", (), ())
    assert (model.device, model.providers) == ("cpu", ("CPUExecutionProvider",))


def test_scores_of_any_batch_and_size(tmp_path: Path) -> None:
    runner = load_model(pixelwise(tmp_path / "m.onnx"), ModelOptions(input_size=16)).runner()
    for n, h, w in [(1, 16, 16), (4, 16, 16), (2, 6, 10), (4, 16, 16), (1, 40, 8), (2, 6, 10)]:
        buffer = runner.input_buffer(n, h, w)
        assert (buffer.shape, buffer.dtype) == ((n, 3, h, w), np.float32)
        assert buffer.flags.c_contiguous
        buffer[...] = noise(buffer.shape, seed=h)
        kept = buffer.copy()
        scores = runner.run(buffer)
        np.testing.assert_allclose(scores, pixelwise_scores(kept), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(buffer, kept)


def test_output_memory_is_used_again(tmp_path: Path) -> None:
    runner = load_model(pixelwise(tmp_path / "m.onnx"), ModelOptions(input_size=16)).runner()
    runner.run(noise((2, 3, 16, 16)))
    second, third = (runner.run(noise((2, 3, 16, 16), seed=i)) for i in (1, 2))
    assert second.ctypes.data == third.ctypes.data
    assert second.ctypes.data % 64 == 0
    np.testing.assert_allclose(second, pixelwise_scores(noise((2, 3, 16, 16), seed=2)), rtol=1e-5, atol=1e-6)


def test_any_array_may_be_run(tmp_path: Path) -> None:
    runner = load_model(pixelwise(tmp_path / "m.onnx"), ModelOptions(input_size=16)).runner()
    strided = noise((2, 3, 16, 32))[..., ::2]
    np.testing.assert_allclose(runner.run(strided), pixelwise_scores(strided), rtol=1e-5, atol=1e-6)


def test_channels_last_output_is_a_transposed_view(tmp_path: Path) -> None:
    model = load_model(channels_last(tmp_path / "m.onnx"))
    assert (model.spec.input_layout, model.spec.output_layout) == ("NHWC", "NHWC")
    assert (model.spec.input_size, model.spec.fixed_size, model.spec.batch) == ((8, 12), True, 1)
    runner = model.runner()
    buffer = runner.input_buffer(1, 8, 12)
    assert buffer.shape == (1, 8, 12, 3)
    buffer[...] = noise(buffer.shape)
    for _ in range(2):
        scores = runner.run(buffer)
        assert scores.shape == (1, 5, 8, 12)
        assert scores.strides[1] == 4
        expected = np.einsum("nhwc,kc->nkhw", buffer, WEIGHT[:, :, 0, 0])
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def test_fixed_batch_is_padded(tmp_path: Path) -> None:
    model = load_model(pixelwise(tmp_path / "m.onnx", (4, 3, 16, 16)))
    assert (model.spec.batch, model.spec.fixed_size) == (4, True)
    runner = model.runner()
    for n in (4, 3, 1):
        buffer = runner.input_buffer(n, 16, 16)
        buffer[...] = noise(buffer.shape)
        np.testing.assert_allclose(runner.run(buffer), pixelwise_scores(buffer), rtol=1e-5, atol=1e-6)
    foreign = noise((3, 3, 16, 16), seed=9)
    np.testing.assert_allclose(runner.run(foreign), pixelwise_scores(foreign), rtol=1e-5, atol=1e-6)
    with pytest.raises(ModelError, match="takes at most 4 of images a call; got 5 of 16x16"):
        runner.input_buffer(5, 16, 16)


def test_half_and_byte_inputs(tmp_path: Path) -> None:
    half = load_model(pixelwise(tmp_path / "half.onnx", kind=HALF), ModelOptions(input_size=16))
    assert (half.spec.input_dtype, half.spec.output_dtype) == ("float16", "float16")
    batch = noise((2, 3, 16, 16), "float16")
    for _ in range(2):
        scores = half.runner().run(batch)
        np.testing.assert_allclose(scores, pixelwise_scores(batch.astype(np.float32)), atol=5e-3)
    nodes = [helper.make_node("Cast", ["image"], ["scores"], to=FLOAT)]
    path = save(
        tmp_path / "byte.onnx",
        nodes,
        [("image", BYTE, ("N", 3, 8, 8))],
        [("scores", FLOAT, ("N", 3, 8, 8))],
        metadata=STATED,
    )
    byte = load_model(path)
    assert (byte.spec.input_dtype, byte.spec.scale) == ("uint8", 1)
    pixels = np.arange(192, dtype=np.uint8).reshape(1, 3, 8, 8)
    np.testing.assert_array_equal(byte.runner().run(pixels), pixels.astype(np.float32))


@pytest.mark.parametrize(("kind", "dtype"), [(FLOAT, "float32"), (BYTE, "uint8")])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_grey_input_gets_luma(tmp_path: Path, kind: int, dtype: str, layout: str) -> None:
    shape = (2, 1, 6, 8) if layout == "NCHW" else (2, 6, 8, 1)
    metadata = {"activation": "sigmoid", "resize": "stretch", "scale": "1", "mean": "0", "std": "1"}
    node = helper.make_node("Cast", ["image"], ["scores"], to=FLOAT)
    path = save(tmp_path / "m.onnx", [node], [("image", kind, shape)], [("scores", FLOAT, shape)], {}, metadata)
    model = load_model(path)
    assert (model.spec.channel_order, model.spec.channels, model.warnings) == ("grey", 1, ())
    runner = model.runner()
    buffer = runner.input_buffer(1, 6, 8)
    rgb = (noise((1, 6, 8, 3)) * 255).astype(dtype)
    buffer[...] = rgb if layout == "NHWC" else rgb.transpose(0, 3, 1, 2)
    luma = rgb.astype(np.float64) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(runner.run(buffer)[:, 0], luma, atol=0.51 if dtype == "uint8" else 1e-3)


def test_passes_of_the_graph_are_kept(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["scores"]),
    ]
    weight = np.random.default_rng(0).normal(size=(8, 3, 1, 1)).astype(np.float32)
    path = save(
        tmp_path / "m.onnx",
        nodes,
        [("image", FLOAT, ("N", 3, 6, 6))],
        [("scores", FLOAT, None)],
        {"weight": weight, "shape": np.array([0, 4, 2, 6, 6])},
        STATED,
    )
    model = load_model(path)
    assert (model.spec.n_passes, model.spec.n_classes, model.spec.output_layout) == (4, 2, "NTCHW")
    runner = model.runner()
    batch = noise((3, 3, 6, 6))
    expected = np.einsum("nchw,kc->nkhw", batch, weight[:, :, 0, 0]).reshape(3, 4, 2, 6, 6)
    for _ in range(2):
        np.testing.assert_allclose(runner.run(batch), expected, rtol=1e-5, atol=1e-6)


def test_input_with_default_is_no_second_input(tmp_path: Path) -> None:
    conv = helper.make_node("Conv", ["image", "weight"], ["scores"])
    inputs = [("image", FLOAT, (1, 3, 8, 8)), ("weight", FLOAT, (5, 3, 1, 1))]
    path = save(tmp_path / "m.onnx", [conv], inputs, [("scores", FLOAT, None)], {"weight": WEIGHT}, STATED, opset=11)
    assert load_model(path).spec.input_name == "image"


def two_outputs(path: Path) -> Path:
    nodes = [
        helper.make_node("ArgMax", ["scores"], ["labels"], axis=1, keepdims=0),
        helper.make_node("ReduceMean", ["scores"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Conv", ["image", "weight"], ["scores"]),
        helper.make_node("Neg", ["scores"], ["aux"]),
    ]
    outputs = [("labels", INT64, None), ("mean", FLOAT, None), ("scores", FLOAT, None), ("aux", FLOAT, None)]
    nodes.sort(key=lambda node: node.op_type != "Conv")
    return save(path, nodes, [("image", FLOAT, (1, 3, 8, 8))], outputs, {"weight": WEIGHT}, STATED)


def test_output_is_chosen_and_can_be_named(tmp_path: Path) -> None:
    path = two_outputs(tmp_path / "m.onnx")
    first = load_model(path).spec
    assert (first.output_name, first.sources["output_name"]) == ("scores", "graph")
    assert first.warnings == ("output 'scores' taken, the first of several; --output can name 'aux'",)
    named = load_model(path, ModelOptions(output="aux")).spec
    assert (named.output_name, named.sources["output_name"], named.warnings) == ("aux", "option", ())
    with pytest.raises(ModelError, match=r"has no output 'out'; it has 'labels' int64 \[1, 8, 8\]; 'mean' "):
        load_model(path, ModelOptions(output="out"))
    with pytest.raises(ModelError, match=r"got int64 \[1, 8, 8\] named 'labels': the graph ends in ArgMax"):
        load_model(path, ModelOptions(output="labels"))
    with pytest.raises(ModelError, match=r"or \(N, T, C, h, w\); got float32 \[1, 5\] named 'mean'; choose"):
        load_model(path, ModelOptions(output="mean"))


def test_runtime_learns_a_broken_batch_axis(tmp_path: Path) -> None:
    """A graph that declares any batch but folds it away fails in words, not in numbers."""
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["all"]),
        helper.make_node("ReduceMean", ["all"], ["scores"], axes=[0], keepdims=1),
    ]
    path = save(
        tmp_path / "m.onnx",
        nodes,
        [("image", FLOAT, ("N", 3, 8, 8))],
        [("scores", FLOAT, None)],
        {"weight": WEIGHT},
        STATED,
    )
    runner = load_model(path).runner()
    assert runner.run(noise((1, 3, 8, 8))).shape == (1, 5, 8, 8)
    with pytest.raises(ModelError, match=r"gave \[1, 5, 8, 8\] for 2 image\(s\) of 8x8, .* use batch size 1"):
        runner.run(noise((2, 3, 8, 8)))


def test_wrong_batches_are_refused(tmp_path: Path) -> None:
    runner = load_model(pixelwise(tmp_path / "m.onnx", (1, 3, 16, 16))).runner()
    with pytest.raises(ModelError, match=r"run: batch must be \(n, 3, h, w\) float32; got \[1, 16, 16, 3\]"):
        runner.run(noise((1, 16, 16, 3)))
    with pytest.raises(ModelError, match=r"run: batch must be \(n, 3, h, w\) float32; got .* float64"):
        runner.run(np.zeros((1, 3, 16, 16)))
    with pytest.raises(ModelError, match=r"takes images of 16x16 \(h x w\); got 16x32"):
        runner.run(noise((1, 3, 16, 32)))


def reshaping(path: Path, side: int) -> Path:
    """Declares any size, works for one."""
    node = helper.make_node("Reshape", ["image", "shape"], ["scores"])
    shape = np.array([1, 3, side, side])
    inputs = [("image", FLOAT, ("N", 3, "H", "W"))]
    return save(path, [node], inputs, [("scores", FLOAT, None)], {"shape": shape}, STATED)


def test_runtime_failures_are_model_errors_and_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = reshaping(tmp_path / "m.onnx", 32)
    with pytest.raises(ModelError, match=r"fails on a test input of \[1, 3, 512, 512\]: .*say another --input"):
        load_model(path)
    runner = load_model(path, ModelOptions(input_size=32)).runner()
    with pytest.raises(ModelError, match=r"a batch of \[2, 3, 32, 32\]: [^/]*The input .*; try batch size 1"):
        runner.run(noise((2, 3, 32, 32)))
    np.testing.assert_array_equal(runner.run(noise((1, 3, 32, 32))), noise((1, 3, 32, 32)))
    assert capfd.readouterr() == ("", "")


# Threads


def slow_model(path: Path) -> OnnxModel:
    """Some hundred milliseconds a run, in one graph call."""
    nodes, weights, last = [], {}, "image"
    for i in range(12):
        weights[f"w{i}"] = np.full((24, 3 if i == 0 else 24, 3, 3), 0.01, np.float32)
        nodes.append(helper.make_node("Conv", [last, f"w{i}"], [f"a{i}"], pads=[1] * 4))
        last = f"a{i}"
    nodes[-1].output[0] = "scores"
    inputs = [("image", FLOAT, ("N", 3, 192, 192))]
    return load_model(save(path, nodes, inputs, [("scores", FLOAT, None)], weights, STATED))


def test_run_releases_the_gil(tmp_path: Path) -> None:
    runner = slow_model(tmp_path / "m.onnx").runner()
    batch = noise((4, 3, 192, 192))
    started, done = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        runner.run(batch)
        done.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        started.wait()
        turns = 0
        while not done.is_set():
            turns += 1
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert turns > 1000  # a held GIL leaves the few turns before and after the call


def test_runners_of_one_model_do_not_disturb_each_other(tmp_path: Path) -> None:
    model = load_model(pixelwise(tmp_path / "m.onnx"), ModelOptions(input_size=16))
    failures: list[str] = []

    def work(seed: int) -> None:
        runner = model.runner()
        for i in range(60):
            buffer = runner.input_buffer(1 + (i + seed) % 3, 16, 16)
            buffer[...] = noise(buffer.shape, seed=seed * 1000 + i)
            if not np.allclose(runner.run(buffer), pixelwise_scores(buffer), rtol=1e-5, atol=1e-6):
                failures.append(f"{seed} {i}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# Files that are no model


def write(data: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(data)
        return path

    return make


def cut_short(path: Path) -> Path:
    data = pixelwise(path).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path, "does not exist; check the path"),
        (folder, "is a directory; name the .onnx file in it"),
        (write(b""), r"is empty \(0 bytes\); export or download it again"),
        (
            write(np.random.default_rng(0).bytes(4096)),
            "is not an ONNX file; export the network to ONNX first",
        ),
        (write(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"), "is not an ONNX file"),
        (write(b"\x08\x08"), r"is not an ONNX file \(it holds no graph\)"),
        (write(b"\xff" * 64), "is not an ONNX file"),
        (cut_short, r"is cut short or damaged \(.*\); export or download it again"),
    ],
    ids=["missing", "directory", "empty", "random", "text", "no graph", "endless number", "truncated"],
)
def test_files_that_are_no_model(tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    path = tmp_path / "m.onnx"
    make(path)
    with pytest.raises(ModelError, match=words) as raised:
        load_model(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_every_cut_and_flipped_byte_is_a_clean_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = pixelwise(tmp_path / "whole.onnx", (1, 3, 16, 16)).read_bytes()
    path = tmp_path / "m.onnx"
    random = np.random.default_rng(1)
    for cut in random.integers(1, len(data), 60):
        path.write_bytes(data[:cut])
        with pytest.raises(ModelError):
            load_model(path)
    for position in random.integers(0, len(data), 60):
        flipped = bytearray(data)
        flipped[position] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        with contextlib.suppress(AlsegError):  # some flips leave a valid model
            load_model(path)
    assert capfd.readouterr() == ("", "")


def with_external_data(path: Path, location: str) -> Path:
    model = onnx.load(str(pixelwise(path, (1, 3, 16, 16))))
    onnx.external_data_helper.convert_model_to_external_data(model, location=location, size_threshold=0)
    (path.parent / "sub").mkdir(exist_ok=True)
    onnx.save(model, str(path))
    return path


def test_external_data_is_found_and_digested(tmp_path: Path) -> None:
    path = with_external_data(tmp_path / "m.onnx", "m.data")
    first = load_model(path).spec.sha256
    data = bytearray((tmp_path / "m.data").read_bytes())
    data[0] ^= 1
    (tmp_path / "m.data").write_bytes(data)
    assert load_model(path).spec.sha256 != first
    (tmp_path / "m.data").unlink()
    with pytest.raises(ModelError, match=r"keeps weights in m.data, which is missing; put it beside the model"):
        load_model(path)


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "sub/../../secret"])
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    model = onnx.load(str(pixelwise(tmp_path / "m.onnx", (1, 3, 16, 16))))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="wants external data outside its folder"):
        load_model(tmp_path / "m.onnx")


def test_digest_is_that_of_the_file(tmp_path: Path) -> None:
    import hashlib

    path = pixelwise(tmp_path / "m.onnx", (1, 3, 16, 16))
    assert load_model(path).spec.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


# Graphs that are no segmentation network, and hosts that cannot run them


def graph(
    nodes: list[onnx.NodeProto],
    inputs: Sequence[tuple[str, int, Shape | None]],
    outputs: Sequence[str],
    weights: dict[str, np.ndarray] | None = None,
    opset: int = 17,
) -> Callable[[Path], Path]:
    return lambda path: save(path, nodes, inputs, [(name, FLOAT, None) for name in outputs], weights, STATED, opset)


def node(kind: str, sources: str = "image", target: str = "y", **settings: object) -> onnx.NodeProto:
    return helper.make_node(kind, sources.split(), [target], **settings)


def labels(rank: int) -> Callable[[Path], Path]:
    argmax = node("ArgMax", axis=1, keepdims=rank - 3)
    return lambda path: save(path, [argmax], [("image", FLOAT, (1, 3, 8, 8))], [("y", INT64, None)], None, STATED)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            graph([node("Relu")], [("image", FLOAT, (1, 10))], ["y"]),
            r"takes no images: input 'image' float32",
        ),
        (
            graph([node("Add", "image other")], [(n, FLOAT, (1, 3, 8, 8)) for n in ("image", "other")], ["y"]),
            r"exactly one required input, the image; it has 'image' float32 \[1, 3, 8, 8\]; 'other' float32",
        ),
        (
            graph([node("Cast", to=FLOAT)], [("image", DOUBLE, (1, 3, 8, 8))], ["y"]),
            "float64 .* is unsupported",
        ),
        (graph([node("Cast", to=FLOAT)], [("image", INT64, (1, 3, 8, 8))], ["y"]), "int64 .* is unsupported"),
        (
            graph([node("Relu")], [("image", FLOAT, ("N", "C", "H", "W"))], ["y"]),
            "say --input-layout NCHW or",
        ),
        (graph([node("Relu")], [("image", FLOAT, (1, 3, 10**5, 10**5))], ["y"]), "exceeds 178956970 pixels"),
        (
            graph([node("ReduceMean", axes=[2, 3], keepdims=0)], [("image", FLOAT, (1, 3, 8, 8))], ["y"]),
            r"output must be \(N, C, h, w\), .*; got float32 \[1, 3\] named 'y'; choose another with",
        ),
        (
            graph([node("ReduceMax", axes=[1], keepdims=0)], [("image", FLOAT, (1, 3, 8, 8))], ["y"]),
            r"got float32 \[1, 8, 8\] named 'y'; choose another",
        ),
        (labels(3), r"got int64 \[1, 8, 8\] named 'y': the graph ends in ArgMax .* scores are needed"),
        (labels(4), r"got int64 \[1, 1, 8, 8\] named 'y': the graph ends in ArgMax"),
        (
            graph([node("Transpose", perm=[2, 1, 0, 3])], [("image", FLOAT, (1, 3, 8, 8))], ["y"]),
            r"has shape \[8, 3, 1, 8\] for 1 image\(s\); its first axis must be the image",
        ),
        (
            graph(
                [node("Tile", "image r")],
                [("image", FLOAT, (1, 3, 8, 8))],
                ["y"],
                {"r": np.array([1, 0, 1, 1])},
            ),
            r"is empty, shape \[1, 0, 8, 8\]",
        ),
        (
            graph([node("Sparkle")], [("image", FLOAT, (1, 3, 8, 8))], ["y"]),
            r"cannot be loaded by onnxruntime [\d.]+: This is .* No Op registered for Sparkle",
        ),
        (
            graph([node("Relu")], [("image", FLOAT, (1, 3, 8, 8))], ["y"], opset=999),
            r"onnxruntime [\d.]+: ONNX Runtime only .* Opset 999 is .*; export it again",
        ),
    ],
)
def test_graphs_that_are_no_segmentation_network(
    tmp_path: Path, make: Callable[[Path], Path], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=words) as raised:
        load_model(path)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_double_scores_are_refused(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        [node("Cast", to=DOUBLE)],
        [("image", FLOAT, (1, 3, 8, 8))],
        [("y", DOUBLE, None)],
        None,
        STATED,
    )
    with pytest.raises(ModelError, match=r"got float64 \[1, 3, 8, 8\] named 'y'; scores must be float32 or"):
        load_model(path)


def test_missing_runtime_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pixelwise(tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"onnxruntime cannot be imported .*; pip install 'alseg-fast\[cpu\]'"):
        load_model(path)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "CPU", "", "cuda:0\n"])
def test_unknown_devices_are_refused(tmp_path: Path, device: str) -> None:
    with pytest.raises(UsageError, match="load_model: device must be auto, cpu, cuda or cuda:I; got "):
        load_model(tmp_path / "m.onnx", device=device)


def test_threads_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="load_model: threads must be at least 1; got 0"):
        load_model(tmp_path / "m.onnx", threads=0)


def test_cuda_without_its_provider_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    path = pixelwise(tmp_path / "m.onnx", (1, 3, 16, 16))
    with pytest.raises(ModelError, match=r"needs CUDAExecutionProvider, this onnxruntime has CPUExecution.*gpu\]"):
        load_model(path, device="cuda")
    assert load_model(path, device="auto").device == "cpu"


def test_cuda_that_does_not_work_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU build on a host without a GPU: "cuda" fails, "auto" runs on the CPU and says so."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime really has CUDA")
    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: available)
    path = pixelwise(tmp_path / "m.onnx", (1, 3, 16, 16))
    with pytest.raises(ModelError, match=r"device cuda:1: CUDA cannot be used .*or use --device cpu"):
        load_model(path, device="cuda:1")
    model = load_model(path, device="auto")
    assert model.device == "cpu"
    assert model.warnings[-1].startswith("CUDA cannot be used (")
    assert model.warnings[-1].endswith("; the model runs on the CPU")
    assert model.spec.warnings == ()


# Real networks


def real_model(name: str) -> Path:
    path = MODELS / name
    if not path.is_file():
        pytest.skip(f"real model {name} is not beside the project")
    return path


@pytest.mark.parametrize(
    ("name", "layouts", "size", "classes", "activation", "doubt"),
    [
        ("deeplab_v3_1_default_1.onnx", ("NHWC", "NHWC"), (257, 257), 21, "softmax", False),
        ("road_segmentation_adas_0001_float32.onnx", ("NHWC", "NHWC"), (512, 896), 4, "softmax", True),
        ("skin_clothes_hair_pan_mnv3s.onnx", ("NCHW", "NCHW"), (512, 512), 3, "softmax", True),
        ("selfie_segmentation.onnx", ("NHWC", "NHWC"), (256, 256), 1, "sigmoid", True),
    ],
)
def test_real_networks(
    name: str, layouts: tuple[str, str], size: tuple[int, int], classes: int, activation: str, doubt: bool
) -> None:
    model = load_model(real_model(name))
    spec = model.spec
    assert (spec.input_layout, spec.output_layout) == layouts
    assert spec.input_size == spec.output_size == size
    assert (spec.n_classes, spec.activation, spec.batch, spec.fixed_size) == (classes, activation, 1, True)
    assert any("--activation probabilities" in text for text in spec.warnings) is doubt
    runner = model.runner()
    buffer = runner.input_buffer(1, *size)
    buffer[...] = noise(buffer.shape)
    first = runner.run(buffer).copy()
    assert first.shape == (1, classes, *size)
    np.testing.assert_array_equal(runner.run(buffer), first)


def test_options_of_a_real_network_leave_no_warning(tmp_path: Path) -> None:
    path = shutil.copy(real_model("road_segmentation_adas_0001_float32.onnx"), tmp_path / "road.onnx")
    os.chmod(path, 0o644)
    options = {
        "classes": "background,road,curb,mark",
        "scale": 1,
        "mean": 0,
        "std": 1,
        "channel_order": "bgr",
        "resize": "stretch",
        "activation": "probabilities",
    }
    spec = load_model(path, ModelOptions.from_mapping(options)).spec
    assert spec.warnings == ()
    assert (spec.classes[1], spec.channel_order, spec.sources["activation"]) == ("road", "bgr", "option")
