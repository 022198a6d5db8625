"""alseg pseudo-label, and alseg score with image labels: what they print, their JSON, their exit statuses."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from activation_maps import SIZE, build_map_model, write_blobs
from alseg_fast.cli import main

TAGS = [["red"], ["green", "blue"], ["blue"], None]


@pytest.fixture
def alseg(capsys):
    def run(*words):
        status = main([str(w) for w in words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def model(tmp_path):
    return build_map_model(tmp_path / "colours.onnx")


@pytest.fixture
def pool(tmp_path):
    return write_blobs(tmp_path / "pictures", TAGS)


def command(pool, model, out, *more):
    return ("pseudo-label", "--pool", pool, "--model", model, "--out", out, *more)


def test_text_and_json_say_the_same(alseg, pool, model, tmp_path):
    status, text, error = alseg(*command(pool, model, tmp_path / "out", "--overlay", 3))
    assert status == 0, error
    assert "alseg: warning: 1 of 4 images have no label; every class may be in them" in error
    status, out, _ = alseg(*command(pool, model, tmp_path / "out", "--json"))
    data = json.loads(out)
    threshold = data["threshold"]
    assert text.splitlines()[0] == f"threshold {threshold['threshold']:.3f} (gmm of 3 images)"
    shares = (100 * data["foreground_share_mean"], 100 * data["ignore_share_mean"])
    assert f"4 masks of 4 images, pixels: foreground {shares[0]:.1f} %, ignore {shares[1]:.1f} %" in text
    assert "worth a look: no tags 1" in text
    assert text.splitlines()[-1] == f"masks -> {tmp_path / 'out'}/manifest.parquet"
    assert data["labels"] == ["background", "red", "green", "blue"]
    assert data == {"out": str(tmp_path / "out"), **json.loads((tmp_path / "out" / "summary.json").read_text())}


def test_options_of_the_band_the_crf_and_a_file(alseg, pool, model, tmp_path):
    config = tmp_path / "options.yaml"
    config.write_text("threshold: 0.5\nband: [0.25, 0.7]\ncrf: true\ncrf_iterations: 2\nweights: none\n")
    status, text, error = alseg(*command(pool, model, tmp_path / "out", "--config", config))
    assert status == 0, error
    assert text.splitlines()[0] == "threshold 0.500 (given), band 0.250 to 0.700"
    info = json.loads((tmp_path / "out" / "pseudo_label.json").read_text())["config"]
    assert info["crf"] == {"n_iter": 2, "gaussian": [3.0, 3.0], "bilateral": [80.0, 13.0, 10.0]}
    assert (info["band"], info["weights"]) == ([0.25, 0.7], "none")
    status, _, error = alseg(*command(pool, model, tmp_path / "out"))
    assert status == 1
    assert "was made with band=[0.25, 0.7]" in error
    assert error.count("\n") == 2  # the warning of the picture without a label, and one line of error


def test_truth_is_shown_with_and_without_labels(alseg, pool, model, tmp_path):
    status, _, _ = alseg(*command(pool, model, tmp_path / "first", "--threshold", 0.4))
    truth = tmp_path / "first" / "manifest.parquet"
    status, text, _ = alseg(*command(pool, model, tmp_path / "again", "--threshold", 0.4, "--truth", truth))
    assert status == 0
    assert "against 4 true masks:" in text
    rows = {line.split("  ")[1].strip(): line.split()[-2:] for line in text.splitlines() if line.startswith("  ")}
    assert rows["mean"][0] == "1.0000"
    assert float(rows["mean"][1]) < 1
    status, out, _ = alseg(*command(truth, model, tmp_path / "own", "--threshold", 0.4, "--truth", "pool", "--json"))
    assert json.loads(out)["truth"]["tag_masked"]["miou"] == 1


def test_bad_pictures_are_counted_and_strict_is_strict(alseg, pool, model, tmp_path):
    (pool.parent / "b-0001.png").write_bytes(b"no picture")
    status, text, _ = alseg(*command(pool, model, tmp_path / "out"))
    assert status == 0
    assert f"1 images failed: {tmp_path / 'out'}/failures.parquet" in text
    status, _, _ = alseg(*command(pool, model, tmp_path / "out", "--strict"))
    assert status == 1


def test_inspect_shows_what_it_was_made_with(alseg, pool, model, tmp_path):
    (pool.parent / "b-0001.png").write_bytes(b"no picture")
    alseg(*command(pool, model, tmp_path / "out", "--threshold", 0.4))
    status, text, _ = alseg("inspect", tmp_path / "out")
    assert status == 0
    assert "0 background, 1 red, 2 green, 3 blue" in text
    assert "0.400, low 0.400, high 0.400" in text
    assert "failures by reason:" in text
    _, out, _ = alseg("inspect", tmp_path / "out", "--json")
    data = json.loads(out)
    assert (data["complete"], data["summary"]["masks"], data["failures"][0]["stage"]) == (True, 3, "decode")
    (tmp_path / "out" / "_SUCCESS").unlink()
    assert "not complete" in alseg("inspect", tmp_path / "out")[1]
    (tmp_path / "out" / "pseudo_label.json").write_text("{")
    status, _, error = alseg("inspect", tmp_path / "out")
    assert (status, error.count("\n")) == (1, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--threshold", "mean"), "argument --threshold: must be one of gmm, gmm3, otsu, or a number; got 'mean'"),
        (("--threshold", "1"), "threshold must be gmm, gmm3, otsu or a number in (0, 1)"),
        (("--band", "0.3"), "argument --band: must be 2 numbers with commas; got '0.3'"),
        (("--band", "0.7,0.3"), "band must be (low, high) with 0 <= low <= high < 1"),
        (("--crf-bilateral", "80,13"), "must be 3 numbers with commas"),
        (("--alpha", "2"), "alpha must be in (0, 1)"),
        (("--overlay", "0"), "must be at least 1"),
        (("--background", "1.5"), "model option background must be a number above 0 and below 1"),
    ],
)
def test_wrong_usage_is_one_line(alseg, pool, model, tmp_path, words, message):
    status, out, error = alseg(*command(pool, model, tmp_path / "out", *words))
    assert (status, out) == (2, "")
    assert message in error.splitlines()[-1]
    assert error.splitlines()[-1].startswith("alseg: error: ")


def test_unknown_labels_are_one_line(alseg, model, tmp_path):
    pool = write_blobs(tmp_path / "other", [["red"], ["yak"]])
    for words in (command(pool, model, tmp_path / "out"), ("score", pool, "--model", model, "--out", tmp_path / "run")):
        status, _, error = alseg(*words)
        assert status == 1
        assert "label 'yak' is no class of the model; it has red, green, blue; correct the label, or leave" in error
        assert error.count("\n") == 1


def test_score_takes_labels_and_the_background(alseg, pool, model, tmp_path):
    """With a constant background the labels of the scorer are the pseudo-labels at that threshold."""
    run, out = tmp_path / "run", tmp_path / "out"
    words = ("score", pool, "--model", model, "--out", run, "--maps", "--background", 0.3)
    assert alseg(*words)[0] == 0
    assert alseg(*command(pool, model, out, "--threshold", 0.3))[0] == 0
    for row in pq.read_table(out / "manifest.parquet").to_pylist():
        with (
            Image.open(run / "maps" / "labels" / f"{row['image_id']}.png") as scored,
            Image.open(out / row["mask_uri"]) as mask,
        ):
            assert scored.size == mask.size == SIZE[::-1]
            assert (np.asarray(scored) == np.asarray(mask)).mean() > 0.999
    status, _, error = alseg(*words, "--tags", "none")
    assert status == 1
    assert "this command asks for none" in error
