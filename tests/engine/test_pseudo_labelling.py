"""Pseudo-labels of a pool: masks and weights against their definitions, tags, bad pictures, thread counts, resuming."""

import hashlib
import itertools
import json
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import alseg_fast as alseg
from activation_maps import CLASSES, SIZE, build_map_model, draw_blobs, literal_maps, maps_of, upsampled, write_blobs
from alseg_fast.errors import ModelError, PoolError, RunError, UsageError
from alseg_fast.stages.pseudo_label_files import METADATA
from alseg_fast.stages.pseudo_labels import CrfTerms

TAGS = [["red"], ["green", "blue"], ["blue"], ["red", "green", "blue"], ["green"], ["red", "blue"]]
RESULTS = ("manifest.parquet", "failures.parquet", "summary.json", "_SUCCESS")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_map_model(tmp_path_factory.mktemp("model") / "colours.onnx")


@pytest.fixture
def pool(tmp_path):
    return write_blobs(tmp_path / "pictures", TAGS)


def numbers(tags):
    return [int(name in tags) for name in CLASSES]


def read(path):
    with Image.open(path) as image:
        return image.mode, np.array(image)


def contents(root):
    """Every result, byte for byte."""
    files = [root / name for name in RESULTS]
    files += [p for folder in ("masks", "weights") for p in (root / folder).rglob("*.png") if ".tmp" not in p.parts]
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(files) if p.is_file()}


def definition(image, tags, low, high):
    """(mask, m, whether no bit of rounding decides a pixel) by the sentences of the documentation."""
    maps = upsampled(literal_maps(image, tags), SIZE)
    most, best = maps.max(axis=0), maps.argmax(axis=0) + 1
    order = np.sort(maps, axis=0)
    clear = (np.abs(most - low) > 1e-5) & (np.abs(most - high) > 1e-5)
    clear &= (order[-1] - order[-2] > 1e-5) | (most <= low)
    return np.where(most > high, best, np.where(most > low, 255, 0)), most, clear


@pytest.mark.parametrize(("low", "high"), [(0.45, 0.45), (0.25, 0.7)])
def test_masks_and_weights_are_those_of_the_definition(model, pool, tmp_path, low, high):
    band = None if low == high else (low, high)
    done = alseg.pseudo_label(pool, model, tmp_path / "out", threshold=0.45, band=band)
    assert done.summary["masks"] == len(TAGS)
    for i, (row, tags) in enumerate(zip(done.manifest().to_pylist(), TAGS, strict=True)):
        mode, mask = read(done.path / row["mask_uri"])
        expected, most, clear = definition(draw_blobs(i), numbers(tags), low, high)
        assert (mode, mask.shape) == ("P", SIZE)
        assert clear.mean() > 0.98
        assert np.array_equal(mask[clear], expected[clear])
        named = (mask != 0) & (mask != 255)
        assert row["foreground_share"] == named.mean()
        assert row["ignore_share"] == (mask == 255).mean()
        assert row["reliability"] == pytest.approx(most[named].mean(), abs=1e-5)
        assert (row["threshold"], row["label"], row["failure"]) == (0.45, tags, None)
        assert row["missing"] == [n for k, n in enumerate(CLASSES, 1) if n in tags and not (mask == k).any()]
        ratio = np.where(most >= 0.45, (most - 0.45) / 0.55, (0.45 - most) / 0.45)
        sure = 1 / -np.log(0.9 * np.clip(ratio, 1e-6, 1))
        weights = sure / sure.mean()
        mode, stored = read(done.path / row["weight_uri"])
        assert mode == "L"
        assert np.abs(stored / 32 - np.minimum(weights, 255 / 32)).max() < 0.51 / 32
    facts = json.loads(done.manifest().schema.metadata[METADATA])
    assert (facts["labels"], facts["weight_step"]) == (["background", *CLASSES], 1 / 32)
    assert (facts["threshold"], facts["low"], facts["high"]) == (0.45, low, high)


def test_the_manifest_is_a_pool(model, pool, tmp_path):
    done = alseg.pseudo_label(pool, model, tmp_path / "out", threshold=0.3)
    again = alseg.open_pool(done.path / "manifest.parquet")
    assert again.table.column("label").to_pylist() == TAGS
    for mask in again.table.column("mask_uri").to_pylist():
        assert read(mask)[1].shape == SIZE
    # and a pool of pseudo-labels can be its own truth
    checked = alseg.pseudo_label(again, model, tmp_path / "again", threshold=0.3, truth="pool")
    assert checked.summary["truth"]["tag_masked"]["miou"] == 1
    assert checked.summary["truth"]["unmasked"]["miou"] < 1


@pytest.mark.parametrize("method", ["gmm", "gmm3", "otsu"])
def test_the_threshold_is_that_of_the_whole_pool(model, pool, tmp_path, method):
    done = alseg.pseudo_label(pool, model, tmp_path / "out", threshold=method)
    values = np.stack([literal_maps(draw_blobs(i), numbers(t)).max(axis=0) for i, t in enumerate(TAGS)])
    facts = done.summary["threshold"]
    if method == "otsu":
        kept = values[values > 0.05]
        edges = np.arange(1, 256) / 256

        def between(edge):
            low, high = kept[kept < edge], kept[kept >= edge]
            return len(low) * len(high) * (low.mean() - high.mean()) ** 2 if len(low) and len(high) else 0

        scores = np.array([between(edge) for edge in edges])
        assert scores[np.argmin(np.abs(edges - facts["threshold"]))] > 0.999 * scores.max()
        assert facts["low"] == facts["high"] == facts["threshold"]
    else:
        expected = alseg.gmm_threshold(values.astype(np.float32), components=3 if method == "gmm3" else 2)
        found = (facts["threshold"], facts["low"], facts["high"])
        assert found == pytest.approx((expected.threshold, expected.low, expected.high), abs=1e-4)
        assert facts["status"] == expected.status == "fitted"
    assert (facts["images"], facts["method"]) == (6, method)
    stored = json.loads((done.path / "threshold.json").read_text())
    assert sum(stored["histogram"]) == (values > 0.05).sum()
    assert not (done.path / "threshold_parts").exists()


def test_only_pictures_with_labels_make_the_threshold(model, tmp_path):
    with_labels = write_blobs(tmp_path / "a", TAGS)
    more = write_blobs(tmp_path / "b", [*TAGS, [], None])
    a = alseg.pseudo_label(with_labels, model, tmp_path / "out-a", threshold="otsu")
    b = alseg.pseudo_label(more, model, tmp_path / "out-b", threshold="otsu")
    assert a.summary["threshold"] == b.summary["threshold"]
    assert b.summary["untagged"] == 2
    assert b.summary["flags"]["no tags"] == 2
    rows = b.manifest().to_pylist()
    assert [row["flags"] for row in rows[-2:]] == [["no tags"]] * 2
    free = alseg.pseudo_label(more, model, tmp_path / "free", threshold="otsu", tags="none")
    assert free.summary["flags"]["no tags"] == 8
    assert free.summary["threshold"]["images"] == 8


def test_pictures_that_cannot_be_used_are_recorded_and_skipped(tmp_path):
    model = build_map_model(tmp_path / "m.onnx", poison=250)
    pool = write_blobs(tmp_path / "pictures", [["red"]] * 5)
    folder = pool.parent
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(folder / "b-0001.png")
    Image.fromarray(np.full((*SIZE, 3), 255, np.uint8)).save(folder / "b-0002.png")
    (folder / "b-0003.png").write_bytes(b"no picture")
    (folder / "b-0004.png").unlink()
    done = alseg.pseudo_label(pool, model, tmp_path / "out", overlay=4)
    rows = done.manifest().to_pylist()
    assert [row["mask_uri"] is not None for row in rows] == [True, True, False, False, False]
    assert rows[1]["flags"] == ["empty map", "no foreground"]
    assert rows[1]["missing"] == ["red"]
    assert (rows[1]["foreground_share"], rows[1]["reliability"]) == (0, None)
    assert not read(done.path / rows[1]["mask_uri"])[1].any()
    assert (read(done.path / rows[1]["weight_uri"])[1] == 32).all()  # m is 0 everywhere: all pixels weigh the same
    assert rows[2]["failure"].startswith("score: logits hold NaN or inf")
    assert rows[3]["failure"].startswith("decode: ")
    assert rows[4]["failure"].startswith("fetch: ")
    failures = pq.read_table(done.path / "failures.parquet").to_pylist()
    assert [(f["image_id"], f["stage"]) for f in failures] == [
        ("b-0002", "score"),
        ("b-0003", "decode"),
        ("b-0004", "fetch"),
    ]
    assert done.summary["threshold"]["failed"] == done.summary["failures"] == 3
    with Image.open(done.path / "overview.jpg") as sheet:
        assert sheet.format == "JPEG"


def test_nothing_above_the_threshold_and_nothing_to_fit(model, tmp_path, caplog):
    pool = write_blobs(tmp_path / "pictures", [["red"]] * 2)
    for path in pool.parent.glob("*.png"):
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(path)
    done = alseg.pseudo_label(pool, model, tmp_path / "out")
    assert done.summary["threshold"]["status"] == "kept"
    assert done.summary["threshold"]["threshold"] == 0.45
    assert "threshold 0.45 is the default: no value is above drop_below" in caplog.text
    assert done.summary["flags"] == {"empty map": 2, "no foreground": 2}
    assert done.summary["foreground_share_mean"] == 0
    other = alseg.pseudo_label(pool, model, tmp_path / "otsu", threshold="otsu")
    assert other.summary["threshold"]["reason"] == "values lie in fewer than two bins"


def test_a_threshold_at_the_end_of_its_range_is_told(model, pool, tmp_path, caplog, monkeypatch):
    end = {"threshold": 0.95, "low": 0.95, "high": 0.95, "status": "fitted", "reason": None}
    monkeypatch.setattr("alseg_fast.stages.pseudo_threshold.choose_threshold", lambda method, sums: end)
    done = alseg.pseudo_label(pool, model, tmp_path / "out")
    assert done.summary["threshold"]["threshold"] == 0.95
    assert "threshold 0.95 is at the end of its range 0.05 to 0.95" in caplog.text


def test_workers_and_batches_change_no_byte(model, pool, tmp_path):
    found = []
    for k, (workers, batch) in enumerate(itertools.product((1, 3), (1, 4))):
        out = tmp_path / f"out-{k}"
        alseg.pseudo_label(pool, model, out, workers=workers, batch_size=batch, crf=True, truth=None)
        found.append(contents(out))
    assert len(found[0]) == 4 + 2 * len(TAGS)
    assert all(other == found[0] for other in found[1:])


def test_masks_follow_the_edges_of_the_picture_with_a_crf(model, tmp_path):
    image = np.full((*SIZE, 3), 40, np.uint8)
    image[8:23, 11:33, 0] = 220  # a rectangle that the blocks of four do not meet
    pool = write_blobs(tmp_path / "pictures", [["red"]])
    Image.fromarray(image).save(pool.parent / "b-0000.png")
    terms = CrfTerms(5, (1.0, 1.0), (20.0, 10.0, 5.0))
    plain = alseg.pseudo_label(pool, model, tmp_path / "plain", threshold=0.5)
    refined = alseg.pseudo_label(pool, model, tmp_path / "crf", threshold=0.5, crf=True, crf_terms=terms)
    banded = alseg.pseudo_label(
        pool, model, tmp_path / "band", threshold=0.5, band=(0.2, 0.8), crf=True, crf_terms=terms
    )
    real = image[..., 0] > 100
    masks = [read(d.path / "masks" / "b-0000.png")[1] for d in (plain, refined, banded)]
    wrong = [((m == 1) != real).sum() for m in masks]
    assert 0 == wrong[1] < wrong[0]
    assert set(np.unique(masks[2])) <= {0, 1, 255}
    assert (masks[2] != 255).mean() > 0.9


def test_segmentation_networks_lose_absent_classes(tmp_path):
    """Softmax of the classes that may be there; the class called background is no object."""
    pool = write_blobs(tmp_path / "pictures", [["green"], ["green", "blue"], None])
    classes = ("background", "green", "blue")
    model = build_map_model(tmp_path / "seg.onnx", activation="softmax", classes=classes)
    done = alseg.pseudo_label(pool, model, tmp_path / "out", threshold=0.5, weights="none")
    assert done.summary["labels"] == list(classes)
    for i, tags in enumerate([(1, 1, 0), (1, 1, 1), (1, 1, 1)]):
        logits = np.where(np.array(tags, bool)[:, None, None], maps_of(draw_blobs(i)).astype(np.float64), -np.inf)
        p = np.exp(logits) / np.exp(logits).sum(axis=0)
        full = upsampled(p[1:], SIZE)
        expected = np.where(full.max(axis=0) > 0.5, full.argmax(axis=0) + 1, 0)
        _, mask = read(done.path / "masks" / f"b-000{i}.png")
        clear = np.abs(full.max(axis=0) - 0.5) > 1e-5
        assert np.array_equal(mask[clear], expected[clear])
    assert done.manifest().column("weight_uri").null_count == 3
    assert not (done.path / "weights").exists()


def test_without_a_background_what_is_unsure_is_ignored(tmp_path):
    pool = write_blobs(tmp_path / "pictures", [["red", "green"], None])
    model = build_map_model(tmp_path / "seg.onnx", activation="sigmoid")
    done = alseg.pseudo_label(pool, model, tmp_path / "out", threshold=0.6)
    assert set(np.unique(read(done.path / "masks" / "b-0000.png")[1])) <= {0, 1, 255}
    named = alseg.pseudo_label(pool, model, tmp_path / "named", threshold=0.6, background_class="blue")
    assert set(np.unique(read(named.path / "masks" / "b-0000.png")[1])) <= {0, 1, 2}
    with pytest.raises(UsageError, match="background_class must be one of red, green, blue; got 'sky'"):
        alseg.pseudo_label(pool, model, tmp_path / "x", background_class="sky")


def test_truth_is_compared_with_and_without_labels(model, pool, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "truth").mkdir()
    ids = [f"b-{i:04d}" for i in range(len(TAGS))]
    names = [f"{name}.png" for name in ids]
    truths = [rng.choice([0, 1, 2, 3, 255], SIZE).astype(np.uint8) for _ in TAGS]
    for name, truth in zip(names, truths, strict=True):
        Image.fromarray(truth).save(tmp_path / "truth" / name)
    table = pa.table({"image_id": ids, "uri": names, "mask_uri": [f"truth/{n}" for n in names]})
    pq.write_table(table, tmp_path / "truth.parquet")
    done = alseg.pseudo_label(
        pool, model, tmp_path / "out", threshold=0.45, band=(0.3, 0.6), truth=tmp_path / "truth.parquet"
    )
    free = alseg.pseudo_label(pool, model, tmp_path / "free", threshold=0.45, band=(0.3, 0.6), tags="none")
    told = done.summary["truth"]
    assert (told["images"], told["errors"]) == (6, 0)
    for which, made in (("tag_masked", done), ("unmasked", free)):
        masks = np.stack([read(made.path / "masks" / n)[1] for n in names])
        real = np.stack(truths)
        counted = real != 255
        ious = []
        for c in range(4):
            a, b = (masks == c) & counted, (real == c) & counted
            ious.append((a & b).sum() / (a | b).sum())
        assert list(told[which]["per_class"].values()) == pytest.approx(ious)
        assert told[which]["miou"] == pytest.approx(np.mean(ious))
        assert told[which]["ignored_share"] == pytest.approx((masks == 255)[counted].mean())
        assert told[which]["pixel_accuracy"] == pytest.approx((masks == real)[counted].mean())
        sure = counted & (masks != 255)
        named = [
            ((masks == c) & (real == c) & sure).sum() / (((masks == c) | (real == c)) & sure).sum() for c in range(4)
        ]
        assert told[which]["miou_named"] == pytest.approx(np.mean(named))


def test_wrong_truth_is_told_and_stops_nothing(model, pool, tmp_path):
    names = [f"b-{i:04d}" for i in range(len(TAGS))]
    masks = [np.zeros(SIZE, np.uint8), np.zeros((5, 5), np.uint8), np.full(SIZE, 9, np.uint8)]
    for k, mask in enumerate(masks):
        Image.fromarray(mask).save(tmp_path / f"m{k}.png")
    uris = ["m0.png", "m1.png", "m2.png", "missing.png", None, None]
    pq.write_table(pa.table({"image_id": names, "uri": names, "mask_uri": uris}), tmp_path / "truth.parquet")
    done = alseg.pseudo_label(pool, model, tmp_path / "out", threshold=0.4, truth=tmp_path / "truth.parquet")
    told = done.summary["truth"]
    assert (told["images"], told["errors"], done.summary["masks"]) == (1, 3, 6)
    assert "m1.png has 5 x 5 pixels, the image has 48 x 32" in told["first_error"]
    assert told["tag_masked"]["per_class"]["green"] is None
    with pytest.raises(PoolError, match="must have a column mask_uri; add it"):
        alseg.pseudo_label(pool, model, tmp_path / "x", truth="pool")
    pq.write_table(pa.table({"image_id": ["z"], "uri": ["z"], "mask_uri": ["m0.png"]}), tmp_path / "other.parquet")
    with pytest.raises(PoolError, match="has no mask of an image of the pool"):
        alseg.pseudo_label(pool, model, tmp_path / "x", truth=tmp_path / "other.parquet")


def test_another_model_pool_or_option_is_refused(model, pool, tmp_path):
    out = tmp_path / "out"
    first = alseg.pseudo_label(pool, model, out, threshold=0.4)
    before = contents(out)
    assert alseg.pseudo_label(pool, model, out, threshold=0.4, workers=1).summary == first.summary
    assert contents(out) == before
    with pytest.raises(RunError, match=r"was made with threshold=0.4, this command asks for 0.5"):
        alseg.pseudo_label(pool, model, out, threshold=0.5)
    with pytest.raises(RunError, match=r"was made with crf.bilateral=\(not set\), crf"):
        alseg.pseudo_label(pool, model, out, threshold=0.4, crf=True)
    with pytest.raises(RunError, match="image_labels"):
        alseg.pseudo_label(pool, model, out, threshold=0.4, tags="none")
    other = write_blobs(tmp_path / "other", TAGS)
    with pytest.raises(RunError, match="was made from another pool"):
        alseg.pseudo_label(other, model, out, threshold=0.4)
    assert contents(out) == before
    alseg.pseudo_label(pool, model, out, threshold=0.5, overwrite=True, weights="none")
    assert not any(name.startswith("weights/") for name in contents(out))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(RunError, match="is not empty and no pseudo-labelling"):
        alseg.pseudo_label(pool, model, tmp_path / "mine", overwrite=True)


def test_lost_and_damaged_files_are_made_again(model, pool, tmp_path):
    out = tmp_path / "out"
    alseg.pseudo_label(pool, model, out)
    before = contents(out)
    (out / "masks" / "b-0001.png").unlink()
    (out / "weights" / "b-0002.png").unlink()
    (out / "threshold.json").write_text("{")
    alseg.pseudo_label(pool, model, out)
    assert contents(out) == before
    next((out / "mask_parts").glob("*.parquet")).write_bytes(b"PAR1")
    alseg.pseudo_label(pool, model, out)
    assert contents(out) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0}, "threshold must be gmm, gmm3, otsu or a number in"),
        ({"threshold": "mean"}, "threshold must be one of gmm, gmm3, otsu"),
        ({"band": (0.7, 0.2)}, r"band must be \(low, high\) with 0 <= low <= high < 1"),
        ({"band": 0.3}, "band must be"),
        ({"weights": "raw"}, "weights must be one of reciprocal, printed, none"),
        ({"alpha": 1.0}, r"alpha must be in \(0, 1\) and beta in \(0, 10\]"),
        ({"weight_step": 0}, r"weight_step must be in \(0, 1\]"),
        ({"overlay": -1}, "overlay must be at least 0"),
        ({"tags": "mask"}, "tags must be one of label, none"),
        ({"background_class": "red"}, "background_class must be None for this model, whose label 0 is background"),
    ],
)
def test_wrong_options_are_named(model, pool, tmp_path, options, message):
    with pytest.raises(alseg.AlsegError, match=message):
        alseg.pseudo_label(pool, model, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_unknown_labels_and_too_many_classes(model, tmp_path):
    pool = write_blobs(tmp_path / "pictures", [["red"], ["yak"]])
    with pytest.raises(PoolError, match="label 'yak' is no class of the model; it has red, green, blue"):
        alseg.pseudo_label(pool, model, tmp_path / "out")
    from types import SimpleNamespace

    from alseg_fast.stages.foreground_maps import ForegroundMaps

    many = SimpleNamespace(path="m", activation="cam", n_classes=255, classes=tuple(map(str, range(255))))
    with pytest.raises(ModelError, match="has 256 labels, a palette mask holds 255"):
        ForegroundMaps(many)


def command(model, pool, out):
    """Prints the name of each stage and a line for each step of its progress."""
    code = (
        "import sys, alseg_fast as alseg, alseg_fast.mask_pass as masks\n"
        "from alseg_fast.stages import pseudo_threshold\n"
        "masks.PART_MASKS = pseudo_threshold.PART_IMAGES = 4\n"
        "say = lambda *words: print(*words, flush=True)\n"
        "alseg.pseudo_label(sys.argv[2], sys.argv[1], sys.argv[3], workers=2, on_stage=say, progress=say)\n"
    )
    return [sys.executable, "-P", "-c", code, str(model), str(pool), str(out)]


@pytest.mark.slow
def test_sigkill_at_any_moment_changes_no_byte(model, tmp_path):
    pool = write_blobs(tmp_path / "pictures", TAGS * 12)
    (pool.parent / "b-0007.png").write_bytes(b"no picture")
    whole = tmp_path / "whole"
    subprocess.run(command(model, pool, whole), check=True, capture_output=True)
    expected = contents(whole)
    assert len(expected) == 4 + 2 * 71
    rng = random.Random(0)
    out = tmp_path / "out"
    done_before = []
    for stage, steps in (("threshold", 9), ("threshold", 22), ("masks", 0), ("masks", 3), ("masks", 5), ("masks", 6)):
        process = subprocess.Popen(command(model, pool, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for line in process.stdout:
            if line.startswith(stage):
                done_before.append(int(line.split()[2]))
                break
        for _ in range(steps):
            process.stdout.readline()
        time.sleep(rng.uniform(0, 0.01))
        process.send_signal(signal.SIGKILL)
        _, error = process.communicate()
        assert process.returncode == -signal.SIGKILL, error
        for name, data in contents(out).items():
            assert data == expected[name]
    assert done_before[1] >= 8  # of the histogram
    assert done_before[-1] >= 28  # of the masks
    assert done_before[1] % 4 == 0
    subprocess.run(command(model, pool, out), check=True, capture_output=True)
    assert contents(out) == expected


def test_the_digest_of_a_part_of_another_model_is_not_taken(model, pool, tmp_path):
    from alseg_fast.stages.pseudo_threshold import HistogramParts

    mine = HistogramParts(tmp_path, hashlib.sha256(b"a").hexdigest())
    for _ in range(3):
        mine.add(np.ones((256, 3)))
    mine.add(None)
    mine.commit()
    again = HistogramParts(tmp_path, hashlib.sha256(b"a").hexdigest())
    assert (again.images, again.failed, again.sums[0, 0]) == (4, 1, 3)
    other = HistogramParts(tmp_path, hashlib.sha256(b"b").hexdigest())
    assert (other.images, other.sums.sum()) == (0, 0)
    assert not list((tmp_path / "threshold_parts").glob("*.json"))


def test_activation_maps_of_real_pictures(real_data, tmp_path):
    """A network of independent scores serves as activation maps of skin, clothes and hair."""
    pytest.importorskip("onnxruntime")
    photos = sorted((real_data / "ccp" / "photos").glob("*.jpg"))[:3]
    table = pa.table({
        "image_id": [p.name for p in photos],
        "uri": [str(p) for p in photos],
        "label": ["skin,clothes", "skin,clothes,hair", "clothes"],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "pool.parquet")
    options = alseg.ModelOptions(
        classes=("skin", "clothes", "hair"),
        activation="cam",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        scale=1 / 255,
        channel_order="rgb",
        resize="stretch",
    )
    model = real_data / "models" / "skin_clothes_hair_pan_mnv3s.onnx"
    done = alseg.pseudo_label(tmp_path / "pool.parquet", model, tmp_path / "out", threshold=0.45, options=options)
    scores = alseg.Scorer(model, options=options).score_images(
        photos, maps=True, image_labels=table.column("label").to_pylist()
    )
    for row, photo, score in zip(done.manifest().to_pylist(), photos, scores, strict=True):
        mask = read(done.path / row["mask_uri"])[1]
        with Image.open(photo) as image:
            assert mask.shape == image.size[::-1]
        # A constant background of the same value gives the labels of the scorer.
        assert (mask == score.maps["labels"]).mean() > 0.9999
        assert 0.02 < row["foreground_share"] < 0.7
    assert not (read(done.path / "masks" / photos[2].name.replace(".jpg", ".jpg.png"))[1] == 1).any()
