"""Saved indices: what is in the directory, damage of every kind, writers in each other's way, kills in mid-save."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest

import alseg_fast as alseg
from brute_force import make_histograms

HIST = make_histograms(np.random.default_rng(0), 100, 6, 2)


@pytest.fixture(params=["int", "str"])
def saved(request, tmp_path):
    """(path, index) with two classes, cells, removed rows."""
    index = alseg.HistogramIndex(6, channels=2, weights=(1, 3), cells=4, seed=7)
    index.info["histogram"] = "rgb:8"
    ids = np.arange(100) if request.param == "int" else [f"i{i}" for i in range(100)]
    index.add(ids, HIST, ["a", 5] * 50)
    index.remove(ids[::9])
    index.save(tmp_path / "index")
    return tmp_path / "index", index


def names(path, kind=""):
    return sorted(name for name in os.listdir(path) if name.startswith(kind) and name != ".lock")


def same(a, b):
    found = [ix.search(HIST[:5], ["a", 5, "a", 5, 5], 20) for ix in (a, b)]
    assert np.array_equal(found[0].ids, found[1].ids)
    assert np.array_equal(found[0].distances, found[1].distances)
    return a.classes == b.classes and a.info == b.info


@pytest.mark.parametrize("mmap", [True, False])
def test_a_loaded_index_is_the_saved_one(saved, mmap):
    path, index = saved
    loaded = alseg.HistogramIndex.load(path, mmap=mmap, verify=True)
    assert same(loaded, index)
    assert (loaded.dim, loaded.channels, loaded.dtype, loaded.id_kind) == (6, 2, "float32", index.id_kind)
    assert loaded.weights.tolist() == [1, 3]
    assert loaded.info == {"histogram": "rgb:8"}
    assert loaded.ids().tolist() == index.ids().tolist()
    part = loaded._state.classes["a"].parts[0]
    assert part.rows.hist.flags.owndata is False
    assert part.rows.cells is not None


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("weights", [None, "published"])
def test_settings_survive(tmp_path, dtype, weights):
    index = alseg.HistogramIndex(6, channels=2, weights=weights, dtype=dtype, cells=None, max_rows_exact=30)
    index.save(tmp_path / "index")
    empty = alseg.HistogramIndex.load(tmp_path / "index")
    assert (len(empty), empty.id_kind) == (0, None)
    for made in (index, empty):
        made.add([f"日本 {i}\n" for i in range(100)], HIST, -3)
    empty.save(tmp_path / "index")
    loaded = alseg.HistogramIndex.load(tmp_path / "index")
    assert np.array_equal(loaded.channel_weights(-3), index.channel_weights(-3))
    found = [ix.search(HIST[:3], -3, 5) for ix in (loaded, index)]
    assert np.array_equal(found[0].ids, found[1].ids)
    assert np.array_equal(found[0].distances, found[1].distances)


def test_a_save_writes_what_is_new_and_removes_what_is_old(saved):
    path, index = saved
    before = set(names(path))
    index.add([1000] if index.id_kind == "int" else ["new"], HIST[:1], "c")
    index.save(path)
    after = set(names(path))
    assert len(after - before - set(names(path, "removed"))) == 1
    assert set(names(path, "cells")) <= before
    index.optimize()
    index.save(path)
    assert len(names(path, "rows")) == 3
    assert names(path, "removed") == []
    assert same(alseg.HistogramIndex.load(path, verify=True), index)


def test_blocks_that_are_mostly_removed_are_compacted(saved):
    path, index = saved
    index.remove(index.ids("a")[:30])
    index.save(path)
    assert index.blocks["a"] == [index.classes["a"]]
    assert index.blocks[5] == [50]
    assert same(alseg.HistogramIndex.load(path), index)


def test_a_copy_elsewhere_is_whole(saved, tmp_path):
    path, index = saved
    index.save(tmp_path / "copy")
    shutil.rmtree(path)
    assert same(alseg.HistogramIndex.load(tmp_path / "copy", verify=True), index)
    index.save(path)  # the directory is gone: everything is written again
    assert same(alseg.HistogramIndex.load(path, verify=True), index)


def test_readers_keep_what_a_save_replaces(saved):
    path, index = saved
    reader = alseg.HistogramIndex.load(path)
    before = reader.search(HIST[:3], "a", 5)
    index.remove(index.ids("a")[:40])
    index.optimize()
    index.save(path)
    after = reader.search(HIST[:3], "a", 5)
    assert np.array_equal(after.ids, before.ids)


def test_every_cut_and_every_flipped_byte_is_noticed(saved):
    path, _ = saved
    for name in names(path):
        whole = (path / name).read_bytes()
        for size in (0, 1, len(whole) // 2, len(whole) - 1):
            (path / name).write_bytes(whole[:size])
            with pytest.raises(alseg.AlsegError, match=rf"{name} is damaged \(.*\); copy the index again") as caught:
                alseg.HistogramIndex.load(path)
            assert "\n" not in str(caught.value)
        (path / name).write_bytes(whole)
    rng = random.Random(0)
    for name in names(path, "rows") + names(path, "cells") + names(path, "removed"):
        whole = bytearray((path / name).read_bytes())
        for _ in range(20):
            changed = whole.copy()
            changed[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
            (path / name).write_bytes(changed)
            with pytest.raises(alseg.AlsegError, match=f"{name} is damaged"):
                alseg.HistogramIndex.load(path, verify=True)
            # Without a look at every byte it is an error, or an index whose search returns.
            with contextlib.suppress(alseg.AlsegError), np.errstate(all="ignore"):
                alseg.HistogramIndex.load(path).search(np.ones((1, 6)), "a", 3)
        (path / name).write_bytes(whole)
    alseg.HistogramIndex.load(path, verify=True)


def test_a_missing_file_is_named(saved):
    path, _ = saved
    name = names(path, "cells")[0]
    (path / name).unlink()
    with pytest.raises(alseg.AlsegError, match=f"{name} is missing; copy the index again, or build it again"):
        alseg.HistogramIndex.load(path)


def test_a_file_of_another_index_is_noticed(saved, tmp_path):
    path, _ = saved
    other = alseg.HistogramIndex(3)
    other.add([1], np.ones((1, 3)))
    other.save(tmp_path / "other")
    name, theirs = names(path, "rows")[0], names(tmp_path / "other", "rows")[0]
    shutil.copy(tmp_path / "other" / theirs, path / name)
    described = json.loads((path / "index.json").read_text())
    for entry in described["classes"]:
        for segment in entry["segments"]:
            if segment["file"]["name"] == name:
                segment["file"]["bytes"] = (path / name).stat().st_size
    (path / "index.json").write_text(json.dumps(described))
    with pytest.raises(alseg.AlsegError, match=f"{name} is damaged"):
        alseg.HistogramIndex.load(path)


def test_cells_that_lead_out_of_the_block_are_noticed(saved):
    path, _ = saved
    name = names(path, "cells")[0]
    batch = pa.ipc.open_file(path / name).get_batch(0)
    sizes = batch.column("rows").to_numpy().copy()
    sizes[0], sizes[1] = sizes[0] + 10**6, sizes[1] - 10**6
    changed = pa.RecordBatch.from_arrays([pa.array(sizes), batch.column("centroid")], schema=batch.schema)
    with pa.OSFile(str(path / name), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(changed)
    with pytest.raises(alseg.AlsegError, match=rf"{name} is damaged \(cells of \d+ rows expected\)"):
        alseg.HistogramIndex.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "index.json has version 2, this alseg-fast reads up to 1; install a newer alseg-fast"),
        ({"version": None}, "index.json has version None, this alseg-fast reads up to 1"),
        ({"format": "other"}, "index.json does not describe a histogram index; give the directory of one"),
        ({"classes": 3}, "index.json is damaged"),
        ({"settings": {}}, "index.json is damaged"),
        ({"id_kind": "float"}, "index.json is damaged"),
        ({"removed": {"name": "../../etc/passwd", "bytes": 1, "crc32": 1}}, "index.json is damaged"),
    ],
)
def test_a_foreign_or_newer_description(saved, change, message):
    path, _ = saved
    described = json.loads((path / "index.json").read_text())
    (path / "index.json").write_text(json.dumps({**described, **change}))
    with pytest.raises(alseg.AlsegError, match=message.replace(".", r"\.")) as caught:
        alseg.HistogramIndex.load(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_index(tmp_path):
    with pytest.raises(alseg.AlsegError, match="does not exist or is no directory"):
        alseg.HistogramIndex.load(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(alseg.AlsegError, match="does not exist or is no directory"):
        alseg.HistogramIndex.load(tmp_path / "file")
    with pytest.raises(alseg.AlsegError, match=r"is not an index: it has no index\.json"):
        alseg.HistogramIndex.load(tmp_path)
    index = alseg.HistogramIndex(2)
    with pytest.raises(alseg.AlsegError, match=r"is not empty and no index \(it has file\); choose a new directory"):
        index.save(tmp_path)
    with pytest.raises(alseg.AlsegError, match="cannot make the directory"):
        index.save(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]


def test_the_second_of_two_writers_is_told(saved):
    path, index = saved
    other = alseg.HistogramIndex.load(path)
    for i, writer in enumerate((other, index)):
        writer.add([1000 + i] if index.id_kind == "int" else [f"new {i}"], HIST[:1], "a")
    other.save(path)
    with pytest.raises(alseg.AlsegError, match="was changed by another process since it was loaded; load it again"):
        index.save(path)
    assert len(alseg.HistogramIndex.load(path)) == len(other)


def test_a_writer_at_work_keeps_others_out(saved):
    import fcntl

    path, index = saved
    with open(path / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(alseg.AlsegError, match=r"another process is writing to .*; wait for it and try again"):
            index.save(path)
    index.save(path)


def test_a_save_that_fails_leaves_the_old_index(saved, monkeypatch):
    path, index = saved
    before = alseg.HistogramIndex.load(path)
    index.add([1000] if index.id_kind == "int" else ["new"], HIST[:1], "c")
    calls = []

    def full(handle):
        calls.append(handle)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("alseg_fast.atomic.os.fsync", full)
    with pytest.raises(alseg.AlsegError, match="No space left on device; make room"):
        index.save(path)
    monkeypatch.undo()
    assert calls
    assert same(alseg.HistogramIndex.load(path, verify=True), before)
    index.save(path)
    assert same(alseg.HistogramIndex.load(path, verify=True), index)
    assert not [name for name in os.listdir(path) if name.endswith("alseg-tmp")]


SAVER = """
import sys, numpy as np, alseg_fast as alseg
index = alseg.HistogramIndex.load(sys.argv[1])
print(len(index), flush=True)
while True:
    n = len(index)
    index.add(np.arange(n, n + 50), np.random.default_rng(n).random((50, 6)) + 0.01, n // 50 % 3)
    if n // 50 % 4 == 3:
        index.optimize()
    index.save(sys.argv[1])
    print(len(index), flush=True)
"""


def test_kills_in_mid_save_lose_nothing_that_was_reported(tmp_path):
    path = tmp_path / "index"
    alseg.HistogramIndex(6, channels=2, cells=5).save(path)
    rng = random.Random(0)
    reported = 0
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-P", "-c", SAVER, str(path)], stdout=subprocess.PIPE)
        process.stdout.readline()  # loaded: what follows is the work
        time.sleep(rng.uniform(0.005, 0.15))
        process.send_signal(signal.SIGKILL)
        lines = process.communicate()[0].split()
        reported = max([reported, *map(int, lines)])
        index = alseg.HistogramIndex.load(path, verify=True)
        assert len(index) in (reported, reported + 50)
        assert index.ids().tolist() == list(range(len(index)))
        rows = index.rows(np.arange(len(index)))
        for start in range(0, len(index), 50):
            expected = (np.random.default_rng(start).random((50, 6)) + 0.01).astype(np.float32)
            assert np.array_equal(rows[start : start + 50], expected)
        reported = len(index)
    assert reported >= 200
    index.optimize()
    index.save(path)
    assert len(names(path)) == 1 + 2 * len(index.classes)  # no left-overs
