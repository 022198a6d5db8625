"""Parts of pseudo-labelling: image labels, foreground maps, comparison with truth, contact sheet."""

import io
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alseg_fast.errors import DataError, PoolError, RunError, UsageError
from alseg_fast.stages.contact_sheet import SheetPicture, contact_sheet
from alseg_fast.stages.foreground_maps import IGNORE, ForegroundMaps, inside_box
from alseg_fast.stages.image_tags import PoolTags, present_classes, tags_of_values
from alseg_fast.stages.label_confusion import Truth, add_counts, count_pixels, scores_of
from alseg_fast.stages.pseudo_threshold import choose_threshold

CLASSES = ("cat", "dog", "cow")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array(["cat", " dog ,cow", "", None]), [[1, 0, 0], [0, 1, 1], [0, 0, 0], [0, 0, 0]]),
        (pa.array([["cat"], ["cow", "cat", "cat"], [], None, [None]]), [[1, 0, 0], [1, 0, 1]] + [[0, 0, 0]] * 3),
        (pa.array(["dog", "cat"]).dictionary_encode(), [[0, 1, 0], [1, 0, 0]]),
        (pa.chunked_array([["cat"], [], ["cow"]]), [[1, 0, 0], [0, 0, 1]]),
        (pa.array([], pa.string()), np.zeros((0, 3))),
        (pa.nulls(2), [[0, 0, 0]] * 2),
    ],
)
def test_labels_in_all_their_forms(labels, expected):
    assert np.array_equal(present_classes(labels, CLASSES, "x"), expected)


def test_unknown_labels_are_told():
    many = tuple(f"c{i}" for i in range(30))
    with pytest.raises(UsageError, match=r"x: label 'yak' is no class of the model; it has c0, .* \(18 more\)"):
        present_classes(pa.array(["c1", "c2,yak"]), many, "x")
    with pytest.raises(UsageError, match="x: label must hold names, texts or lists of them; got struct<a: int64>"):
        present_classes(pa.array([{"a": 1}]), CLASSES, "x")
    with pytest.raises(PoolError, match="or leave the labels out with --tags none"):
        PoolTags(pa.table({"image_id": ["a"], "label": ["yak"]}), CLASSES, "p.csv")


def test_the_digest_is_of_what_is_known_whatever_the_order():
    ids, labels = ["a", "b", "c"], ["cat", "dog,cow", None]

    def digest(order, label=labels):
        rows = pa.table({"image_id": [ids[i] for i in order], "label": [label[i] for i in order]})
        return PoolTags(rows, CLASSES, "p").digest

    assert digest([0, 1, 2]) == digest([2, 0, 1]) == digest([0, 1, 2], [["cat"], ["cow", "dog"], []])
    assert digest([0, 1, 2]) != digest([0, 1, 2], ["cat", "dog", None])
    without = PoolTags(pa.table({"image_id": ids}), CLASSES, "p")
    assert (without.digest, without.untagged) == ("", 3)


def test_labels_that_a_caller_passes():
    found = tags_of_values(["cat, cow", None, []], 3, CLASSES, "f")
    assert [None if row is None else row.tolist() for row in found] == [[1, 0, 1], None, None]
    assert tags_of_values(np.array([[0, 2, 0], [0, 0, 0]]), 2, CLASSES, "f")[0].tolist() == [0, 1, 0]
    assert tags_of_values(None, 2, CLASSES, "f") == [None, None]


def spec(activation, classes=CLASSES, background=0.45):
    return SimpleNamespace(
        path="m.onnx", activation=activation, classes=classes, n_classes=len(classes), background=background
    )


def test_maps_of_present_classes_only():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1, 3, 4, 5)).astype(np.float32)
    maps, ids = ForegroundMaps(spec("cam")).of(logits, [1, 0, 1], None)
    relu = np.maximum(logits[0], 0)
    assert ids.tolist() == [1, 3]
    assert maps == pytest.approx((relu / relu.max(axis=(1, 2), keepdims=True))[[0, 2]], abs=1e-6)
    maps, ids = ForegroundMaps(spec("sigmoid")).of(logits * 50, [0, 1, 0], None)
    with np.errstate(over="ignore"):
        assert maps[0] == pytest.approx(1 / (1 + np.exp(-50 * logits[0, 1].astype(np.float64))), abs=1e-6)
    assert ids.tolist() == [1]
    # Softmax over the classes that are left; one that is alone is sure.
    maps, _ = ForegroundMaps(spec("softmax")).of(logits, [1, 1, 0], None)
    assert maps.sum(axis=0) == pytest.approx(1)
    assert ForegroundMaps(spec("softmax")).of(logits, [1, 0, 0], None)[0] == pytest.approx(1)
    with_background = ForegroundMaps(spec("softmax", ("cat", "_Background_", "cow")))
    assert with_background.background == 1
    maps, ids = with_background.of(logits, [1, 0, 0], None)
    assert ids.tolist() == [0]
    assert maps[0] == pytest.approx(1 / (1 + np.exp(logits[0, 1] - logits[0, 0])), abs=1e-6)
    assert ForegroundMaps(spec("softmax")).background == IGNORE
    zero = np.zeros((1, 3, 2, 2), np.float32)
    assert not ForegroundMaps(spec("probabilities")).of(zero, None, None)[0].any()
    assert len(with_background.of(logits, [0, 1, 0], None)[0]) == 0
    one = ForegroundMaps(spec("sigmoid", ("gland",)))
    assert (one.labels, one.background, one.ids.tolist()) == (("not gland", "gland"), 0, [1])


def test_passes_are_averaged_and_bad_scores_refused():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1, 4, 3, 4, 5)).astype(np.float32)
    each = [ForegroundMaps(spec("cam")).of(logits[:, t], None, None)[0] for t in range(4)]
    assert ForegroundMaps(spec("cam")).of(logits, None, None)[0] == pytest.approx(np.mean(each, axis=0), abs=1e-6)
    for activation in ("cam", "softmax", "sigmoid"):
        bad = logits[:, 0].copy()
        bad[0, 1, 2, 2] = np.nan  # of a class that is not even there
        with pytest.raises(DataError, match="logits hold NaN or inf"):
            ForegroundMaps(spec(activation)).of(bad, [1, 0, 0], None)
    with pytest.raises(DataError, match="the network states probabilities, but gives"):
        ForegroundMaps(spec("probabilities")).of(logits[:, 0], None, None)


def test_cells_that_the_picture_touches():
    maps = np.arange(24).reshape(1, 4, 6)
    assert inside_box(maps, None) is maps
    assert inside_box(maps, (0.5, 1.0, 2.6, 4.0)).shape == (1, 4, 4)
    assert inside_box(maps, (1.0, 2.0, 2.0, 2.5)).shape == (1, 2, 3)


@given(st.integers(0, 10**6), st.integers(2, 6), st.sampled_from([None, 255, 0]))
@settings(max_examples=40, deadline=None)
def test_scores_against_their_sentences(seed, n, ignore):
    rng = np.random.default_rng(seed)
    values = [*range(n), 255] if ignore == 255 else list(range(n))
    pairs = [(rng.choice(values, (5, 6)), rng.choice([*range(n), 255], (5, 6)).astype(np.uint8)) for _ in range(3)]
    rows = [count_pixels(t, m, n, ignore) for t, m in pairs]
    total, pictures = add_counts([*rows, None], n)
    assert pictures == 3
    truth, mask = (np.stack([p[k] for p in pairs]) for k in (0, 1))
    counted = np.ones(truth.shape, bool) if ignore is None else truth != ignore
    told = scores_of(total, [f"c{i}" for i in range(n)])
    assert told["pixels"] == counted.sum()
    for key, region in (("miou", counted), ("miou_named", counted & (mask != 255))):
        ious = []
        for c in range(n):
            a, b = (mask == c) & region, (truth == c) & region
            if (a | b).any():
                ious.append((a & b).sum() / (a | b).sum())
        assert told[key] == (pytest.approx(np.mean(ious)) if ious else None)


def test_nothing_to_compare_has_no_score():
    told = scores_of(np.zeros((2, 3), np.int64), ["a", "b"])
    assert told == {
        "miou": None,
        "miou_named": None,
        "per_class": {"a": None, "b": None},
        "pixel_accuracy": None,
        "ignored_share": None,
        "pixels": 0,
    }


def test_true_masks_are_checked(tmp_path):
    path = tmp_path / "t.png"
    Image.fromarray(np.array([[0, 1], [2, 255]], np.uint8)).save(path)
    assert Truth(str(path)).read((2, 2), 3).max() == 255
    with pytest.raises(RunError, match="has id 2, the model's labels are 0 to 1; correct the truth manifest"):
        Truth(str(path)).read((2, 2), 2)
    with pytest.raises(RunError, match="has id 255"):
        Truth(str(path), None).read((2, 2), 3)
    with pytest.raises(RunError, match="is not on this machine"):
        Truth("s3://bucket/t.png").read((2, 2), 3)
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    with pytest.raises(RunError, match="truth mask"):
        Truth(str(tmp_path / "x.png")).read((2, 2), 3)


def test_thresholds_of_a_histogram_with_nothing_or_one_bin():
    sums = np.zeros((256, 3))
    for method in ("gmm", "gmm3", "otsu"):
        kept = choose_threshold(method, sums)
        assert (kept["status"], kept["low"]) == ("kept", 0.25 if method == "gmm3" else 0.45)
        assert kept["reason"]
    sums[40, 0] = 10
    assert choose_threshold("otsu", sums)["status"] == "kept"
    sums[200, 0] = 30
    found = choose_threshold("otsu", sums)
    assert (found["status"], found["threshold"]) == ("fitted", (41 + 200) / 2 / 256)  # the middle of the gap


def test_a_contact_sheet_of_any_pictures():
    rng = np.random.default_rng(0)
    pictures = [
        SheetPicture(
            name,
            rng.integers(0, 256, (*shape, 3), dtype=np.uint8),
            rng.integers(0, 4, shape).astype(np.uint8),
            rng.integers(0, 256, shape).astype(np.uint8) if k != 1 else None,
            (0, 255),
        )
        for k, (name, shape) in enumerate(
            [("a", (40, 60)), ("Käse 図", (300, 3)), ("c" * 500, (1, 1)), ("d", (64, 64))]
        )
    ]
    for count in range(5):
        with Image.open(io.BytesIO(contact_sheet(pictures[:count], side=32))) as sheet:
            assert sheet.format == "JPEG"
            sheet.load()
