"""Scoring pictures and pools end to end with a small model."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import alseg_fast as alseg
from alseg_fast.errors import ModelError, PoolError, RunError, UsageError
from alseg_fast.runtimes.options import ModelOptions
from alseg_fast.stages.readers.uris import is_remote
from alseg_fast.stages.store import open_run
from support import CLASSES, build_model, draw_picture, write_pictures

ALL = ("entropy", "margin", "least_confidence")


@pytest.fixture
def pool(tmp_path):
    return write_pictures(tmp_path / "pool", 11)


def rows_of(run):
    return open_run(run).scores().to_pylist()


def read_map(run, name, row):
    with Image.open(run.map_path(name, row["image_id"])) as image:
        return np.asarray(image)


def test_a_pool_becomes_a_run(tiny_model, pool, tmp_path):
    scorer = alseg.Scorer(tiny_model, measures=ALL, workers=2)
    summary = scorer.score_pool(pool, tmp_path / "run", shard_size=4)
    assert (summary.scored, summary.failed, summary.skipped) == (11, 0, 0)
    assert summary.run.complete
    run = open_run(tmp_path / "run")
    assert (tmp_path / "run" / "_SUCCESS").exists()
    assert run.info["classes"] == list(CLASSES)
    rows = run.scores().to_pylist()
    assert [r["image_id"] for r in rows] == [f"img-{i:04d}.jpg" for i in range(11)]
    for row in rows:
        assert (row["width"], row["height"]) == (60, 40)
        assert 0 < row["entropy_mean"] <= row["entropy_top"] <= row["entropy_max"] <= np.log(4) + 1e-6
        assert sum(row["class_fraction"]) == pytest.approx(1, abs=1e-5)
        assert row["predicted_label"] == int(np.argmax(row["class_fraction"]))
        # the classes' means, weighted by their shares, are the mean of all
        weighted = sum(f * (m or 0) for f, m in zip(row["class_fraction"], row["class_entropy"], strict=True))
        assert weighted == pytest.approx(row["entropy_mean"], abs=1e-5)


def test_scores_are_those_of_the_model_by_hand(tiny_model, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    image = draw_picture(3, (32, 48))  # the model's own size: nothing is resized
    result = alseg.Scorer(tiny_model, measures=ALL).score_images([image])[0]
    session = ort.InferenceSession(tiny_model, providers=["CPUExecutionProvider"])
    logits = session.run(None, {"image": image.transpose(2, 0, 1)[None].astype(np.float32) / 255})[0]
    u = alseg.uncertainty(logits, (32, 48), measures=ALL)
    for name, values in u.scores.items():
        assert result.scores[name] == pytest.approx(float(values[0]), abs=2e-6)


def test_the_same_command_again_does_nothing_and_says_so(tiny_model, pool, tmp_path):
    scorer = alseg.Scorer(tiny_model)
    scorer.score_pool(pool, tmp_path / "run", shard_size=4)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "scores").iterdir()}
    again = scorer.score_pool(pool, tmp_path / "run", shard_size=4)
    assert (again.scored, again.skipped) == (0, 11)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "scores").iterdir()} == before


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_workers_do_not_change_a_bit(tiny_model, pool, tmp_path, workers):
    alseg.Scorer(tiny_model, workers=1).score_pool(pool, tmp_path / "one", shard_size=4)
    alseg.Scorer(tiny_model, workers=workers).score_pool(pool, tmp_path / "many", shard_size=4)
    for part in (tmp_path / "one" / "scores").iterdir():
        assert part.read_bytes() == (tmp_path / "many" / "scores" / part.name).read_bytes()


def test_shards_share_a_run(tiny_model, pool, tmp_path):
    scorer = alseg.Scorer(tiny_model)
    first = scorer.score_pool(pool, tmp_path / "run", shard_size=2, shard=(0, 2))
    assert not first.run.complete
    assert not (tmp_path / "run" / "_SUCCESS").exists()
    second = scorer.score_pool(pool, tmp_path / "run", shard_size=2, shard=(1, 2))
    assert second.run.complete
    assert first.scored + second.scored == 11
    scorer.score_pool(pool, tmp_path / "whole", shard_size=2)
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "whole")


def test_broken_pictures_are_recorded_and_skipped(tiny_model, pool, tmp_path):
    (pool / "empty.jpg").write_bytes(b"")
    (pool / "text.png").write_text("no picture")
    whole = (pool / "img-0001.jpg").read_bytes()
    (pool / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    summary = alseg.Scorer(tiny_model).score_pool(pool, tmp_path / "run", shard_size=5)
    assert (summary.scored, summary.failed) == (11, 3)
    failures = {r["image_id"]: r for r in open_run(tmp_path / "run").failures().to_pylist()}
    assert set(failures) == {"empty.jpg", "text.png", "cut.jpg"}
    assert all(f["stage"] == "decode" and f["error"] for f in failures.values())


def test_not_finite_logits_fail_the_picture_only(pool, tmp_path):
    model = build_model(tmp_path / "poison.onnx", poison=230)
    Image.fromarray(np.full((40, 60, 3), 255, np.uint8)).save(pool / "white.png")
    summary = alseg.Scorer(model).score_pool(pool, tmp_path / "run")
    assert (summary.scored, summary.failed) == (11, 1)
    failure = open_run(tmp_path / "run").failures().to_pylist()[0]
    assert failure["image_id"] == "white.png"
    assert failure["stage"] == "score"
    assert "logits must be finite" in failure["error"]
    assert all(np.isfinite(r["entropy_mean"]) for r in rows_of(tmp_path / "run"))


def test_maps_are_written_at_the_promised_sizes(tiny_model, pool, tmp_path):
    alseg.Scorer(tiny_model, measures=ALL).score_pool(pool, tmp_path / "run", maps=True)
    run = open_run(tmp_path / "run")
    for row in run.scores().to_pylist():
        labels = read_map(run, "labels", row)
        assert labels.shape == (40, 60)
        assert labels.max() < 4
        heat = read_map(run, "entropy", row)
        assert heat.dtype == np.uint8
        assert heat.mean() / 255 * run.info["map_ranges"]["entropy"][1] == pytest.approx(row["entropy_mean"], abs=3e-3)


def test_batches_with_holes_give_the_same_scores(tiny_model, pool, tmp_path):
    (pool / "img-0004b.jpg").write_bytes(b"broken")
    alseg.Scorer(tiny_model, batch_size=1).score_pool(pool, tmp_path / "one")
    alseg.Scorer(tiny_model, batch_size=4).score_pool(pool, tmp_path / "four")
    for a, b in zip(rows_of(tmp_path / "one"), rows_of(tmp_path / "four"), strict=True):
        assert a["image_id"] == b["image_id"]
        assert a["entropy_mean"] == pytest.approx(b["entropy_mean"], abs=1e-5)


def test_another_config_or_model_on_a_run_is_named(tiny_model, pool, tmp_path):
    alseg.Scorer(tiny_model).score_pool(pool, tmp_path / "run")
    with pytest.raises(RunError, match="measures"):
        alseg.Scorer(tiny_model, measures=ALL).score_pool(pool, tmp_path / "run")
    other = build_model(tmp_path / "other.onnx", classes=("a", "b", "c"))
    with pytest.raises(RunError, match="model"):
        alseg.Scorer(other).score_pool(pool, tmp_path / "run")
    alseg.Scorer(tiny_model, measures=ALL).score_pool(pool, tmp_path / "run", overwrite=True)
    assert "margin_mean" in rows_of(tmp_path / "run")[0]


def test_a_changed_pool_on_a_run_is_named(tiny_model, pool, tmp_path):
    scorer = alseg.Scorer(tiny_model)
    scorer.score_pool(pool, tmp_path / "run")
    write_pictures(pool, 1, first=90)
    with pytest.raises(RunError, match=r"img-0090\.jpg"):
        scorer.score_pool(pool, tmp_path / "run")


def test_an_empty_pool_and_a_missing_one(tiny_model, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PoolError):
        alseg.Scorer(tiny_model).score_pool(tmp_path / "empty", tmp_path / "run")
    with pytest.raises(PoolError):
        alseg.Scorer(tiny_model).score_pool(tmp_path / "nowhere", tmp_path / "run")


def test_images_of_every_kind_in_one_call(tiny_model, pool):
    path = pool / "img-0002.jpg"
    array = np.asarray(Image.open(path))
    results = alseg.Scorer(tiny_model).score_images(
        [array, path.read_bytes(), path, str(path), b"junk", "/no/where.jpg"]
    )
    values = [r.scores["entropy_mean"] for r in results[:4]]
    assert values[1] == values[2] == values[3]
    assert values[0] == pytest.approx(values[1], abs=1e-3)
    assert [r.ok for r in results] == [True] * 4 + [False] * 2
    assert [r.stage for r in results[4:]] == ["decode", "fetch"]
    with pytest.raises(UsageError, match="images must be uint8"):
        alseg.Scorer(tiny_model).score_images([np.zeros((4, 4))])


def test_letterbox_scores_only_the_picture(tmp_path):
    """Padding never counts: a picture of the input's aspect gives what stretch gives."""
    model = build_model(tmp_path / "box.onnx", metadata={"alseg.resize": "letterbox"})
    stretch = build_model(tmp_path / "stretch.onnx")
    same = draw_picture(1, (64, 96))
    a = alseg.Scorer(model).score_images([same])[0].scores["entropy_mean"]
    b = alseg.Scorer(stretch).score_images([same])[0].scores["entropy_mean"]
    assert a == b
    tall = alseg.Scorer(model).score_images([draw_picture(2, (90, 30))], maps=True)[0]
    assert tall.ok
    assert tall.maps["labels"].shape == (90, 30)
    assert tall.maps["entropy"].shape == (32, 11)  # what the picture covers of the 32 x 48 input


def test_score_size_image_measures_at_the_pictures_own_size(tiny_model):
    scorer = alseg.Scorer(tiny_model, score_size="image")
    result = scorer.score_images([draw_picture(5, (50, 70))], maps=True)[0]
    assert result.maps["entropy"].shape == (50, 70)


def test_one_scorer_serves_many_threads(tiny_model):
    from concurrent.futures import ThreadPoolExecutor

    scorer = alseg.Scorer(tiny_model, workers=2)
    images = [draw_picture(i) for i in range(12)]
    alone = [scorer.score_images([image])[0].scores["entropy_mean"] for image in images]
    with ThreadPoolExecutor(4) as threads:
        together = [
            r[0].scores["entropy_mean"] for r in threads.map(lambda image: scorer.score_images([image]), images)
        ]
    assert together == alone


def test_exif_rotation_gives_the_upright_size(tiny_model, tmp_path):
    image = Image.fromarray(draw_picture(7, (40, 60)))
    exif = image.getexif()
    exif[0x0112] = 6
    (tmp_path / "pool").mkdir()
    image.save(tmp_path / "pool" / "turned.jpg", exif=exif)
    alseg.Scorer(tiny_model).score_pool(tmp_path / "pool", tmp_path / "run", maps=True)
    row = rows_of(tmp_path / "run")[0]
    assert (row["width"], row["height"]) == (40, 60)
    with Image.open(open_run(tmp_path / "run").map_path("labels", "turned.jpg")) as labels:
        assert labels.size == (40, 60)


def test_run_json_says_what_was_done(tiny_model, pool, tmp_path):
    alseg.Scorer(tiny_model).score_pool(pool, tmp_path / "run")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["counts"] == {"rows": 11, "failures": 0, "parts_done": 1}
    assert info["units"]["entropy_mean"].startswith("nats")
    assert info["versions"]["simd"] in ("baseline", "avx2", "avx512")
    assert len(info["model"]["sha256"]) == 64
    assert info["timings"]["cpu_seconds"]["decode"] > 0
    assert pq.read_schema(tmp_path / "run" / "scores" / "part-00000.parquet").field("phash").type == "uint64"


@pytest.mark.parametrize(
    ("uri", "remote"),
    [
        ("/data/a.jpg", False),
        ("file:///data/a.jpg", False),
        ("tar://m.jpg::/data/pool-000.tar", False),
        ("tar://m.jpg::s3://bucket/pool-000.tar", True),
        ("https://example.org/a.jpg", True),
        ("memory://a.jpg", False),
    ],
)
def test_only_networks_get_many_fetchers(uri, remote):
    assert is_remote(uri) is remote


def test_bad_arguments(tiny_model):
    with pytest.raises(ValueError, match="measures must be among"):
        alseg.Scorer(tiny_model, measures=("bald",))
    with pytest.raises(UsageError, match="workers must be at least 1"):
        alseg.Scorer(tiny_model, workers=0)
    with pytest.raises(ModelError, match="short-side"):
        alseg.Scorer(tiny_model, options=ModelOptions(resize="short-side"))


def test_phash_moves_little_under_recompression_and_much_between_pictures(tiny_model, tmp_path):
    from alseg_fast.stages.fingerprint import phash

    hashes = [phash(draw_picture(i, (120, 160))) for i in range(20)]
    for i in range(20):
        Image.fromarray(draw_picture(i, (120, 160))).save(tmp_path / "x.jpg", quality=40)
        again = phash(np.asarray(Image.open(tmp_path / "x.jpg")))
        assert (hashes[i] ^ again).bit_count() <= 6
        assert all((hashes[i] ^ other).bit_count() > 12 for j, other in enumerate(hashes) if j != i)


def test_short_side_keeps_the_aspect_of_every_picture(tmp_path):
    """Pictures of several shapes in one model call group: each gets a tensor of its own size."""
    stated = {"alseg.resize": "short-side", "alseg.input_size": "[64, 64]"}
    model = build_model(tmp_path / "any.onnx", size=("h", "w"), metadata=stated)
    shapes = [(80, 160), (160, 80), (80, 160), (90, 90)]
    images = [draw_picture(i, shape) for i, shape in enumerate(shapes)]
    together = alseg.Scorer(model, batch_size=4).score_images(images, maps=True)
    assert [r.maps["entropy"].shape for r in together] == [(64, 128), (128, 64), (64, 128), (64, 64)]
    assert [r.maps["labels"].shape for r in together] == shapes
    for image, result in zip(images, together, strict=True):
        alone = alseg.Scorer(model).score_images([image])[0]
        assert result.scores["entropy_mean"] == pytest.approx(alone.scores["entropy_mean"], abs=1e-5)
