"""alseg propagate: what it prints, its JSON, its exit statuses."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alseg_fast.cli import main
from support import write_pictures


@pytest.fixture
def alseg(capsys):
    def run(*words):
        status = main([str(w) for w in words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def inputs(tmp_path):
    """(pool, labelled): 12 pictures of two classes, two labelled."""
    pictures = write_pictures(tmp_path / "pictures", 12)
    names = sorted(p.name for p in pictures.iterdir())
    pool, labelled = pictures / "pool.csv", pictures / "labelled.csv"
    pool.write_text("image_id,uri,label\n" + "".join(f"{n},{n},{'ab'[i % 2]}\n" for i, n in enumerate(names)))
    labelled.write_text("image_id,mask_uri\n" + "".join(f"{n},masks/{n}.png\n" for n in names[:2]))
    return pool, labelled


def command(inputs, out, *more):
    pool, labelled = inputs
    return ("propagate", "--pool", pool, "--labelled", labelled, "--out", out, "--histogram", "rgb:8", *more)


def test_text_and_json_say_the_same(alseg, inputs, tmp_path, tiny_model):
    status, out, err = alseg(*command(inputs, tmp_path / "out", "-k", 2, "--model", tiny_model, "--threshold", 0.4))
    assert status == 0, err
    lines = out.splitlines()
    assert lines[0].split() == ["class", "images", "labelled", "pass", "(k", "=", "2)", "share"]
    status, text, _ = alseg(
        *command(inputs, tmp_path / "out", "-k", 2, "--model", tiny_model, "--threshold", 0.4, "--json")
    )
    data = json.loads(text)
    pairs = pq.read_table(tmp_path / "out" / "pairs.parquet")
    assert data["passing"] == data["pairs"] == len(pairs) == data["masks"]["masks"]
    assert f"k = 2: {len(pairs)} of 10 unlabelled images pass" in out
    assert f"{len(pairs)} pseudo-masks at threshold 0.4" in out
    assert data["computed"] == {"kept": 2}
    assert list(data["passing_at"]) == ["1", "2", "5", "10", "20", "40"]


def test_options_from_a_file(alseg, inputs, tmp_path):
    config = tmp_path / "options.yaml"
    config.write_text("k: 2\ndirection: labelled\ntable: [1, 3]\n")
    status, out, err = alseg(*command(inputs, tmp_path / "out", "--config", config, "--json"))
    assert status == 0, err
    data = json.loads(out)
    assert (data["options"]["k"], data["options"]["direction"]) == (2, "labelled")
    assert list(data["passing_at"]) == ["1", "2", "3"]


def test_a_vacuous_k_is_warned_of(alseg, inputs, tmp_path):
    status, out, err = alseg(*command(inputs, tmp_path / "out", "-k", 40))
    assert status == 0
    assert "alseg: warning: k = 40 is at least the number of unlabelled same-class images of 2 of 2 classes" in err
    assert "the histograms decide nothing there; 100.0 % of the pool's unlabelled images pass" in err
    assert out.count("every image passes") == 2


def test_histograms_of_a_run_give_the_same_pairs(alseg, inputs, tmp_path, tiny_model):
    run = tmp_path / "run"
    status, _, err = alseg("score", inputs[0], "--model", tiny_model, "--out", run, "--histogram", "rgb:8")
    assert status == 0, err
    alseg(*command(inputs, tmp_path / "a", "-k", 2))
    words = [w for w in command(inputs, tmp_path / "b", "-k", 2) if w not in ("--histogram", "rgb:8")]
    status, _, err = alseg(*words, "--run", run)
    assert status == 0, err
    a, b = (pq.read_table(tmp_path / name / "pairs.parquet") for name in "ab")
    assert a.column("image_id") == b.column("image_id")
    assert a.column("partner_id") == b.column("partner_id")
    assert np.allclose(a.column("distance").to_numpy(), b.column("distance").to_numpy(), atol=1e-3)  # stored in float16


def test_histograms_of_an_index_give_the_same_pairs(alseg, inputs, tmp_path):
    from alseg_fast import HistogramIndex

    alseg(*command(inputs, tmp_path / "a", "-k", 2))
    parts = [pq.read_table(p) for p in sorted((tmp_path / "a" / "histograms").glob("*.parquet"))]
    hist = [np.load(p) for p in sorted((tmp_path / "a" / "histograms").glob("*.npy"))]
    index = HistogramIndex(24, channels=3)
    index.add(pa.concat_tables(parts).column("image_id").to_pylist()[1:], np.concatenate(hist)[1:], labels="all")
    index.save(tmp_path / "index")
    words = [w for w in command(inputs, tmp_path / "b", "-k", 2) if w not in ("--histogram", "rgb:8")]
    status, out, err = alseg(*words, "--index", tmp_path / "index")
    assert status == 0, err
    assert "1 images failed" in out  # the first labelled picture is not in the index
    a, b = (pq.read_table(tmp_path / name / "pairs.parquet").to_pylist() for name in "ab")
    assert [r for r in a if r["label"] == "b"] == [r for r in b if r["label"] == "b"]
    assert alseg(*words, "--index", tmp_path / "index", "--strict")[0] == 1


@pytest.mark.parametrize(
    ("more", "status", "text"),
    [
        (("-k", 0), 2, "argument -k/--k: must be at least 1; got 0"),
        (("-k", 2, "--claims", "many"), 2, "claims must be 'one' with direction 'unlabelled'"),
        (("-k", 2, "--run", "R", "--index", "I"), 2, "not allowed with argument"),
        (("-k", 2, "--max-memory", "lots"), 2, "must be a size of at least 1M"),
        (("-k", 2, "--validation", "v.csv"), 2, "--validation and the model options need --model"),
        (("-k", 2, "--max-memory", "1k"), 2, "must be a size of at least 1M"),
        (("-k", 2, "--model", "none.onnx"), 1, "none.onnx"),
    ],
)
def test_errors_are_one_line(alseg, inputs, tmp_path, more, status, text):
    code, out, err = alseg(*command(inputs, tmp_path / "out", *more))
    assert code == status, err
    assert out == ""
    (line,) = [line for line in err.splitlines() if line.startswith("alseg: error: ")]
    assert text in line
