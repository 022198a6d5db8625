"""Directories that one process owns at a time."""

import threading

import pytest

from alseg_fast.errors import RunError
from alseg_fast.stages.own_directory import locked


def test_the_second_is_refused_or_waits(tmp_path):
    root = tmp_path / "new" / "out"
    order = []

    def second():
        with locked(root, wait=True):
            order.append("second")

    with locked(root):
        with pytest.raises(RunError, match=r"another process is writing to .*; wait for it or choose another --out"):
            locked(root).__enter__()
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_without_locks_waiting_is_an_error(tmp_path, monkeypatch, caplog):
    """Some network file systems have none."""

    def refuse(handle, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path):
        pass
    with pytest.raises(RunError, match=r"no lock on .*: Operation not supported; use one process, or a local disk"):
        locked(tmp_path, wait=True).__enter__()
