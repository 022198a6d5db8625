"""metrics.jsonl and event files after kills."""

import json

import pytest

pytest.importorskip("tensorboardX")

from alseg_fast.learn.training.logs import Records


def told(records, stage, first, last, steps=10):
    records.start(stage, steps, first)
    for done in range(first + 1, last + 1):
        records.step(stage, done, 0.1, {"loss": 1 / done} if done % 2 == 0 else None)
        if done % 4 == 0:
            records.figures(stage, done, {"score": done / 10}, True)


def steps(out):
    entries = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(e["stage"], e["step"], "figures" in e) for e in entries]


def test_going_on_leaves_no_step_twice(tmp_path):
    with Records(tmp_path) as records:
        told(records, "first", 0, 10)
        records.finish("first", 10, "steps")
        told(records, "second", 0, 9)
    before = steps(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "second", "st')
    with Records(tmp_path) as records:
        records.start("first", 10, 10)
        records.finish("first", 10, "kept")
        told(records, "second", 5, 10)
    after = steps(tmp_path)
    assert len(set(after)) == len(after)
    assert after == [*before, ("second", 10, False)]
    assert len(list((tmp_path / "tensorboard" / "second").iterdir())) == 2
    assert len(list((tmp_path / "tensorboard" / "first").iterdir())) == 1


def test_damaged_lines_go(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(
        b'{"stage": "a", "step": 1}\n[1]\nnull\n\xff\n{"stage": "a", "step": "x"}\n'
    )
    with Records(tmp_path) as records:
        records.start("a", 5, 3)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b'{"stage": "a", "step": 1}\n'


def test_listeners_hear_everything(tmp_path):
    heard = []

    class Listener:
        def __getattr__(self, name):
            return lambda *values: heard.append((name, *values))

    with Records(tmp_path, [Listener()]) as records:
        told(records, "a", 0, 2)
        records.finish("a", 2, "patience")
    assert heard == [
        ("start", "a", 10, 0),
        ("step", "a", 1, 0.1, None),
        ("step", "a", 2, 0.1, {"loss": 0.5}),
        ("finish", "a", 2, "patience"),
    ]


def test_a_missing_library_names_the_extra(tmp_path, monkeypatch):
    import sys

    from alseg_fast.errors import UsageError

    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with Records(tmp_path) as records, pytest.raises(UsageError, match=r"pip install 'alseg-fast\[train\]'"):
        records.start("a", 5, 0)
