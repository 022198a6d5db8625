"""Models of class activation maps in the scorer: background as label 0, image labels, regions, reports."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import alseg_fast as alseg
from alseg_fast.cli import main
from alseg_fast.errors import ModelError, PoolError, RunError, UsageError
from alseg_fast.ops.cam import cam_probabilities
from support import build_model, draw_picture, write_pictures

CLASSES = ("cat", "dog", "cow")


@pytest.fixture(scope="module")
def cam_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cam")
    return build_model(folder / "cam.onnx", classes=CLASSES, metadata={"alseg.activation": "cam"})


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path / "pictures", 6)


def pool_of(pictures, labels, path):
    names = sorted(p.name for p in pictures.glob("*.jpg"))
    rows = {"image_id": names, "uri": [str(pictures / n) for n in names]}
    if labels is not None:
        rows["label"] = labels
    pq.write_table(pa.table(rows), path)
    return path


def maps_of(scorer, image):
    """The network's maps of a picture, by way of the engine."""

    class Keep:
        def reduce(self, logits, placement, image_size, *, maps, regions=None):
            return np.array(logits), placement

    from alseg_fast.worker import Picture

    (picture,) = scorer.reduce_pool([Picture((str(image), str(image), None, None))], Keep)
    return picture.scored


def literal(cams, tags, background):
    """[C + 1, h, w] in the words of the docstring."""
    cams = np.maximum(cams, 0)
    peak = np.maximum(cams.max(axis=(1, 2), keepdims=True), np.float32(1e-5))
    cams = cams / peak * np.asarray(tags, np.float32)[:, None, None]
    return np.concatenate([np.full((1, *cams.shape[1:]), background, np.float32), cams])


@pytest.mark.parametrize("tags", [(1, 1, 1), (0, 1, 0), (1, 0, 1)])
def test_scores_and_labels_are_those_of_the_definition(cam_model, pictures, tags):
    path = pictures / "img-0001.jpg"
    scorer = alseg.Scorer(cam_model, measures=("entropy", "margin"), options=alseg.ModelOptions(background=0.3))
    assert scorer.classes == ("background", *CLASSES)
    (result,) = scorer.score_images([path], maps=True, image_labels=np.array([tags]))
    logits, _ = maps_of(scorer, path)
    probs = literal(logits[0], tags, 0.3)[None]
    expected = alseg.uncertainty(
        probs, (32, 48), measures=("entropy", "margin"), activation="probabilities", class_stats=True
    )
    for name, value in expected.scores.items():
        assert result.scores[name] == pytest.approx(float(value[0]), abs=1e-6)
    assert result.scores["class_fraction"] == pytest.approx(expected.class_fraction[0])
    assert not result.scores["class_fraction"][1:][np.array(tags) == 0].any()
    labels = alseg.uncertainty(probs, (40, 60), measures=(), maps=False, labels=True, activation="probabilities")
    assert (result.maps["labels"] == labels.labels[0]).mean() > 0.999
    # A picture of which nothing is known may hold every class; so may one without any label.
    unknown, plain = scorer.score_images([path] * 2, image_labels=[None, "cat,dog, cow"])
    assert unknown.scores["entropy_mean"] == plain.scores["entropy_mean"]


def test_labels_come_from_the_pool_in_all_their_forms(cam_model, pictures, tmp_path):
    lists = pool_of(pictures, [["cat"], ["cat", "dog"], [], None, ["cow"], ["dog"]], tmp_path / "lists.parquet")
    texts = pool_of(pictures, ["cat", "dog, cat", "", None, "cow", "dog"], tmp_path / "texts.parquet")
    scorer = alseg.Scorer(cam_model)
    runs = [scorer.score_pool(p, tmp_path / p.stem, maps=True).path for p in (lists, texts)]
    tables = [alseg.open_run(run).scores() for run in runs]
    assert tables[0].equals(tables[1])
    names = tables[0].column("image_id").to_pylist()
    tags = ["cat", "cat,dog", None, None, "cow", "dog"]
    each = scorer.score_images([pictures / n for n in names], image_labels=tags)
    assert tables[0].column("entropy_mean").to_pylist() == [np.float32(r.scores["entropy_mean"]) for r in each]
    fraction = np.array(tables[0].column("class_fraction").to_pylist())
    assert fraction.shape == (6, 4)
    assert not fraction[0, 2:].any()
    assert fraction[2:4, 1:].any(axis=0).all()
    info = alseg.open_run(runs[0]).info
    assert info["classes"] == ["background", *CLASSES]
    assert info["pool"]["untagged_images"] == 2
    assert info["config"]["image_labels"] == alseg.open_run(runs[1]).info["config"]["image_labels"]


def test_other_labels_are_another_run(cam_model, pictures, tmp_path, caplog):
    scorer = alseg.Scorer(cam_model)
    pool = pool_of(pictures, ["cat"] * 6, tmp_path / "pool.parquet")
    first = scorer.score_pool(pool, tmp_path / "run")
    again = scorer.score_pool(pool, tmp_path / "run")
    assert (first.scored, again.scored, again.skipped) == (6, 0, 6)
    pool_of(pictures, ["cat"] * 5 + ["dog"], pool)
    with pytest.raises(RunError, match="was made with image_labels="):
        scorer.score_pool(pool, tmp_path / "run")
    with pytest.raises(RunError, match="this command asks for none"):
        scorer.score_pool(pool, tmp_path / "run", tags="none")
    caplog.clear()
    scorer.score_pool(pool, tmp_path / "free", tags="none")
    assert "6 of 6 images have no label; every class of the activation maps may be in them" in caplog.text
    with pytest.raises(RunError, match="background"):
        alseg.Scorer(cam_model, options=alseg.ModelOptions(background=0.2)).score_pool(pool, tmp_path / "free")


def test_unknown_names_are_told_before_anything_is_written(cam_model, pictures, tmp_path):
    pool = pool_of(pictures, ["cat"] * 5 + ["cat,yak"], tmp_path / "pool.parquet")
    scorer = alseg.Scorer(cam_model)
    with pytest.raises(PoolError, match=r"label 'yak' is no class of the model; it has cat, dog, cow; correct the lab"):
        scorer.score_pool(pool, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    picture = draw_picture(0)
    with pytest.raises(UsageError, match="label 'yak' is no class of the model"):
        scorer.score_images([picture], image_labels=["yak"])
    with pytest.raises(UsageError, match="one entry an image, 2; got 1"):
        scorer.score_images([picture] * 2, image_labels=["cat"])
    with pytest.raises(UsageError, match=r"shape \[N, C\] = \[1, 3\]; got \[1, 4\]"):
        scorer.score_images([picture], image_labels=np.ones((1, 4)))


def test_other_models_take_no_image_labels(tiny_model, cam_model, pictures, tmp_path):
    with pytest.raises(UsageError, match="image_labels must be None for a model of activation softmax"):
        alseg.Scorer(tiny_model).score_images([draw_picture(0)], image_labels=["sky"])
    pool = pool_of(pictures, ["yak"] * 6, tmp_path / "pool.parquet")
    alseg.Scorer(tiny_model).score_pool(pool, tmp_path / "run")
    assert "image_labels" not in alseg.open_run(tmp_path / "run").info["config"]
    with pytest.raises(ModelError, match="gives activation maps; make masks of them with alseg pseudo-label"):
        alseg.MaskOptions(cam_model).scorer()


def test_regions_report_and_selection_of_such_a_run(cam_model, pictures, tmp_path, capsys):
    pool = pool_of(pictures, ["cat", "dog", "cow", "cat,dog", "cat", "dog"], tmp_path / "pool.parquet")
    run = tmp_path / "run"
    words = ["score", pool, "--model", cam_model, "--out", run, "--regions", "grid:8", "--crf", "--background", "0.4"]
    assert main([str(w) for w in words]) == 0
    regions = pq.read_table(run / "regions")
    assert {len(f) for f in regions.column("class_fraction").to_pylist()} == {4}
    first = regions.filter(pc.equal(regions.column("image_id"), "img-0000.jpg"))
    assert set(first.column("crf_class").to_pylist()) <= {0, 1}
    batch = alseg.select(run, budget=3, unit="regions")
    assert len(batch) == 3
    report = alseg.make_report(run, tmp_path / "report.html")
    assert report is not None
    text = (tmp_path / "report.html").read_text()
    assert "background" in text
    assert "could not be scored again" not in text
    assert "--background" in text
    capsys.readouterr()
    assert main(["inspect", str(cam_model), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["activation"], facts["background"], facts["classes"]) == ("cam", 0.45, list(CLASSES))


def test_padding_does_not_decide_the_largest_value():
    cams = np.zeros((1, 1, 4, 4), np.float32)
    cams[0, 0, 0] = 8  # in the padding
    cams[0, 0, 2] = 2
    box = (1.0, 0.0, 3.0, 4.0)
    made = cam_probabilities(cams, box=box)
    assert made[0, 1, 2].tolist() == [1, 1, 1, 1]
    assert made[0, 1, 0].tolist() == [1, 1, 1, 1]  # never above 1
    u = alseg.uncertainty(cams, (3, 4), measures=(), maps=False, labels=True, activation="cam", box=box)
    assert u.labels[0, 1].tolist() == [1, 1, 1, 1]
    whole = alseg.uncertainty(cams, (4, 4), measures=(), maps=False, labels=True, activation="cam")
    assert not whole.labels[0, 2].any()


@pytest.mark.parametrize("box", [None, (0.5, 1.25, 3.0, 4.5)])
def test_tensors_of_a_device_give_the_same_scores(box):
    torch = pytest.importorskip("torch")
    from alseg_fast.ops import cam

    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 3, 4, 5, 6)).astype(np.float32)
    labels = np.array([[1, 0, 1, 1], [0, 0, 1, 0]])
    expected = cam_probabilities(maps, labels, 0.3, box=box)
    top, left, height, width = box or (0, 0, 5, 6)
    inside = (..., slice(int(top), -int(-(top + height) // 1)), slice(int(left), -int(-(left + width) // 1)))
    present = torch.from_numpy(labels != 0)[:, None, :, None, None]
    scores = cam.Scores(torch.from_numpy(maps), "cuda", False, torch.device("cpu"))
    made = cam._with_torch(scores, present, 0.3, inside)
    np.testing.assert_allclose(made.numpy(), expected, atol=1e-7)
    assert torch.equal(cam_probabilities(torch.from_numpy(maps), labels, 0.3, box=box), torch.from_numpy(expected))


def test_letterboxed_pictures(tmp_path, pictures):
    model = build_model(
        tmp_path / "m.onnx", classes=CLASSES, metadata={"alseg.activation": "cam", "alseg.resize": "letterbox"}
    )
    scorer = alseg.Scorer(model)
    tall = draw_picture(3, (90, 30))
    (result,) = scorer.score_images([tall], maps=True)
    assert result.ok
    assert result.maps["labels"].shape == (90, 30)


def test_empty_and_broken_maps(tmp_path):
    """A picture whose maps are 0 everywhere is background; one of NaN is a failure that says so."""
    model = build_model(tmp_path / "m.onnx", classes=CLASSES, poison=240, metadata={"alseg.activation": "cam"})
    scorer = alseg.Scorer(model)
    black, white = np.zeros((40, 60, 3), np.uint8), np.full((40, 60, 3), 255, np.uint8)
    empty, broken = scorer.score_images([black, white], maps=True)
    assert empty.scores["class_fraction"].tolist() == [1, 0, 0, 0]
    assert not empty.maps["labels"].any()
    assert (broken.ok, broken.stage) == (False, "score")
    assert "NaN or inf" in broken.error


def test_exported_networks_of_activation_maps(tmp_path, pictures):
    torch = pytest.importorskip("torch")
    from alseg_fast.export import to_onnx

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=4), torch.nn.ReLU(), torch.nn.Conv2d(4, 3, 1))
    path = tmp_path / "cam.onnx"
    to_onnx(network, path, input_size=(32, 48), classes=CLASSES, activation="cam", background=0.35)
    with pytest.raises(UsageError, match="background must be None with activation='softmax'"):
        to_onnx(network, path, input_size=(32, 48), background=0.35)
    scorer = alseg.Scorer(path)
    assert (scorer.spec.activation, scorer.spec.background) == ("cam", 0.35)
    assert scorer.classes == ("background", *CLASSES)
    assert all(r.ok for r in scorer.score_images([draw_picture(0)] * 2, image_labels=["cow", None]))
