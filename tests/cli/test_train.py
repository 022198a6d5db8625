"""alseg train: what it prints, its JSON, its exit statuses."""

import json
import re
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

import alseg_fast
from alseg_fast.cli import main
from alseg_fast.learn.training import config_file, recipes
from tiny_glas import draw_glas

CONFIG = """
# Toy: one network on drawn pictures
method: toy
seed: 1
device: cpu
data: {{dataset: glas, root: {root}, size: 32, labelled: 4}}
network: {{encoder: light}}
stages:
  main: {{steps: 4, batch_size: 4, evaluate_every: 2, log_every: 2, threads: 1}}
"""


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(recipes.METHODS, "toy", "toy_recipe")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return draw_glas(tmp_path_factory.mktemp("glas") / "pictures", n_train=6, n_test=2)


@pytest.fixture
def config(tmp_path, pictures):
    path = tmp_path / "CONFIG.yaml"
    path.write_text(CONFIG.format(root=pictures))
    return path


@pytest.fixture
def alseg(capsys):
    def run(*words):
        status = main([str(w) for w in words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_table_files_and_progress(alseg, config, tmp_path):
    status, out, err = alseg("train", config, "--out", tmp_path / "out", "--set", "options.export=true")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split() == ["miou", "accuracy"]
    assert re.fullmatch(r"1\. segmentation +- +0\.\d{4}", lines[1])
    assert re.fullmatch(r"2\. segmentation, true tags  0\.5000  0\.\d{4}", lines[2])
    assert [line.split() for line in lines[4:6]] == [["2."], ["iou", "gland", "0.2500"]]
    assert lines[7].startswith("main: 4 steps in ")
    made = ", ".join(f"{tmp_path}/out/{name}" for name in ("network.onnx", "cam.onnx", "maps.png"))
    assert lines[8].endswith(f"on cpu -> {made}")
    assert "alseg: train: main: step 2: score 0." in err
    assert "alseg: train: main: 4 steps done" in err


def test_json_is_the_result_file(alseg, config, tmp_path):
    status, out, _ = alseg("train", config, "--out", tmp_path / "out", "--json", "--set", "stages.main.steps=1")
    assert status == 0
    said = json.loads(out)
    assert said.pop("out") == str(tmp_path / "out")
    assert said == json.loads((tmp_path / "out" / "result.json").read_text())
    # Once more: the same, at once.
    status, out, err = alseg("train", config, "--out", tmp_path / "out", "--json", "--set", "stages.main.steps=1")
    assert status == 0
    assert json.loads(out)["seconds"] == said["seconds"]
    assert err == ""


def test_going_on_is_told(alseg, config, tmp_path):
    words = ("train", config, "--out", tmp_path / "out", "--set", "stages.main.checkpoint_every=1")
    status, _, err = alseg(*words, "--set", "options.nan_at=3")
    assert status == 1
    assert err.splitlines()[-1].startswith("alseg: error: main: the loss is not finite: loss = nan, at step 3 with the")
    status, _, err = alseg(*words, "--set", "options.nan_at=3")
    assert "alseg: train: main: goes on after step 3 of 4" in err


def test_out_may_stand_in_the_config(alseg, config, tmp_path):
    settings = ("--set", "stages.main.steps=1", "--set", f"out={tmp_path}/there")
    assert alseg("train", config, *settings)[0] == 0
    assert (tmp_path / "there" / "result.json").exists()


def test_a_stopped_training_goes_on(alseg, config, tmp_path, monkeypatch):
    import toy_recipe

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(toy_recipe, "run", stop)
    status, _, err = alseg("train", config, "--out", tmp_path / "out")
    assert status == 1
    assert err == "alseg: error: stopped; what was finished is kept, run the same command again to go on\n"


def test_strict(alseg, tmp_path, config):
    pictures = draw_glas(tmp_path / "broken")
    (pictures / "train_1.bmp").write_bytes(b"BM no picture")
    settings = [f"data.root={pictures}", "data.validation=null", "data.labelled=0", "stages.main.batch_size=10"]
    words = ["train", config, "--out", tmp_path / "out", "--strict"]
    for text in settings:
        words += ["--set", text]
    status, out, _ = alseg(*words)
    assert status == 1
    assert "1 images could not be read: " in out


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ((), 2, "give CONFIG.yaml or the name of a ready config; alseg train --list shows them"),
        (("no_such",), 2, "no_such is neither a file nor a ready config; the ready ones are "),
        (("{config}",), 2, "give --out DIR, or out in the config"),
        (
            ("{config}", "--out", "{tmp}/o", "--set", "data.sise=3"),
            2,
            "--set: data.sise is not a key; did you mean size?",
        ),
        (("{config}", "--out", "{tmp}/o", "--set", "method=x"), 2, "method must be one of "),
        (("{config}", "--out", "{tmp}"), 1, "{tmp} is not empty and not a training (it has CONFIG.yaml and no config"),
        (("{config}", "--out", "{config}"), 1, "cannot make the directory"),
    ],
)
def test_mistakes_are_one_line(alseg, config, tmp_path, words, status, said):
    names = {"config": str(config), "tmp": str(tmp_path)}
    found, out, err = alseg("train", *(w.format(**names) for w in words))
    assert (found, out) == (status, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("alseg: error: " + said.format(**names))


def test_the_list(alseg, tmp_path, monkeypatch):
    monkeypatch.setattr(config_file, "READY", tmp_path)
    (tmp_path / "toy-glas.yaml").write_text("# The toy on\n# GlaS. Small.\n#\n# More.\nmethod: toy\n")
    status, out, _ = alseg("train", "--list")
    assert status == 0
    assert "  toy-glas  The toy on GlaS." in out.splitlines()
    status, out, _ = alseg("train", "--list", "--json")
    assert json.loads(out)["configs"] == {"toy-glas": "The toy on GlaS."}
    assert "cosa" in json.loads(out)["methods"]


@pytest.mark.parametrize("library", ["torch", "pydantic"])
def test_a_missing_library_names_the_extra(alseg, config, tmp_path, monkeypatch, library):
    monkeypatch.setattr(alseg_fast, "learn", alseg_fast.learn)  # put back what the import below leaves there
    for name in [m for m in sys.modules if m.startswith("alseg_fast.learn") or m == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    status, _, err = alseg("train", config, "--out", tmp_path / "out")
    assert status == 2
    assert err.startswith(f"alseg: error: alseg train needs {library}, which is not installed; run pip install")
