"""A run killed at any instant and resumed gives the rows of one that was never interrupted, bit for bit."""

import random
import signal
import subprocess
import sys
import time

import pytest

from alseg_fast.stages.store import open_run
from support import write_pictures

KILLS = 20


def command(tiny_model, pool, out):
    code = (
        "import sys, alseg_fast as alseg\n"
        "s = alseg.Scorer(sys.argv[1], measures=('entropy', 'margin'), workers=2,\n"
        "                 regions='slic:12', histogram='hsv:16')\n"
        "print('ready', flush=True)\n"
        "s.score_pool(sys.argv[2], sys.argv[3], maps=True, shard_size=3)\n"
    )
    return [sys.executable, "-P", "-c", code, str(tiny_model), str(pool), str(out)]


def contents(run):
    """Every score, region, failure and map of a RUN, byte for byte."""
    kinds = ("scores", "regions", "failures", "maps")
    return {
        str(p.relative_to(run)): p.read_bytes()
        for kind in kinds
        for p in sorted((run / kind).rglob("*"))
        if p.is_file() and ".tmp" not in p.parts
    }


@pytest.mark.slow
def test_sigkill_at_random_moments_loses_and_changes_nothing(tiny_model, tmp_path):
    pool = write_pictures(tmp_path / "pool", 90)
    (pool / "broken.jpg").write_bytes(b"no picture")
    whole = tmp_path / "whole"
    subprocess.run(command(tiny_model, pool, whole), check=True, capture_output=True)
    expected = contents(whole)
    assert len([name for name in expected if name.startswith("scores")]) == 31

    rng = random.Random(0)
    kills = finished = 0
    while kills < KILLS:
        out = tmp_path / f"run-{finished}"
        while True:
            process = subprocess.Popen(command(tiny_model, pool, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            process.stdout.readline()  # the model is loaded; what follows is the work
            time.sleep(rng.uniform(0.0, 0.12))
            process.send_signal(signal.SIGKILL)
            _, error = process.communicate()
            if process.returncode == 0:
                break
            assert process.returncode == -signal.SIGKILL, error.decode()
            kills += 1
            done = {name: data for name, data in contents(out).items() if name.startswith("scores/part-")}
            assert all(expected[name] == data for name, data in done.items())
            if kills % 5 == 0:  # let this RUN be finished by a process that nobody kills
                subprocess.run(command(tiny_model, pool, out), check=True, capture_output=True)
                break
        run = open_run(out)
        assert run.complete
        assert (out / "_SUCCESS").exists()
        assert run.counts == {"rows": 90, "failures": 1, "parts_done": 31}
        assert contents(out) == expected
        finished += 1
    assert kills >= KILLS


def test_sigterm_ends_cleanly_and_what_is_finished_stays(tiny_model, tmp_path):
    pool = write_pictures(tmp_path / "pool", 40)
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "alseg_fast", "score", str(pool), "--model", str(tiny_model), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (out / "run.json").exists() and process.poll() is None:
        time.sleep(0.005)
    process.terminate()
    _, error = process.communicate(timeout=30)
    if process.returncode != 0:  # it may have been done already
        assert process.returncode == 1
        assert "alseg: error: stopped; what was finished is kept" in error
        assert "Traceback" not in error
