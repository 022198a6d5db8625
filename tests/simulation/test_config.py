import pytest

pytest.importorskip("torch")

import yaml

from alseg_fast.errors import UsageError
from alseg_fast.simulation.config_file import READY, read_simulation, ready_simulations
from tiny_simulation import values


def read(tmp_path, made, *settings):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(made))
    return read_simulation(str(path), settings)


@pytest.mark.parametrize("name", sorted(ready_simulations()))
def test_ready_configs_are_valid(name):
    config = read_simulation(name)
    assert len({s.directory for s in config.strategies}) == len(config.strategies)
    first = (READY / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith("# ")


def test_what_is_ready():
    wanted = "belharbi_glas belharbi_cub kasarla_cityscapes kasarla_mapillary belharbi_glas_small kasarla_camvid_small"
    assert set(wanted.split()) <= set(ready_simulations())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"round": 3}, "round is not a key; did you mean rounds?"),
        ({"strategies": [{"name": "entropie"}]}, "strategies must be of all_foreground, .*; got entropie"),
        ({"strategies": [{"name": "superpixel"}]}, "strategies must be of all_foreground"),
        ({"strategies": [{"name": "random"}, {"name": "random"}]}, "random twice; give each its own setting"),
        ({"strategies": [{"name": "label_prop", "options": {"kk": 3}}]}, r"strategies\.0\.options\.kk is not a key"),
        ({"strategies": [{"name": "label_prop", "options": {"k": 0}}]}, r"strategies\.0\.options\.k must be"),
        ({"strategies": [{"name": "random", "options": {"k": 2}}]}, r"options\.k is not a key"),
        ({"strategies": []}, "strategies must"),
        ({"seeds": [1, 1]}, "seeds must differ; got 1 twice"),
        ({"pixels": {"first": 1, "step": 1}}, "one of images and pixels must be given"),
        ({"processes": 2, "threads": None}, "threads must be given with processes"),
        ({"stages": {"segmentation": {"steps": 3}}}, r"stages\.classifier is missing"),
        ({"stages": {n: {"steps": 3} for n in ("classifier", "first", "segmentation")}}, r"stages\.first must be left"),
        ({"images": {"first": 0}}, r"images\.first must be greater than or equal to 1; got 0"),
        ({"device": "gpu"}, "device must be cpu, cuda or cuda:I"),
    ],
)
def test_mistakes_are_named(tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        read(tmp_path, values("images", "x", **change))


def test_settings_win_and_do_not_change_what_a_directory_is_for(tmp_path):
    made = values("images", "x")
    config = read(tmp_path, made, "rounds=7", "seeds=[3]", "stages.segmentation.steps=5")
    assert (config.rounds, config.seeds, config.stages["segmentation"].steps) == (7, (3,), 5)
    same, other = read(tmp_path, made, "rounds=9", "processes=2"), read(tmp_path, made, "start=tuned")
    assert same.digest() == read(tmp_path, made).digest() != other.digest()
