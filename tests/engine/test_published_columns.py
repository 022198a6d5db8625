"""Scoring pools with the scores of published programs beside the engine's own."""

import numpy as np
import onnxruntime
import pytest

import alseg_fast as alseg
from alseg_fast.cli.main import main
from alseg_fast.errors import RunError, UsageError
from alseg_fast.runtimes.onnx import load_model
from alseg_fast.stages.prepare import fill, place
from alseg_fast.stages.store import open_run
from support import build_model, draw_picture, write_pictures

T = 3
SIGMOID = {"alseg.activation": "sigmoid"}


@pytest.fixture(params=[None, T])
def passes(request):
    return request.param


@pytest.fixture
def model(tmp_path, passes):
    return build_model(tmp_path / "m.onnx", classes=("gland",), passes=passes, metadata=SIGMOID)


def logits_of(model, picture):
    spec = load_model(model).spec
    tensor = np.empty((3, *spec.input_size), np.float32)
    fill(spec, picture, place(spec, picture.shape[1], picture.shape[0]), tensor)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": tensor[None]})[0]


@pytest.mark.parametrize("score_size", ["input", "image"])
def test_columns_are_the_published_scores(model, passes, tmp_path, score_size):
    pool = write_pictures(tmp_path / "pool", 4)
    scorer = alseg.Scorer(model, published=True, score_size=score_size)
    scorer.score_pool(pool, tmp_path / "RUN")
    run = open_run(tmp_path / "RUN")
    rows = run.scores().to_pylist()
    assert len(rows) == 4
    assert ("belharbi_mc_dropout" in rows[0]) == (passes is not None)
    assert "as published" in run.info["units"]["belharbi_entropy"]
    from PIL import Image

    for row in rows:
        picture = np.asarray(Image.open(pool / row["image_id"]).convert("RGB"))
        size = picture.shape[:2] if score_size == "image" else scorer.spec.input_size
        logits = logits_of(model, picture)
        np.testing.assert_allclose(row["belharbi_entropy"], alseg.belharbi_entropy(logits, size)[0], rtol=1e-5)
        if passes is not None:
            wanted = alseg.belharbi_mc_dropout(logits, size)[0]
            np.testing.assert_allclose(row["belharbi_mc_dropout"], wanted, rtol=1e-5)


def test_selection_by_a_published_column(model, tmp_path, capsys):
    pool = write_pictures(tmp_path / "pool", 5)
    run = tmp_path / "RUN"
    assert main(["score", str(pool), "--model", str(model), "--out", str(run), "--published"]) == 0
    capsys.readouterr()
    rows = open_run(run).scores().to_pylist()
    batch = alseg.select(run, budget=2, strategy="top", measure="belharbi_entropy").to_pylist()
    best = sorted(rows, key=lambda row: -row["belharbi_entropy"])[:2]
    assert [row["image_id"] for row in batch] == [row["image_id"] for row in best]


def test_runs_with_and_without_are_not_mixed(model, tmp_path):
    pool = write_pictures(tmp_path / "pool", 2)
    alseg.Scorer(model).score_pool(pool, tmp_path / "RUN")
    with pytest.raises(RunError, match="published"):
        alseg.Scorer(model, published=True).score_pool(pool, tmp_path / "RUN")
    alseg.Scorer(model).score_pool(pool, tmp_path / "RUN")


def test_one_foreground_only(tmp_path):
    several = build_model(tmp_path / "several.onnx")
    with pytest.raises(UsageError, match="published must be False for this model"):
        alseg.Scorer(several, published=True)
    boxed = build_model(tmp_path / "b.onnx", classes=("gland",), metadata={**SIGMOID, "alseg.resize": "letterbox"})
    with pytest.raises(UsageError, match="stretched pictures"):
        alseg.Scorer(boxed, published=True)


def test_single_pictures_have_the_scores_too(model):
    (result,) = alseg.Scorer(model, published=True).score_images([draw_picture(1)])
    assert result.ok
    assert result.scores["belharbi_entropy"] >= 0
