"""A simulation that is killed at random steps ends with the rows of one that was not."""

import random
import subprocess
import sys
import time

import pytest

pytest.importorskip("torch")

import yaml

from alseg_fast.simulation.results.store import read_rows
from alseg_fast.simulation.run import run_simulation
from tiny_glas import draw_glas
from tiny_simulation import config, timeless, values

FEW = {"strategies": [{"name": "label_prop", "options": {"k": 3}}, {"name": "random"}], "rounds": 2}
KILLS = 2


def start(path, out):
    command = [sys.executable, "-P", "-m", "alseg_fast", "simulate", str(path), "--out", str(out)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def test_killed_at_any_step_the_results_are_the_same(tmp_path):
    """Two processes, whose runs share a start and are killed, against one that is not."""
    pictures = draw_glas(tmp_path / "glas", 10, 3)
    whole = run_simulation(config("images", pictures, **FEW), tmp_path / "whole")
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(values("images", pictures, processes=2, **FEW)))
    out = tmp_path / "killed"
    rng = random.Random(5)
    for _ in range(KILLS):
        process = start(path, out)
        steps = rng.randint(2, 6)
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


class Stop(BaseException):
    """As sudden as a signal."""


def test_stopped_after_each_step_nothing_is_done_twice(tmp_path):
    pictures = draw_glas(tmp_path / "glas", 10, 3)
    asked = config("images", pictures, **{**FEW, "strategies": FEW["strategies"][:1]})
    whole = run_simulation(asked, tmp_path / "whole")
    told = []

    def stop(text):
        told.append(text)
        if ": score " not in text:
            raise Stop

    for _ in range(60):
        try:
            rows = run_simulation(asked, tmp_path / "stopped", tell=stop)
            break
        except Stop:
            continue
    assert timeless(rows) == timeless(whole)
    steps = [text.rsplit(":", 1)[0] for text in told]
    assert len(steps) == len(set(steps)) > 15
