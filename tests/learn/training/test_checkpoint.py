"""Checkpoint files are hostile until checked."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from alseg_fast.errors import AlsegError, RunError  # noqa: E402
from alseg_fast.learn.training.checkpoint import FORMAT, Checkpoints, Damaged, load_state, save_state  # noqa: E402


def test_round_trip(tmp_path):
    state = {
        "format": FORMAT,
        "weights": OrderedDict(a=torch.arange(6).reshape(2, 3), b=torch.ones(2, dtype=torch.bfloat16)),
        "numbers": (1, 2.5, None, True, "text", b"bytes"),
        3: [float("inf")],
    }
    save_state(tmp_path / "x.pt", state)
    found = load_state(tmp_path / "x.pt")
    assert torch.equal(found["weights"]["a"], state["weights"]["a"])
    assert found["weights"]["b"].dtype == torch.bfloat16
    assert found["numbers"] == state["numbers"]
    assert found[3] == [float("inf")]
    torch.load(tmp_path / "x.pt", weights_only=True)  # a plain file of torch, not a format of its own


@pytest.mark.parametrize("value", [np.float32(1), np.zeros(2), {1, 2}, object(), print])
def test_what_a_safe_reader_would_refuse_is_refused_when_writing(tmp_path, value):
    with pytest.raises(AlsegError, match=r"got \w+ in state\.method\.part\[1\]\. Convert it in the"):
        save_state(tmp_path / "x.pt", {"method": {"part": [0, value]}})
    assert list(tmp_path.iterdir()) == []


def test_keys_must_be_plain(tmp_path):
    with pytest.raises(AlsegError, match=r"keys must be text or integers; got \(1, 2\) in state"):
        save_state(tmp_path / "x.pt", {(1, 2): 3})


class Bomb:
    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_a_file_is_not_run(tmp_path):
    bomb = Bomb()
    bomb.path = str(tmp_path / "made-by-the-file")
    torch.save({"format": FORMAT, "x": bomb}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(bomb))
    for name in ("zip.pt", "plain.pt"):
        with pytest.raises(Damaged, match="is damaged or no checkpoint"):
            load_state(tmp_path / name)
    assert not (tmp_path / "made-by-the-file").exists()


def test_a_file_that_claims_more_than_it_has(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\0" * 50_000_000)
    with pytest.raises(Damaged, match="it claims more data than it has"):
        load_state(tmp_path / "x.pt")


@pytest.mark.parametrize("content", [{}, {"format": 99}, [1, 2], "text", torch.zeros(1)])
def test_files_of_another_format(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(Damaged, match=rf"is not a checkpoint of this version \(format {FORMAT}; got"):
        load_state(tmp_path / "x.pt")


def test_every_flipped_byte_is_seen_or_harmless(tmp_path):
    """No flip gives other numbers: either the file is refused or the state is the same."""
    path = tmp_path / "x.pt"
    save_state(path, {"format": FORMAT, "w": torch.arange(64, dtype=torch.float32)})
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for at in rng.choice(len(whole), 150, replace=False):
        data = bytearray(whole)
        data[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(data))
        try:
            state = load_state(path)
        except Damaged:
            refused += 1
            continue
        assert torch.equal(state["w"], torch.arange(64, dtype=torch.float32))
    assert refused > 20


def test_two_checkpoints_and_the_best_files_they_name_are_kept(tmp_path):
    files = Checkpoints(tmp_path)
    state = {"progress": {"best_step": None}}
    for step, best in ((1, None), (2, 2), (3, 2), (4, 4), (5, 4), (6, 4)):
        if best == step:
            files.save_best(step, {"method": {}})
        files.save(step, {"progress": {"best_step": best}}, best)
        names = {p.name for p in tmp_path.iterdir()}
        assert f"step-{step:08d}.pt" in names
        assert len([n for n in names if n.startswith("step")]) == min(step, 2)
        if best:
            assert f"best-{best:08d}.pt" in names
    assert {p.name for p in tmp_path.iterdir()} == {"step-00000005.pt", "step-00000006.pt", "best-00000004.pt"}
    assert files.newest()["step"] == 6
    assert state == {"progress": {"best_step": None}}


def test_a_checkpoint_under_another_name_is_refused(tmp_path):
    files = Checkpoints(tmp_path)
    path = files.save(1, {"progress": {"best_step": None}}, None)
    path.rename(tmp_path / "step-00000009.pt")
    with pytest.raises(RunError, match=r"step-00000009\.pt is not the checkpoint of step 9; delete"):
        Checkpoints(tmp_path).newest()


@pytest.mark.parametrize("best", ["../../x", -1, 99, 1.5])
def test_a_best_step_that_cannot_be_is_refused(tmp_path, best):
    save_state(tmp_path / "step-00000003.pt", {"format": FORMAT, "step": 3, "progress": {"best_step": best}})
    with pytest.raises(RunError, match="as its best step"):
        Checkpoints(tmp_path).newest()


def test_leftovers_of_dead_writers_go(tmp_path):
    from alseg_fast import atomic

    name = atomic.temp_name().replace(f".{os.getpid()}.", ".999999999.")
    (tmp_path / name).write_bytes(b"x")
    Checkpoints(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    files = Checkpoints(tmp_path)
    files.save(1, {"progress": {"best_step": None}}, None)
    real = torch.save

    def full(state, file):
        buffer = io.BytesIO()
        real(state, buffer)
        file.write(buffer.getvalue()[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RunError, match=r"cannot write .*step-00000002\.pt: No space left on device; make room"):
        files.save(2, {"progress": {"best_step": None}}, None)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001.pt"]
    assert Checkpoints(tmp_path).newest()["step"] == 1
