"""Statements about a model: who wins, what is refused, how layouts are told apart. No runtime needed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alseg_fast.errors import ModelError, UsageError
from alseg_fast.runtimes.layout import input_layout, output_layout
from alseg_fast.runtimes.onnx_file import OnnxFile
from alseg_fast.runtimes.options import KEYS, ModelOptions, collect_statements
from alseg_fast.runtimes.resolve import TensorInfo, resolve_input, resolve_spec
from alseg_fast.runtimes.spec import ModelSpec

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def spec_of(
    folder: Path,
    options: ModelOptions | None = None,
    *,
    metadata: dict[str, str] | None = None,
    sidecar: object = None,
    image: tuple[int | None, ...] | None = (None, 3, None, None),
    dtype: str = "float32",
    scores: np.ndarray | None = None,
) -> ModelSpec:
    """Resolve a model that exists only as statements; its output is 4 classes at a quarter of the image."""
    path = folder / "M.onnx"
    if sidecar is not None:
        path.with_suffix(".json").write_text(json.dumps(sidecar))
    file = OnnxFile(path, "ab" * 32, 8, {"ai.onnx": 17}, "tester 1", metadata or {}, ())
    stated = collect_statements(path, file.metadata, options or ModelOptions())
    entry = resolve_input(str(path), [TensorInfo("image", dtype, image)], stated)
    if scores is None:
        h, w = entry.size
        scores = np.full((entry.batch or 1, 4, h // 4, w // 4), -1, np.float32)
    return resolve_spec(file, entry, {"scores": scores}, stated)


def test_option_beats_metadata_beats_sidecar_and_sources_say_so(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        ModelOptions(mean=IMAGENET_MEAN, input_size=64),
        metadata={"alseg.mean": "[0.5, 0.5, 0.5]", "alseg.std": "0.5", "alseg.classes": "a, b,c,d"},
        sidecar={"std": [0.25, 0.25, 0.25], "activation": "sigmoid", "mean": 0.1, "scale": 1},
    )
    assert spec.mean == IMAGENET_MEAN
    assert spec.sources["mean"] == "option (metadata says 0.5, 0.5, 0.5, sidecar says 0.1, 0.1, 0.1)"
    assert (spec.std, spec.sources["std"]) == ((0.5,) * 3, "metadata (sidecar says 0.25, 0.25, 0.25)")
    assert (spec.activation, spec.sources["activation"]) == ("sigmoid", "sidecar")
    assert (spec.classes, spec.sources["classes"]) == (("a", "b", "c", "d"), "metadata")
    assert (spec.channel_order, spec.sources["channel_order"]) == ("rgb", "default")
    assert spec.sources["input_layout"] == spec.sources["output_layout"] == "graph"


def test_equal_statements_are_no_override(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, ModelOptions(scale=1.0), metadata={"alseg.scale": "1"})
    assert spec.sources["scale"] == "option"


def test_nothing_stated_gives_defaults_and_one_warning_that_names_them(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    assert (spec.scale, spec.mean, spec.std) == (1 / 255, (0, 0, 0), (1, 1, 1))
    assert (spec.channel_order, spec.resize, spec.activation) == ("rgb", "stretch", "softmax")
    assert (spec.input_size, spec.fixed_size, spec.batch) == ((512, 512), False, None)
    assert spec.classes == ("class_0", "class_1", "class_2", "class_3")
    size, pixels = spec.warnings
    assert size == "the graph takes any size and none is stated: 512x512 assumed; say --input-size"
    assert pixels == (
        "assumed, because nothing states it: scale 1/255, mean 0, std 1, channel_order rgb, resize stretch, "
        "activation softmax; say --scale and so on, or write them into M.json"
    )


def test_everything_stated_gives_no_warning(tmp_path: Path) -> None:
    said = {
        "classes": ["a", "b", "c", "d"],
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "scale": 1 / 255,
        "channel_order": "bgr",
        "resize": "letterbox",
        "activation": "cam",
        "background": 0.3,
        "output": "scores",
        "input_size": [32, 64],
        "input_layout": "NCHW",
        "output_layout": "NCHW",
    }
    assert set(said) == set(KEYS)
    spec = spec_of(tmp_path, sidecar=said)
    assert spec.warnings == ()
    assert (spec.input_size, spec.output_size, spec.output_name) == ((32, 64), (8, 16), "scores")
    stated = set(KEYS) - {"output"} | {"output_name"}
    assert {spec.sources[key] for key in stated} == {"sidecar"}


def test_sidecar_may_carry_the_full_file_name_but_two_are_ambiguous(tmp_path: Path) -> None:
    (tmp_path / "M.onnx.json").write_text('{"scale": 1}')
    assert spec_of(tmp_path).scale == 1
    with pytest.raises(ModelError, match=r"has two sidecars, M.json and M.onnx.json; keep one"):
        spec_of(tmp_path, sidecar={"scale": 2})


def test_uint8_input_takes_raw_pixels(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, ModelOptions(input_size=64), dtype="uint8")
    assert (spec.scale, spec.mean, spec.std) == (1, (0, 0, 0), (1, 1, 1))
    assert "scale" not in spec.warnings[0]
    with pytest.raises(ModelError, match="a uint8 input takes raw pixels; leave scale, mean and std out"):
        spec_of(tmp_path, ModelOptions(mean=0.5), dtype="uint8")


def test_loose_values_are_read() -> None:
    options = ModelOptions.from_mapping(
        {
            "classes": "road, sky",
            "mean": "0.485,0.456,0.406",
            "std": "[1, 2, 3]",
            "scale": "1/127.5",
            "channel_order": "BGR",
            "input_size": "512x896",
            "output": "1273",
            "input_layout": "nhwc",
            "resize": None,
        }
    )
    assert options.classes == ("road", "sky")
    assert (options.mean, options.std, options.scale) == (IMAGENET_MEAN, (1, 2, 3), 1 / 127.5)
    assert (options.channel_order, options.input_layout) == ("bgr", "NHWC")
    assert (options.input_size, options.output, options.resize) == ((512, 896), "1273", None)
    assert ModelOptions.from_mapping({"classes": "21", "input_size": 320}) == ModelOptions(
        classes=21, input_size=(320, 320)
    )


@pytest.mark.parametrize(
    ("key", "value", "requirement"),
    [
        ("classes", 0, "a list of printable class names or their number"),
        ("classes", ["a", "\x1b[31m"], "a list of printable class names or their number"),
        ("classes", True, "a list of printable class names or their number"),
        ("mean", [1, 2], "one or three finite numbers"),
        ("mean", float("nan"), "one or three finite numbers"),
        ("std", [1, 0, 1], "one or three numbers above 0"),
        ("scale", "1/0", "a number above 0 (1/255 is one)"),
        ("scale", -1, "a number above 0 (1/255 is one)"),
        ("scale", True, "a number above 0 (1/255 is one)"),
        ("channel_order", "hsv", "rgb, bgr or grey"),
        ("resize", "crop", "stretch, letterbox or short-side"),
        ("activation", "relu", "softmax, sigmoid, probabilities or cam"),
        ("background", 1, "a number above 0 and below 1"),
        ("output", "", "the name of a graph output"),
        ("input_size", "12x", "one side or (h, w) in pixels, 1..65536"),
        ("input_size", [1, 2, 3], "one side or (h, w) in pixels, 1..65536"),
        ("input_size", 1.5, "one side or (h, w) in pixels, 1..65536"),
        ("input_layout", "CHW", "NCHW or NHWC"),
        ("output_layout", 3, "NCHW or NHWC"),
    ],
)
def test_wrong_values_are_refused_by_name(tmp_path: Path, key: str, value: object, requirement: str) -> None:
    with pytest.raises(UsageError) as said:
        ModelOptions.from_mapping({key: value})
    assert str(said.value).startswith(f"model option {key} must be {requirement}; got ")
    with pytest.raises(ModelError) as beside:
        spec_of(tmp_path, sidecar={key: value})
    assert str(beside.value).startswith(f"sidecar {tmp_path / 'M.json'}: {key} must be {requirement}; got ")


def test_unknown_keys_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown model option scael; known: classes, mean, std, scale, "):
        ModelOptions.from_mapping({"scael": 1})
    with pytest.raises(ModelError, match=r"unknown key 'alseg.men' in the metadata .*known: alseg.classes, "):
        spec_of(tmp_path, metadata={"alseg.men": "1", "other.tool": "kept"})
    with pytest.raises(ModelError, match=r"unknown key 'clases' in sidecar .*M.json; known: classes, mean"):
        spec_of(tmp_path, sidecar={"clases": ["a"]})


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\udcff"])
def test_broken_sidecar_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "M.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match=r"sidecar .*M.json is not readable JSON .*; correct or remove it"):
        spec_of(tmp_path)


def test_sidecar_must_be_an_object(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"must hold one JSON object; got list"):
        spec_of(tmp_path, sidecar=[1])


def test_wrong_metadata_value_names_file_and_key(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model .*M.onnx: metadata alseg.scale must be a number above 0"):
        spec_of(tmp_path, metadata={"alseg.scale": "big"})


def test_class_count_must_fit_the_output(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"3 classes stated \(option\) but output 'scores' has 4 channels"):
        spec_of(tmp_path, ModelOptions(classes=("a", "b", "c")))
    assert spec_of(tmp_path, ModelOptions(classes=4)).classes[3] == "class_3"


def test_fixed_graph_size_refuses_another_one(tmp_path: Path) -> None:
    fixed = (1, 3, 32, 96)
    assert spec_of(tmp_path, ModelOptions(input_size=(32, 96)), image=fixed).fixed_size
    with pytest.raises(ModelError, match=r"graph takes \[32, 96\] pixels, not the 64x64 that option asks"):
        spec_of(tmp_path, ModelOptions(input_size=64), image=fixed)
    with pytest.raises(ModelError, match=r"resize short-side needs a graph of dynamic size"):
        spec_of(tmp_path, ModelOptions(resize="short-side"), image=fixed)


def test_one_class_is_never_softmax(tmp_path: Path) -> None:
    one = np.full((1, 1, 128, 128), -1, np.float32)
    assert spec_of(tmp_path, scores=one).activation == "sigmoid"
    with pytest.raises(ModelError, match="softmax over one class is always 1; say sigmoid or probabilities"):
        spec_of(tmp_path, ModelOptions(activation="softmax"), scores=one)


@pytest.mark.parametrize(
    ("fill", "seen"),
    [
        (0.25, "lie in [0, 1] and add up to 1 over the classes"),
        (0.75, "lie in [0, 1]:"),
        (1.5, ""),
        (0.0, ""),
    ],
)
def test_assumed_activation_is_doubted_where_outputs_look_activated(tmp_path: Path, fill: float, seen: str) -> None:
    scores = np.full((1, 4, 128, 128), fill, np.float32)
    spec = spec_of(tmp_path, scores=scores)
    assert spec.activation == "softmax"
    doubts = [text for text in spec.warnings if text.startswith("softmax is assumed, but")]
    assert [seen in text for text in doubts] == ([True] if seen else [])
    stated = spec_of(tmp_path, ModelOptions(activation="softmax"), scores=scores)
    assert not any("is assumed, but" in text for text in stated.warnings)


def test_grey_input_is_recognised(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, image=(1, 1, 64, 64))
    assert (spec.channels, spec.channel_order, spec.sources["channel_order"]) == (1, "grey", "graph")
    with pytest.raises(ModelError, match="channel_order must be grey or left out"):
        spec_of(tmp_path, ModelOptions(channel_order="bgr"), image=(1, 1, 64, 64))
    with pytest.raises(ModelError, match="the input has one channel; mean must be one number"):
        spec_of(tmp_path, ModelOptions(mean=IMAGENET_MEAN), image=(1, 1, 64, 64))
    with pytest.raises(ModelError, match="channel_order is grey but the input has 3 channels"):
        spec_of(tmp_path, ModelOptions(channel_order="grey"))


@pytest.mark.parametrize(
    ("shape", "stated", "layout"),
    [
        ((1, 3, 512, 512), None, "NCHW"),
        ((1, 257, 257, 3), None, "NHWC"),
        ((None, 3, None, None), None, "NCHW"),
        ((None, None, None, 3), None, "NHWC"),
        ((1, 1, 64, 64), None, "NCHW"),
        ((None, None, None, None), "NHWC", "NHWC"),
        ((1, 3, 64, 3), "NCHW", "NCHW"),
    ],
)
def test_input_layout(shape: tuple[int | None, ...], stated: str | None, layout: str) -> None:
    assert input_layout("x", shape, stated) == layout


@pytest.mark.parametrize(
    ("shape", "stated", "words"),
    [
        ((1, 3, 64, 3), None, "NCHW and NHWC are both possible; say --input-layout"),
        ((None, None, None, None), None, "NCHW and NHWC are both possible; say --input-layout"),
        ((1, 12, 64, 64), None, r"input 'x' has shape \[1, 12, 64, 64\]: it must be \(N, 3, h, w\) or"),
        ((1, 3, 64, 64), "NHWC", "NHWC would make 64 channels of it; an image has 3 or 1"),
    ],
)
def test_input_layout_is_not_guessed(shape: tuple[int | None, ...], stated: str | None, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        input_layout("x", shape, stated)


@pytest.mark.parametrize(
    ("shape", "image", "n_classes", "layout"),
    [
        ((1, 257, 257, 21), (257, 257), None, "NHWC"),
        ((1, 512, 896, 4), (512, 896), None, "NHWC"),
        ((1, 3, 512, 512), (512, 512), None, "NCHW"),
        ((1, 256, 256, 1), (256, 256), None, "NHWC"),
        ((1, 21, 17, 17), (257, 257), None, "NCHW"),
        ((1, 17, 33, 21), (257, 513), None, "NHWC"),  # divided by 16 and rounded up
        ((1, 19, 18, 18), (512, 512), None, "NCHW"),  # (19, 18) would be rounding; (18, 18) is exact
        ((1, 4, 8, 16), (32, 64), None, None),  # 8x16 with 4 classes, or 4x8 with 16
        ((1, 64, 64, 64), (64, 64), None, None),
        ((1, 64, 64, 64), (64, 64), 64, None),
        ((1, 2, 2, 3), (64, 64), 3, "NHWC"),
        ((1, 5, 7, 9), (64, 64), None, None),
    ],
)
def test_output_layout(
    shape: tuple[int, ...], image: tuple[int, int], n_classes: int | None, layout: str | None
) -> None:
    if layout is not None:
        assert output_layout("y", shape, image, None, n_classes) == layout
        return
    with pytest.raises(ModelError, match="both possible; say --output-layout NCHW or NHWC, or the classes"):
        output_layout("y", shape, image, None, n_classes)
    assert output_layout("y", shape, image, "NHWC", n_classes) == "NHWC"


def test_passes_of_a_rank_five_output(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, scores=np.full((1, 7, 4, 16, 16), -1, np.float32))
    assert (spec.output_layout, spec.n_passes, spec.n_classes, spec.output_size) == ("NTCHW", 7, 4, (16, 16))
    with pytest.raises(ModelError, match="rank 5, which is always"):
        spec_of(tmp_path, ModelOptions(output_layout="NHWC"), scores=np.zeros((1, 7, 4, 16, 16), np.float32))


def test_json_round_trip_and_identity(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, ModelOptions(scale=0.1), sidecar={"mean": IMAGENET_MEAN})
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    moved = replace(spec, path="/elsewhere/M.onnx", warnings=(), sources={})
    assert moved.identity() == spec.identity()
    for change in ({"mean": (0.0, 0.0, 0.0)}, {"sha256": "00"}, {"activation": "sigmoid"}):
        assert replace(spec, **change).identity() != spec.identity()
    with pytest.raises(ModelError, match="model description lacks field 'activation'"):
        ModelSpec.from_json({k: v for k, v in spec.to_json().items() if k != "activation"})
    with pytest.raises(ModelError, match="model description has an unknown field 'zoom'"):
        ModelSpec.from_json(spec.to_json() | {"zoom": 2})


def test_activation_maps_have_a_background_and_other_models_none(tmp_path: Path) -> None:
    plain = spec_of(tmp_path)
    assert plain.background is None
    assert "background" not in plain.identity()
    assert "background" not in plain.describe()
    cam = spec_of(tmp_path, metadata={"alseg.activation": "cam"})
    assert (cam.background, cam.sources["background"]) == (0.45, "default")
    other = spec_of(tmp_path, ModelOptions(background=0.2), metadata={"alseg.activation": "cam"})
    assert (other.background, other.sources["background"]) == (0.2, "option")
    assert other.identity() != cam.identity()
    assert "background     0.2, label 0" in other.describe()
    one = spec_of(tmp_path, ModelOptions(activation="cam", input_size=32), scores=np.zeros((1, 1, 8, 8), np.float32))
    assert (one.n_classes, one.background) == (1, 0.45)
    with pytest.raises(ModelError, match="only activation maps are given a background score, its activation is soft"):
        spec_of(tmp_path, ModelOptions(background=0.2))
    with pytest.raises(ModelError, match="activation maps have no class background, it is added as label 0"):
        spec_of(tmp_path, ModelOptions(activation="cam", classes=("background", "a", "b", "c")))


def test_description_has_aligned_columns_and_warnings_last(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, ModelOptions(classes=("sky", "road", "car", "tree"), mean=0.5, scale=1 / 127.5))
    lines = spec.describe().splitlines()
    rows = {line[:13].strip(): line for line in lines}
    columns = {rows[name].index(word) for name, word in [("scale", "option"), ("std", "default")]}
    assert len(columns) == 1
    assert rows["scale"].split() == ["scale", "1/127.5", "option"]
    assert rows["mean"].split() == ["mean", "0.5,", "0.5,", "0.5", "(rgb)", "option"]
    assert rows["classes"].split() == ["classes", "4:", "sky,", "road,", "car,", "tree", "option"]
    assert [line.startswith("warning: ") for line in lines[-2:]] == [True, True]
    hostile = replace(spec, producer="\x1b[2Jtool").describe()
    assert "\x1b" not in hostile
    many = replace(spec, n_classes=1000, classes=tuple(f"class_{i}" for i in range(1000))).describe()
    assert "1000: class_0, class_1, class_2, class_3, ... (996 more)" in many
