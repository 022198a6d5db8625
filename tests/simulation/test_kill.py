"""A simulation that is killed at random steps ends with the rows of one that was not."""

import random
import subprocess
import sys
import time

import pytest

pytest.importorskip("torch")

import yaml
from tiny_glas import draw_glas
from tiny_simulation import config, timeless, values

from alseg_fast.simulation.results.store import read_rows
from alseg_fast.simulation.run import run_simulation

STRATEGIES = [
    {"name": "label_prop", "options": {"k": 3}},
    {"name": "entropy"},
]
KILLS = 4


def start(path, out):
    command = [sys.executable, "-P", "-m", "alseg_fast", "simulate", str(path), "--out", str(out)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def test_killed_at_any_step_the_results_are_the_same(tmp_path):
    pictures = draw_glas(tmp_path / "glas", 10, 3)
    asked = values("images", pictures, strategies=STRATEGIES, rounds=2)
    whole = run_simulation(config("images", pictures, strategies=STRATEGIES, rounds=2), tmp_path / "whole")
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(asked))
    out = tmp_path / "killed"
    rng = random.Random(5)
    for _ in range(KILLS):
        process = start(path, out)
        steps = rng.randint(1, 5)
        while steps and process.stderr.readline():
            steps -= 1
        time.sleep(rng.uniform(0, 0.4))  # in the middle of the next step
        process.kill()
        process.wait()
        process.stderr.close()
    process = start(path, out)
    told = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0, told
    assert timeless(read_rows(out / "results.parquet")) == timeless(whole)
    assert not list(out.rglob("checkpoints"))


def test_two_processes_give_the_rows_of_one(tmp_path):
    pictures = draw_glas(tmp_path / "glas", 10, 3)
    few = {"strategies": [{"name": "random"}], "seeds": [0, 1], "rounds": 2}
    one = run_simulation(config("images", pictures, **few), tmp_path / "one")
    two = run_simulation(config("images", pictures, processes=2, **few), tmp_path / "two", tell=print)
    assert timeless(one) == timeless(two)
    assert {row.seed for row in two} == {0, 1}
