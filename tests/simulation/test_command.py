import json

import pytest

pytest.importorskip("torch")

import yaml

from alseg_fast.cli.main import main
from tiny_glas import draw_glas
from tiny_simulation import values


def test_ready_configs_are_listed(capsys):
    assert main(["simulate", "--list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["configs"]
    assert "belharbi_glas_small" in found
    assert all(text.endswith(".") for text in found.values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give CONFIG.yaml or the name of a ready config"),
        (["belharbi_glass"], "did you mean belharbi_glas?"),
        (["belharbi_glas_small"], "give --out DIR"),
        (["belharbi_glas_small", "--set", "images.frist=3"], "images.frist is not a key; did you mean first?"),
        (["belharbi_glas_small", "--out", "x", "--set", "data.root=nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", *words]) in (1, 2)
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert message in told[0]


def test_a_run_from_the_command_line(tmp_path, capsys):
    pictures = draw_glas(tmp_path / "glas", 10, 3)
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(values("images", pictures, strategies=[{"name": "wsl"}])))
    assert main(["simulate", str(path), "--out", str(tmp_path / "out"), "--json", "--set", "rounds=1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["strategy"] for row in found["rows"]] == ["wsl"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("mine")
    assert main(["simulate", str(path), "--out", str(tmp_path / "other")]) == 1
    assert "is not empty and not a simulation (it has file)" in capsys.readouterr().err


def test_every_process_tells_its_steps(tmp_path, capfd):
    """Each seed has a process; whatever its own streams are, what it did reaches the terminal."""
    pictures = draw_glas(tmp_path / "glas", 10, 3)
    path = tmp_path / "c.yaml"
    path.write_text(
        yaml.safe_dump(values("images", pictures, strategies=[{"name": "wsl"}], seeds=[0, 1], processes=2, rounds=1))
    )
    assert main(["simulate", str(path), "--out", str(tmp_path / "out")]) == 0
    told = capfd.readouterr().err
    for seed in (0, 1):
        assert f"seed {seed}, start: oracle: " in told
        assert f"seed {seed}, wsl (1 of 1): score 0." in told
